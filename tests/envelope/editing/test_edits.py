import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.envelope.editing.edits import (
    DEFAULT_LEVEL,
    add_hit,
    apply_edits,
    draw,
    gain,
    move_hit,
    mute,
    quantise,
    remove_hit,
    scale_peak,
    shift,
)
from foleygram.envelope.editing.hits import Hit, draw_hits, find_hits
from foleygram.envelope.editing.options import FORMS, parse_edit
from foleygram.envelope.envelope import MIN_GAP_SEC, Envelope

RATE = 125.0
times = st.integers(0, 250).map(lambda index: index / RATE)


@st.composite
def struck(draw: st.DrawFn, least_gap: float = 0.25, quietest: float = 0.03, longest: float = 0.1) -> Envelope:
    """Hits of the levels and decays that rendered ones have, and silence at both ends; each clear of the one before."""
    gaps = draw(st.lists(st.floats(least_gap, 0.6), min_size=1, max_size=6))
    levels, decays = st.floats(quietest, 0.17), st.floats(0.03, longest)
    hits = [Hit(0.1 + at, draw(levels), draw(decays)) for at in np.cumsum(gaps, dtype=float)]
    return draw_hits(hits, seconds=hits[-1].time + 0.8)


crowded = struck(least_gap=0.06, quietest=0.003, longest=0.4)


def curve(seed: int = 0, seconds: float = 2.0) -> Envelope:
    return Envelope(np.random.default_rng(seed).uniform(0.01, 0.3, round(seconds * RATE) + 1), RATE)


@given(times, times, st.floats(-60, 60))
def test_gain_is_exact_inside_and_nothing_outside(start: float, end: float, decibels: float) -> None:
    if start >= end:
        return
    before = curve()
    after = gain(before, decibels, start, end)
    clock = np.arange(251) / RATE
    inside = (clock >= start - 1e-9) & (clock < end - 1e-9 if end < 2.0 else True)
    np.testing.assert_allclose(after.values[inside], before.values[inside] * 10 ** (decibels / 20), rtol=1e-6)
    assert np.array_equal(after.values[~inside], before.values[~inside])


@given(st.floats(-60, 60), st.floats(-60, 60))
def test_gains_add_and_come_back(first: float, second: float) -> None:
    one = gain(gain(curve(), first), second)
    np.testing.assert_allclose(one.values, gain(curve(), first + second).values, rtol=1e-5)
    np.testing.assert_allclose(gain(one, -first - second).values, curve().values, rtol=1e-5)


@given(times, times)
def test_a_muted_region_is_zero_and_the_rest_stays(start: float, end: float) -> None:
    if start >= end:
        return
    muted = mute(curve(), start, end)
    first, last = round(start * RATE), round(end * RATE) if end < 2.0 else 251
    assert not muted.values[first:last].any()
    assert np.array_equal(np.delete(muted.values, slice(first, last)), np.delete(curve().values, slice(first, last)))


def test_neighbouring_regions_share_no_value() -> None:
    halves = gain(gain(curve(), 6.0, 0.5, 1.0), 6.0, 1.0, 1.5)
    np.testing.assert_allclose(halves.values, gain(curve(), 6.0, 0.5, 1.5).values, rtol=1e-6)


def test_a_region_between_values_holds_those_within() -> None:
    quiet = np.flatnonzero(mute(curve(), 0.501, 0.549).values == 0)
    assert quiet.tolist() == [63, 64, 65, 66, 67, 68]  # 0.504 to 0.544 s


@settings(deadline=None)
@given(struck(), st.integers(-12, 60))
def test_a_shift_by_whole_values_comes_back_where_nothing_is_lost(envelope: Envelope, steps: int) -> None:
    longer = Envelope(np.append(envelope.values, np.zeros(60)), RATE)
    moved = shift(longer, steps / RATE)
    np.testing.assert_allclose(shift(moved, -steps / RATE).values, longer.values, atol=1e-6)
    np.testing.assert_allclose(moved.onsets(), longer.onsets() + steps / RATE, atol=1e-5)


@settings(deadline=None)
@given(struck(), st.floats(-0.09, 0.3))
def test_a_shift_moves_every_onset_by_what_was_asked(envelope: Envelope, seconds: float) -> None:
    longer = Envelope(np.append(envelope.values, np.zeros(60)), RATE)
    np.testing.assert_allclose(shift(longer, seconds).onsets(), longer.onsets() + seconds, atol=0.004)


def test_a_region_moves_alone_leaves_silence_and_adds_its_power() -> None:
    envelope = draw_hits([Hit(0.3, 0.1), Hit(1.0, 0.1), Hit(1.6, 0.1)], seconds=2.5)
    moved = shift(envelope, 0.12, 0.8, 1.4)
    np.testing.assert_allclose(moved.onsets() - envelope.onsets(), [0.0, 0.12, 0.0], atol=1e-4)
    np.testing.assert_allclose(shift(moved, -0.12, 0.92, 1.52).values, envelope.values, atol=1e-6)
    onto = shift(envelope, 0.6, 0.8, 1.4)
    assert not onto.values[100:175].any()
    assert onto.values.max() == pytest.approx(math.sqrt(2) * envelope.values.max(), rel=0.01)


@settings(deadline=None)
@given(struck(), st.floats(0.02, 0.17), st.floats(0.03, 0.2))
def test_an_added_hit_is_found_and_can_be_removed(envelope: Envelope, level: float, decay: float) -> None:
    quiet = Envelope(np.append(envelope.values, np.zeros(100)), RATE)
    time = quiet.seconds - 0.7
    more = add_hit(quiet, time, level, decay)
    assert len(more.onsets()) == len(quiet.onsets()) + 1
    assert abs(more.onsets()[-1] - time) < 0.012
    np.testing.assert_allclose(remove_hit(more, time).values, quiet.values, atol=1e-3)


def test_an_added_hit_s_own_level_is_the_usual_one() -> None:
    envelope = draw_hits([Hit(0.3, 0.05), Hit(0.8, 0.06), Hit(1.3, 0.17)], seconds=3.0)
    usual = float(np.median([hit.level for hit in find_hits(envelope)]))
    assert find_hits(add_hit(envelope, 2.4))[-1].level == pytest.approx(usual, rel=0.1)
    assert add_hit(Envelope(np.zeros(300), RATE), 1.0).values.max() == pytest.approx(DEFAULT_LEVEL, rel=0.1)


def test_an_added_hit_adds_its_power() -> None:
    envelope = draw_hits([Hit(0.5, 0.1)], seconds=2.0)
    np.testing.assert_allclose(add_hit(envelope, 0.5, 0.1).values, math.sqrt(2) * envelope.values, rtol=1e-6)


def test_a_hit_over_a_hum_leaves_the_hum() -> None:
    hum = np.interp(np.arange(376) / RATE, [0, 2.8, 3.0], [0.02, 0.02, 0.0])
    envelope = add_hit(Envelope(hum, RATE), 1.0, 0.15)
    for near in (0.91, 1.09):
        np.testing.assert_allclose(remove_hit(envelope, near).values, hum, atol=1e-3)


def test_a_removed_hit_leaves_its_neighbours_and_no_louder_value() -> None:
    envelope = draw_hits([Hit(0.3, 0.1), Hit(0.55, 0.1), Hit(0.8, 0.1)], seconds=2.0)
    less = remove_hit(envelope, 0.56)
    np.testing.assert_allclose(less.onsets(), envelope.onsets()[[0, 2]], atol=0.004)
    assert (less.values <= envelope.values + 1e-6).all()


@settings(deadline=None)
@given(struck(least_gap=0.4), st.floats(-0.08, 0.08), st.floats(0.5, 2.0))
def test_a_moved_hit_has_its_new_time_exactly_and_the_others_keep_theirs(
    envelope: Envelope, by: float, factor: float
) -> None:
    longer = draw_hits(find_hits(envelope), seconds=envelope.seconds + 0.5)
    first, *others = find_hits(longer)
    moved = move_hit(longer, first.time, first.time + by, first.level * factor)
    kept = set(moved.hits)
    assert Hit(first.time + by, first.level * factor, first.decay) in kept and {*others} <= kept


def test_a_hit_moved_by_whole_values_is_that_hit_drawn_there() -> None:
    before = draw_hits([Hit(0.4, 0.1), Hit(1.6, 0.05)], seconds=2.5)
    after = draw_hits([Hit(0.8, 0.2), Hit(1.6, 0.05)], seconds=2.5)
    moved = move_hit(before, 0.45, 0.8, 0.2)
    np.testing.assert_allclose(moved.values, after.values, atol=1e-6)
    assert moved.hits == after.hits
    with pytest.raises(ValueError, match="outside the envelope"):
        move_hit(before, 0.4, 2.6)


def test_a_drawn_line_replaces_the_curve_between_its_ends() -> None:
    before = draw_hits([Hit(0.3, 0.1), Hit(1.2, 0.1), Hit(2.0, 0.1)], seconds=2.5)
    drawn = draw(before, [(1.0, 0.0), (1.04, 0.2), (1.6, 0.0)])
    clock = np.arange(len(before.values)) / RATE
    inside = (clock >= 1.0) & (clock <= 1.6)
    np.testing.assert_array_equal(drawn.values[~inside], before.values[~inside])
    np.testing.assert_allclose(drawn.values[inside], np.interp(clock[inside], [1.0, 1.04, 1.6], [0, 0.2, 0]), atol=1e-7)
    np.testing.assert_allclose(drawn.onsets(), [0.3, 1.03, 2.0], atol=0.02)
    for points in ([(1.0, 0.1)], [(1.0, 0.1), (0.9, 0.1)], [(1.0, -0.1), (1.1, 0.1)], [(2.0, 0.1), (2.6, 0.1)]):
        with pytest.raises(ValueError, match=r"points|outside the envelope"):
            draw(before, points)


def test_removing_an_absent_hit_lists_the_hits() -> None:
    with pytest.raises(ValueError, match=r"within 100 ms of 0.41 s; there are: 0.300"):
        remove_hit(draw_hits([Hit(0.3, 0.1)], seconds=2.0), 0.41)
    with pytest.raises(ValueError, match="there are: none"):
        remove_hit(Envelope(np.zeros(300), RATE), 1.1)


@settings(deadline=None)
@given(crowded, st.sampled_from([24.0, 24000 / 1001, 25.0, 30.0, 50.0]))
def test_quantised_onsets_lie_on_frames_and_stay_there(envelope: Envelope, frame_rate: float) -> None:
    on_frames = quantise(envelope, frame_rate)
    place = on_frames.onsets() * frame_rate
    assert (np.abs(place - np.round(place)) / frame_rate <= 1e-9).all()
    assert np.array_equal(quantise(on_frames, frame_rate).values, on_frames.values)
    assert on_frames.values.shape == envelope.values.shape
    # A rise so small that it just counts may not do so once it is squeezed, and one that a steeper neighbour hid may
    # come up beside it; no other does.
    moved = np.abs(on_frames.onsets()[:, None] - envelope.onsets()).min(1, initial=np.inf)
    assert (moved <= MIN_GAP_SEC).all()


@pytest.mark.parametrize("frame_rate", [24.0, 25.0, 30.0])
def test_clear_onsets_all_go_to_the_nearest_frame(frame_rate: float) -> None:
    hits = [Hit(0.3 + 0.273 * index, 0.05 + 0.01 * index, 0.08) for index in range(8)]
    envelope = draw_hits(hits, seconds=3.0)
    nearest = np.round(envelope.onsets() * frame_rate) / frame_rate
    np.testing.assert_allclose(quantise(envelope, frame_rate).onsets(), nearest, atol=1e-9)


def test_two_onsets_of_one_frame_stay_two() -> None:
    envelope = draw_hits([Hit(0.42, 0.1, 0.03), Hit(0.58, 0.1, 0.03)], seconds=2.0)
    np.testing.assert_allclose(quantise(envelope, 2.0).onsets(), [0.5, 1.0], atol=1e-9)


@given(st.floats(1e-3, 1.0))
def test_the_peak_is_what_was_asked(peak: float) -> None:
    scaled = scale_peak(curve(), peak)
    assert scaled.values.max() == pytest.approx(peak, rel=1e-6)
    np.testing.assert_allclose(scale_peak(scaled, curve().values.max()).values, curve().values, rtol=1e-5)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda e: gain(e, math.inf), "inf dB"),
        (lambda e: mute(e, 1.0, 1.0), "from 1 to 1"),
        (lambda e: mute(e, -1.0, 1.0), "from -1 to 1"),
        (lambda e: mute(e, 2.05, 4.0), "lasts 2.000 s"),
        (lambda e: shift(e, math.nan), "nan"),
        (lambda e: add_hit(e, 2.5, 0.1), "lasts 2.000 s"),
        (lambda e: quantise(e, 0.0), "0 frames"),
        (lambda e: scale_peak(e, 0.0), "peak of 0"),
        (lambda e: scale_peak(mute(e, 0.0, 9.0), 0.1), "silent"),
    ],
)
def test_impossible_edits_give_the_reason(edit: Callable[[Envelope], Envelope], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        edit(curve())


def same(name: str, text: str, expected: Envelope, envelope: Envelope) -> None:
    np.testing.assert_array_equal(parse_edit(name, text)(envelope).values, expected.values)


def test_options_mean_the_functions() -> None:
    envelope = draw_hits([Hit(0.3, 0.1), Hit(1.1, 0.05)], seconds=3.0)
    same("gain", "2:3:-6dB", gain(envelope, -6.0, 2.0, 3.0), envelope)
    same("gain", "-6 dB", gain(envelope, -6.0), envelope)
    same("gain", ":500ms:3dB", gain(envelope, 3.0, 0.0, 0.5), envelope)
    same("mute", "1.0:1.5", mute(envelope, 1.0, 1.5), envelope)
    same("move-hit", "1.1:1.25", move_hit(envelope, 1.1, 1.25), envelope)
    same("move-hit", "300ms:0.4:-20dB", move_hit(envelope, 0.3, 0.4, 0.1), envelope)
    same("draw", "1:0,1.2:-20dB,1.5s:0", draw(envelope, [(1.0, 0.0), (1.2, 0.1), (1.5, 0.0)]), envelope)
    same("mute", "1:", mute(envelope, 1.0, math.inf), envelope)
    same("shift", "120ms", shift(envelope, 0.12), envelope)
    same("shift", "-0.12s", shift(envelope, -0.12), envelope)
    same("shift", "1:2:-40ms", shift(envelope, -0.04, 1.0, 2.0), envelope)
    same("add-hit", "2.4:0.8", add_hit(envelope, 2.4, 0.8), envelope)
    same("add-hit", "2.4", add_hit(envelope, 2.4), envelope)
    same("add-hit", "2.4:-20dB:80ms", add_hit(envelope, 2.4, 0.1, 0.08), envelope)
    same("remove-hit", "1.1", remove_hit(envelope, 1.1), envelope)
    same("quantise", "24000/1001", quantise(envelope, 24000 / 1001), envelope)
    same("scale-peak", "0.3", scale_peak(envelope, 0.3), envelope)


def test_edits_apply_in_the_order_given() -> None:
    envelope = draw_hits([Hit(0.3, 0.1)], seconds=1.0)
    there, back = parse_edit("shift", "200ms"), parse_edit("mute", "0.45:0.7")
    assert not apply_edits(envelope, [there, back]).values[: round(0.7 * RATE)].any()
    assert apply_edits(envelope, [back, there]).values.max() == envelope.values.max()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("shift", "120", "no unit"),
        ("gain", "1:2:-6", "no unit dB"),
        ("gain", "2:1:-6dB", "end must come after"),
        ("mute", "1", "a start and an end"),
        ("mute", "a:b", "'a' is not a number of s"),
        ("mute", "nan:2", "not a number"),
        ("add-hit", "1:2", "level of 2"),
        ("add-hit", "-1:0.2", "-1 s"),
        ("add-hit", "1:0.1:0s", "decays within 0 s"),
        ("add-hit", "1:2:3:4", "4 parts"),
        ("remove-hit", "soon", "'soon' is not a number"),
        ("quantise", "30/0", "not a frame rate"),
        ("quantise", "-30", "above 0"),
        ("quantise", "1e9", "at most 1000"),
        ("gain", "1:2:1e9dB", "beyond 200 dB"),
        ("scale-peak", "1e999", "not a number"),
    ],
)
def test_a_malformed_option_names_itself_and_the_way_out(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_edit(name, text)
    message = str(caught.value)
    assert message.startswith(f"--{name} {text}: ") and complaint in message and FORMS[name] in message


def test_an_unknown_edit_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'reverse'.*gain, mute"):
        parse_edit("reverse", "")


@settings(deadline=None)
@given(struck(), st.floats(-0.09, 0.3), st.floats(-12, 6))
def test_edits_keep_known_times_exact(envelope: Envelope, seconds: float, decibels: float) -> None:
    longer = draw_hits(find_hits(envelope), seconds=envelope.seconds + 0.5)
    edited = gain(shift(longer, seconds), decibels)
    np.testing.assert_allclose(edited.onsets(), longer.onsets() + seconds, atol=1e-9)
    added = add_hit(edited, longer.seconds - 0.3, 0.1)
    assert added.onsets()[-1] == longer.seconds - 0.3


def test_a_mute_that_ends_in_a_sound_makes_an_onset_there() -> None:
    envelope = draw_hits([Hit(0.5, 0.1, 0.05), Hit(1.0, 0.1, 1.5)], seconds=3.0)
    np.testing.assert_allclose(mute(envelope, 0.9, 1.4).onsets(), [0.5, 1.4], atol=0.01)
