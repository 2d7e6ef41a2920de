"""Renders one region of a take again; outside of it every sample stays as it was."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.pipeline.pipeline import FoleyGRAMPipeline, FoleyOutput
from foleygram.pipeline.request import Segment, SoundRequest, VideoInput, window_seconds
from foleygram.production.batch_runner import Sampling
from foleygram.spec import ClipSpec

FADE_SEC = 0.01
"""Cross-fade at each end of the region, inside of it."""


def rerender_region(
    pipeline: FoleyGRAMPipeline,
    request: SoundRequest,
    sampling: Sampling,
    audio: Tensor,
    start: float,
    end: float,
    *,
    callback: Callable[[int], None] | None = None,
) -> FoleyOutput:
    """The take `audio` (channels, samples) with the region from `start` to `end` (seconds) rendered for `request`.

    Only the model's windows around the region are generated. Raises ValueError for a region that is empty or outside of
    the video, an envelope that is not given as such, or another number of samples than the video's.
    """
    seconds, rate = request.video.seconds, pipeline.spec.sample_rate
    if not (0 <= start < end and start < seconds):
        raise ValueError(f"a region from {start:g} to {end:g} s in a video of {seconds:.2f} s: it must lie within")
    if not isinstance(request.envelope, Envelope):
        raise ValueError(f"envelope is {request.envelope!r}: give an Envelope to render a region")
    if audio.shape[-1] != round(seconds * rate):
        raise ValueError(f"a take of {audio.shape[-1]} samples; the video needs {round(seconds * rate)}")
    part, offset = windows_around(request, request.envelope, start, min(end, seconds), pipeline.spec)
    [output] = pipeline.generate([part], **sampling.options(), callback=callback)
    new = torch.zeros_like(audio)
    first = round(offset * rate)
    length = min(output.audio.shape[-1], audio.shape[-1] - first)
    new[:, first : first + length] = output.audio[:, :length]
    spliced = splice(audio, new, round(start * rate), round(min(end, seconds) * rate), round(FADE_SEC * rate))
    return FoleyOutput(spliced, rate, request.envelope)


def splice(old: Tensor, new: Tensor, first: int, last: int, fade: int) -> Tensor:
    """`old` (channels, samples) with samples `first` to `last` (excluded) of `new`, cross-faded at equal power.

    The fades lie inside the region and are left out at the ends of the sound.
    """
    length = old.shape[-1]
    index = torch.arange(first, last, dtype=torch.float64)
    fade = max(1, min(fade, (last - first) // 2))
    rise = torch.ones_like(index) if first == 0 else ((index - first + 0.5) / fade).clamp(0, 1)
    fall = torch.ones_like(index) if last >= length else ((last - index - 0.5) / fade).clamp(0, 1)
    share = torch.minimum(rise, fall)
    angle = share * (math.pi / 2)
    there, here = old[:, first:last], new[:, first:last]
    spliced = old.clone()
    faded = torch.cos(angle).to(old) * there + torch.sin(angle).to(old) * here
    spliced[:, first:last] = torch.where(share == 1, here, faded)  # cos(pi / 2) is not exactly 0
    return spliced


def windows_around(
    request: SoundRequest, envelope: Envelope, start: float, end: float, spec: ClipSpec
) -> tuple[SoundRequest, float]:
    """The part of a request that the windows around a region see, and its start in the video, in seconds."""
    seen, length = request.video, spec.seconds
    starts = window_seconds(seen.seconds, spec)
    touched = [i for i, begin in enumerate(starts) if begin < end and begin + length > start]
    first, last = touched[0], touched[-1]
    offset = starts[first]
    until = seen.seconds if last == len(starts) - 1 else starts[last] + length
    begin = round(offset * spec.motion_frame_rate)
    count = round(max(until - offset, length) * spec.motion_frame_rate)
    part = VideoInput(
        until - offset, seen.frames[first : last + 1], seen.motion[begin : begin + count],
        seen.motion_ages[begin : begin + count],
    )  # fmt: skip
    segments = tuple(
        Segment(max(s.start - offset, 0.0), min(s.end, until) - offset, s.prompt, s.reference_audio)
        for s in request.segments
        if s.start < until and s.end > offset
    )
    curve = envelope.slice(offset, until - offset)
    return replace(request, video=part, envelope=curve, segments=segments), offset
