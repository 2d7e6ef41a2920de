"""A region of a take rendered again: every sample outside of it stays, and only the windows around it are generated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foleygram import FoleyGRAMPipeline
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.pipeline.request import Segment, SoundRequest, VideoInput, window_seconds
from foleygram.production.batch_runner import Sampling
from foleygram.production.region import rerender_region, splice, windows_around

SECONDS = 9.3
SAMPLING = Sampling(num_inference_steps=2)


@pytest.fixture(scope="module")
def pipeline(tiny_release: Path) -> FoleyGRAMPipeline:
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


@pytest.fixture(scope="module")
def request_of_video(pipeline: FoleyGRAMPipeline) -> SoundRequest:
    spec, random = pipeline.spec, torch.Generator().manual_seed(0)
    windows, grid = len(window_seconds(SECONDS, spec)), round(SECONDS * spec.motion_frame_rate)

    def frames(*shape: int) -> torch.Tensor:
        return torch.randint(256, shape, generator=random, dtype=torch.uint8)

    seen = VideoInput(SECONDS, frames(windows, 2, 3, 16, 16), frames(grid, 3, 32, 32), torch.zeros(grid))
    hits = draw_hits([Hit(0.5 * number, 0.1) for number in range(1, 18)], seconds=SECONDS)
    return SoundRequest(seen, seed=3, envelope=hits)


@pytest.mark.parametrize(("start", "end"), [(4.2, 5.0), (0.0, 1.0), (8.9, SECONDS), (0.0, SECONDS), (6.0, 6.001)])
def test_samples_outside_of_the_region_stay(pipeline, request_of_video, start, end) -> None:
    rate = pipeline.spec.sample_rate
    [take] = pipeline.generate([request_of_video], **SAMPLING.options())
    again = rerender_region(pipeline, replace(request_of_video, seed=9), SAMPLING, take.audio, start, end)
    first, last = round(start * rate), round(end * rate)
    assert again.audio.shape == take.audio.shape
    assert torch.equal(again.audio[:, :first], take.audio[:, :first])
    assert torch.equal(again.audio[:, last:], take.audio[:, last:])
    assert not torch.equal(again.audio[:, first:last], take.audio[:, first:last])


def test_only_the_windows_around_the_region_are_generated(pipeline, request_of_video, monkeypatch) -> None:
    seen: list[Any] = []
    original = pipeline.generate
    monkeypatch.setattr(pipeline, "generate", lambda requests, **o: seen.extend(requests) or original(requests, **o))
    audio = torch.zeros(1, round(SECONDS * pipeline.spec.sample_rate))
    rerender_region(pipeline, request_of_video, SAMPLING, audio, 4.6, 4.8)
    starts = window_seconds(SECONDS, pipeline.spec)
    touched = [i for i, at in enumerate(starts) if at < 4.8 and at + 2.0 > 4.6]
    [part] = seen
    assert len(touched) < len(starts) and len(part.video.frames) == len(touched)
    assert torch.equal(part.video.frames, request_of_video.video.frames[touched])


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.2), (4.6, 4.8), (3.0, 6.5), (9.0, 9.3)])
def test_the_part_has_the_windows_and_the_envelope_of_the_whole(pipeline, request_of_video, start, end) -> None:
    spec = pipeline.spec
    segments = (Segment(0.0, 4.7, "wood"), Segment(4.7, 9.3, "metal"))
    whole = replace(request_of_video, segments=segments)
    part, offset = windows_around(whole, whole.envelope, start, end, spec)
    starts = window_seconds(SECONDS, spec)
    first = starts.index(offset)
    count = len(part.video.frames)
    inside = [at - offset for at in starts[first : first + count]]
    assert window_seconds(part.video.seconds, spec) == pytest.approx(inside, abs=1e-9)
    assert part.envelope.onsets() + offset == pytest.approx(
        [t for t in whole.envelope.onsets() if offset <= t <= offset + part.video.seconds]
    )
    for time in (start, (start + end) / 2):
        [prompt] = [s.prompt for s in part.regions() if s.start <= time - offset < s.end]
        assert prompt == ("wood" if time < 4.7 else "metal")


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 30))
def test_a_splice_is_the_new_sound_inside_and_the_old_outside(first: int, length: int, fade: int) -> None:
    last = min(100, first + length)
    old, new = torch.full((2, 100), 3.0), torch.full((2, 100), -5.0)
    spliced = splice(old, new, first, last, fade)
    assert (spliced[:, :first] == 3).all() and (spliced[:, last:] == 3).all()
    edge = max(1, min(fade, (last - first) // 2))
    assert (spliced[:, first + edge : last - edge] == -5).all()
    assert first > 0 or last - first <= 2 * edge or (spliced[:, : last - edge] == -5).all()


@pytest.mark.parametrize(
    ("start", "end", "change", "message"),
    [
        (2.0, 2.0, {}, "from 2 to 2 s"),
        (9.4, 9.9, {}, "must lie within"),
        (-1.0, 2.0, {}, "from -1 to 2 s"),
        (1.0, 2.0, {"envelope": "predicted"}, "give an Envelope"),
    ],
)
def test_impossible_regions_are_refused(pipeline, request_of_video, start, end, change, message) -> None:
    audio = torch.zeros(1, round(SECONDS * pipeline.spec.sample_rate))
    with pytest.raises(ValueError, match=message):
        rerender_region(pipeline, replace(request_of_video, **change), SAMPLING, audio, start, end)
    with pytest.raises(ValueError, match="needs 148800"):
        rerender_region(pipeline, request_of_video, SAMPLING, audio[:, 1:], 1.0, 2.0)
