"""Takes of a batch: the first is the clip without takes, the best comes first, more are made only where asked."""

from dataclasses import replace

import pytest
import torch

from foleygram import Envelope, FoleyGRAMPipeline
from foleygram.pipeline.request import Segment, SoundRequest, VideoInput, window_seconds
from foleygram.production.batch_runner import (
    Sampling,
    TakeRule,
    placeholder_of,
    render_takes,
    take_seed,
    window_prompts,
)
from foleygram.production.requests import clip_seed
from foleygram.production.takes import disobeys, rank_takes

QUICK = Sampling(num_inference_steps=2)


@pytest.fixture(scope="module")
def pipeline(tiny_release):
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


def request(pipeline, seconds, seed, **options):
    spec, generator = pipeline.spec, torch.Generator().manual_seed(0)
    frames = round(max(seconds, spec.seconds) * spec.motion_frame_rate)
    motion = torch.randint(0, 256, (frames, 3, 32, 32), generator=generator, dtype=torch.uint8)
    windows = len(window_seconds(seconds, spec))
    shown = torch.randint(0, 256, (windows, 2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return SoundRequest(VideoInput(seconds, shown, motion, torch.zeros(frames)), seed, **options)


def test_the_first_take_is_the_clip_without_takes_and_the_best_comes_first(pipeline):
    places = [request(pipeline, 2.0, 5), request(pipeline, 3.1, 6)]
    several = render_takes(pipeline, places, QUICK, TakeRule(takes=3))
    single = render_takes(pipeline, places, QUICK, TakeRule())
    for takes, (alone,) in zip(several, single, strict=True):
        assert sorted(take.number for take in takes) == [1, 2, 3]
        by_number = sorted(takes, key=lambda take: take.number)
        assert torch.equal(by_number[0].output.audio, alone.output.audio) and alone.score is None
        assert takes == [by_number[i] for i in rank_takes([take.score for take in by_number])]
        assert len({take.seed for take in takes}) == 3


def test_a_request_is_read_once_for_all_its_takes(pipeline, monkeypatch):
    read, encode = [], pipeline.encode
    monkeypatch.setattr(pipeline, "encode", lambda request: read.append(request.seed) or encode(request))
    broken = request(pipeline, 2.0, 6, envelope="drawn")
    good, bad = render_takes(pipeline, [request(pipeline, 2.0, 5), broken], QUICK, TakeRule(takes=3))
    assert len(good) == 3 and read == [5, 6]
    assert isinstance(bad, ValueError) and "'drawn'" in str(bad)


def test_a_take_done_again_in_its_place_has_the_same_bytes(pipeline):
    places = [request(pipeline, 2.0, 5), request(pipeline, 3.1, 6)]
    takes = {take.number: take for take in render_takes(pipeline, places, QUICK, TakeRule(takes=2))[1]}
    seat = replace(places[1], seed=take_seed(6, 2))
    _, (again,) = render_takes(pipeline, [placeholder_of(places[0], pipeline.spec), seat], QUICK, TakeRule())
    assert torch.equal(again.output.audio, takes[2].output.audio)


def test_more_takes_only_of_what_strays(pipeline):
    loud, silent = Envelope(torch.full((251,), 0.05).numpy(), 125.0), Envelope(torch.zeros(251).numpy(), 125.0)
    places = [request(pipeline, 2.0, 5, envelope=loud), request(pipeline, 2.0, 6, envelope=silent)]
    first = render_takes(pipeline, places, QUICK, TakeRule(takes=2))
    shares = [min(take.score.relative_l1 for take in takes) for takes in first]
    tolerance = sum(shares) / 2  # between the two: one of them strays, whatever the random networks make
    made = render_takes(pipeline, places, QUICK, TakeRule(2, tolerance, retries=2))
    obeying, straying = sorted(zip(shares, made, strict=True), key=lambda pair: pair[0])
    assert len(obeying[1]) == 2 and len(straying[1]) in (3, 4)
    assert not disobeys(obeying[1][0].score, tolerance)  # those within the tolerance come first
    with_none = render_takes(pipeline, places, QUICK, TakeRule(1, 1e9))
    assert [len(takes) for takes in with_none] == [1, 1]


def test_a_take_that_cannot_be_scored_fails_its_clip_alone(pipeline, monkeypatch):
    from foleygram.production import batch_runner as rendering

    score = rendering.score_take

    def fragile(pipeline, seen, output, **options):
        if seen.seconds == 3.1:
            raise RuntimeError("out of memory")
        return score(pipeline, seen, output, **options)

    monkeypatch.setattr(rendering, "score_take", fragile)
    places = [request(pipeline, 2.0, 5), request(pipeline, 3.1, 6)]
    good, bad = render_takes(pipeline, places, QUICK, TakeRule(takes=2))
    assert [take.score is not None for take in good] == [True, True] and str(bad) == "out of memory"


def test_seeds_of_takes_differ_between_files():
    seeds = {take_seed(clip_seed(0, name), number) for name in ("a.mp4", "b.mp4") for number in range(1, 9)}
    assert len(seeds) == 16


def test_windows_are_judged_by_the_words_that_hold_there(pipeline):
    told = request(pipeline, 5.0, 0, prompt="wood", segments=(Segment(0.0, 1.5, "metal"), Segment(4.0, 5.0, "glass")))
    starts = window_seconds(5.0, pipeline.spec)
    middles = [start + 1.0 for start in starts]
    assert window_prompts(told, pipeline.spec) == [
        "metal" if m < 1.5 else "wood" if m < 4 else "glass" for m in middles
    ]
    assert window_prompts(request(pipeline, 1.0, 0), pipeline.spec) == [None]
