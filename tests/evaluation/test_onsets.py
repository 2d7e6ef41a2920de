import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.evaluation.metrics import OnsetF1
from foleygram.evaluation.onsets import detect_onsets, pair_onsets, peak
from foleygram.evaluation.scores import ScoredClip, score_clip

RATE = 16_000
TIMES = [0.3, 0.8, 1.4, 1.75, 2.6, 3.3]


def strikes(times, seconds=4.0, level=0.5, rate=RATE):
    audio = 1e-5 * torch.randn(round(seconds * rate), generator=torch.Generator().manual_seed(0))
    t = torch.arange(round(0.15 * rate)) / rate
    tone = level * torch.sin(2 * torch.pi * 900 * t) * torch.exp(-t / 0.03)
    for time in times:
        start = round(time * rate)
        audio[start : start + len(tone)] += tone[: len(audio) - start]
    return audio


def score_onsets(tolerance, *clips):
    metric = OnsetF1(tolerance)
    for detected, annotated in clips:
        metric.update(detected, annotated, ["hit"] * len(annotated))
    return metric.compute()


def match_onsets(detected, annotated, tolerance):
    return score_onsets(tolerance, (detected, annotated))


def most_pairs(detected, annotated, tolerance):
    """The largest matching, by trying every assignment of the shorter list."""
    if len(detected) > len(annotated):
        detected, annotated = annotated, detected
    places = [*range(len(annotated)), *[None] * len(detected)]
    return max(
        sum(j is not None and abs(d - annotated[j]) <= tolerance for d, j in zip(detected, chosen, strict=True))
        for chosen in set(itertools.permutations(places, len(detected)))
    )


times_lists = st.lists(st.integers(0, 40).map(lambda i: i / 100), max_size=4).map(sorted)


@settings(max_examples=60, deadline=None)
@given(times_lists, times_lists)
def test_matching_is_as_large_as_the_best_assignment(detected, annotated):
    pairs = pair_onsets(detected, annotated, 0.05 + 1e-12)
    assert len(pairs) == most_pairs(detected, annotated, 0.05 + 1e-9)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(abs(detected[i] - annotated[j]) <= 0.05 + 1e-9 for i, j in pairs)


def test_two_detections_of_one_event_are_one_hit_and_one_mistake():
    assert match_onsets([0.99, 1.01], [1.0], 0.05)[:4] == (0.5, 1.0, pytest.approx(2 / 3), 2.0)


def test_the_tolerance_itself_is_inside():
    assert match_onsets([1.05], [1.0], 0.05).f1 == 1
    assert match_onsets([1.051], [1.0], 0.05).f1 == 0


def test_empty_lists():
    assert match_onsets([], [], 0.05)[:4] == (1.0, None, 1.0, None)
    assert match_onsets([], [1.0], 0.05)[:4] == (0.0, 0.0, 0.0, 0.0)
    assert match_onsets([0.1, 0.2, 0.3], [], 0.05)[:4] == (0.0, None, 0.0, None)
    assert set(score_onsets(0.05)) == {None}


def test_times_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="ascend"):
        match_onsets([2.0, 1.0], [1.0], 0.05)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_strikes_are_found_once_each_at_their_times(rate):
    audio = strikes(TIMES, rate=rate)
    found = detect_onsets(audio, rate, reference_peak=peak(audio))
    assert match_onsets(found, TIMES, 0.03).f1 == 1


def test_a_late_sound_is_right_within_the_tolerance_and_wrong_beyond():
    late = strikes([t + 0.07 for t in TIMES])
    found = detect_onsets(late, RATE, reference_peak=peak(late))
    assert match_onsets(found, TIMES, 0.1).f1 == 1
    assert match_onsets(found, TIMES, 0.05).f1 == 0


def test_silence_and_hiss_far_below_the_reference_have_no_onsets():
    hiss = 1e-5 * torch.randn(8 * RATE, generator=torch.Generator().manual_seed(1))
    assert len(detect_onsets(hiss, RATE, reference_peak=0.5)) == 0
    assert len(detect_onsets(hiss, RATE, reference_peak=peak(hiss))) > 0, "the floor is what keeps it quiet"
    assert len(detect_onsets(torch.zeros(RATE), RATE, reference_peak=0.5)) == 0


def test_the_detector_finds_rendered_strikes_and_scrapes():
    from foleygram.synthetic.drumstick.render import plan_video
    from foleygram.synthetic.drumstick.sound import render_sound

    clips = []
    for index in range(10):
        scene = plan_video(77, index, seconds=(4.0, 4.0), shares="balanced").scene
        audio = torch.from_numpy(render_sound(scene, RATE))
        found = detect_onsets(audio, RATE, reference_peak=peak(audio))
        clips.append((found, [event.time for event in scene.events]))
    scores = score_onsets(0.05, *clips)
    assert scores.f1 > 0.93
    assert np.abs(scores.count_ratio - 1) < 0.12


def test_a_clip_without_events_counts_what_is_audible():
    """Its reference is silence or a room's noise, so the floor is 50 dB below full scale and not below the noise."""
    click = torch.zeros(2 * RATE)
    click[RATE : RATE + 40] = 0.1
    hiss = 1e-4 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0))
    for sound, expected in ((click, 1), (hiss, 0)):
        row = score_clip(ScoredClip(sound, hiss / 10, RATE, [], [], None, "a", 0.0), ("onsets",))
        assert row["false_onsets"] == expected and row["event_free_sec"] == 2.0
