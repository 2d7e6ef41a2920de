import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foleygram.envelope.editing.hits import (
    DECAY_SEC,
    FULL_LEVEL,
    RATE,
    Hit,
    draw_hits,
    find_hits,
    hit_levels,
    hit_markers,
    level_velocity,
    tail_sec,
    velocity_level,
)
from foleygram.envelope.envelope import Envelope


@pytest.mark.parametrize("decay", [0.03, 0.1, 0.4])
def test_a_hit_is_the_envelope_of_decaying_noise(decay: float) -> None:
    clock = torch.arange(32_000) / 16_000
    noise = torch.randn(400, 32_000, generator=torch.Generator().manual_seed(0))
    sound = noise * torch.where(clock >= 0.5, 10 ** (-(clock - 0.5) / decay), 0.0)
    measured = np.sqrt(np.mean([Envelope.from_audio(row, 16_000).values ** 2 for row in sound], axis=0))
    drawn = hit_levels(Hit(0.5, 1.0, decay), np.arange(251) / RATE)
    near = slice(round(0.45 * RATE), round((0.5 + 1.5 * decay) * RATE))
    np.testing.assert_allclose(measured[near] / measured.max(), drawn[near] / drawn.max(), atol=0.03)


def test_a_hit_peaks_at_its_level_and_is_20_db_down_after_its_decay() -> None:
    hit = Hit(1.0, 0.2, 0.15)
    levels = hit_levels(hit, np.array([1.016, 1.016 + 0.15, 0.98, 1.0 + tail_sec(hit)]))
    np.testing.assert_allclose(levels, [0.2, 0.02, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("decay", [0.03, 0.1, 0.4])
def test_drawn_hits_are_found_again(decay: float) -> None:
    hits = [Hit(0.25, 0.1, decay), Hit(0.9, 0.02, decay), Hit(1.7, 0.17, decay)]
    found = find_hits(draw_hits(hits, seconds=2.5))
    np.testing.assert_allclose([hit.time for hit in found], [hit.time for hit in hits], atol=0.012)
    np.testing.assert_allclose([hit.level for hit in found], [hit.level for hit in hits], rtol=0.1)
    assert [hit.decay for hit in found] == pytest.approx([decay] * 3, rel=0.15)


@pytest.mark.parametrize("gap", [0.15, 0.3])
def test_a_decay_that_the_next_hit_cuts_short_is_drawn_on(gap: float) -> None:
    found = find_hits(draw_hits([Hit(0.5, 0.1, 0.4), Hit(0.5 + gap, 0.1, 0.4)], seconds=2.0))
    assert [hit.decay for hit in found] == pytest.approx([0.4, 0.4], rel=0.15)


def test_a_level_that_stays_has_the_usual_decay() -> None:
    values = np.zeros(250, np.float32)
    values[100:] = 0.1
    [hit] = find_hits(Envelope(values, RATE))
    assert (hit.level, hit.decay) == (pytest.approx(0.1), DECAY_SEC)


def test_powers_of_simultaneous_hits_add() -> None:
    one, two = draw_hits([Hit(0.5, 0.1)]), draw_hits([Hit(0.5, 0.1), Hit(0.5, 0.1)])
    np.testing.assert_allclose(two.values, math.sqrt(2) * one.values, rtol=1e-6)


@pytest.mark.parametrize("time", [0.0, 0.011, 0.5037])
def test_a_drawn_hit_has_its_time_level_and_decay(time: float) -> None:
    hit = Hit(time, 0.1, 0.1)
    expected = hit_levels(hit, np.arange(251) / RATE)
    np.testing.assert_allclose(draw_hits([hit], seconds=2.0).values, expected, atol=1e-7)


def test_a_quiet_hit_just_before_a_loud_one_keeps_its_level() -> None:
    values = np.zeros(120)
    values[50:57], values[57:] = 0.02, 0.2
    found = find_hits(Envelope(values, RATE))
    assert [hit.time * RATE for hit in found] == pytest.approx([49.5, 56.5], abs=1e-4)
    assert [hit.level for hit in found] == pytest.approx([0.02, 0.2])


@given(arrays.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 1e-4, 0.01, 0.1, 0.3, 1.0])),
       st.sampled_from([1.0, 10.0, 50.0, 125.0, 250.0, 1000.0]))  # fmt: skip
@example(np.eye(17, dtype=np.float32)[[3, 16]].sum(0), 250.0)  # a hit whose way up lies behind the one before
def test_any_curve_has_hits_that_sound_one_after_the_other(values: np.ndarray, rate: float) -> None:
    envelope = Envelope(values, rate)
    hits = find_hits(envelope)
    assert np.all(np.diff([hit.time for hit in hits]) > 0)
    assert all(hit.level > 0 and 0 <= hit.time <= envelope.seconds for hit in hits)


def test_a_click_decays_in_a_millisecond_at_least() -> None:
    values = np.zeros(16_000)
    values[8000] = 0.2
    [hit] = find_hits(Envelope(values, 16_000.0))
    assert (hit.level, hit.decay) == (pytest.approx(0.2), 0.001)


def test_markers_have_hit_numbers_and_velocities() -> None:
    envelope = draw_hits([Hit(0.3, velocity_level(90)), Hit(0.8, velocity_level(40)), Hit(1.4, 0.1)], seconds=2.0)
    markers = hit_markers(envelope, 1.0)
    assert [marker.time for marker in markers] == pytest.approx([0.3, 0.8], abs=0.012)
    levels = [level_velocity(hit.level) for hit in find_hits(envelope)]
    assert [marker.label for marker in markers] == [f"hit 1 v{levels[0]}", f"hit 2 v{levels[1]}"]
    assert len(hit_markers(envelope)) == 3


def test_length_is_the_last_hits_or_what_is_asked() -> None:
    last = Hit(1.0, 0.1)
    drawn = draw_hits([last, Hit(0.5, 0.1)])
    assert tail_sec(last) <= drawn.seconds - 1.0 <= tail_sec(last) + 1 / RATE
    assert drawn.values[-1] == 0
    assert draw_hits([last], seconds=1.02).seconds == pytest.approx(1.024)
    assert not draw_hits([], seconds=1.0).values.any()


@pytest.mark.parametrize(
    ("time", "level", "decay", "complaint"),
    [
        (-0.1, 0.1, 0.1, "-0.1 s"),
        (math.inf, 1.0, 1.0, "at inf s"),
        (1.0, 0.0, 0.1, "level 0"),
        (1.0, math.inf, 0.1, "level inf"),
        (1.0, 0.1, math.nan, "within nan"),
        (1.0, 0.1, math.inf, "within inf"),
        (1.0, 0.1, 0.0, "within 0 s"),
    ],
)
def test_what_is_no_hit_is_refused(time: float, level: float, decay: float, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Hit(time, level, decay)


@given(st.integers(1, 127))
def test_velocities_come_back(velocity: int) -> None:
    assert level_velocity(velocity_level(velocity)) == velocity


@given(st.floats(0.004, FULL_LEVEL))
def test_levels_come_back_within_half_a_step_of_velocity(level: float) -> None:
    steps = np.sqrt([velocity_level(level_velocity(level)) / FULL_LEVEL, level / FULL_LEVEL]) * 127
    assert abs(steps[0] - steps[1]) <= 0.5 + 1e-9


def test_velocity_is_a_square_law_and_clips_above() -> None:
    assert velocity_level(127) == FULL_LEVEL
    assert 20 * math.log10(velocity_level(127) / velocity_level(63.5)) == pytest.approx(12.04, abs=0.01)
    assert level_velocity(1.0) == 127
    assert level_velocity(0.0) == 1
    for velocity in (0, 128):
        with pytest.raises(ValueError, match=f"velocity of {velocity}"):
            velocity_level(velocity)
