"""The pipeline's arguments, checked: one video or a list of them, each other argument for all or for each."""

import operator
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.pipeline.request import (
    ModalityWeights,
    Segment,
    SoundRequest,
    VideoInput,
    envelope_of_video,
    read_video,
)
from foleygram.spec import ClipSpec

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "video": ((str, Path, VideoInput), "a path or a VideoInput"),
    "prompt": ((str, type(None)), "a text or None"),
    "negative_prompt": ((str, type(None)), "a text or None"),
    "reference_audio": ((Tensor, np.ndarray, type(None)), "samples at 16 kHz as a tensor or array, or None"),
    "envelope": ((str, Envelope), '"predicted", "audio" or an Envelope (foleygram.Envelope.from_audio makes one)'),
    "weights": ((ModalityWeights,), "ModalityWeights(video=, text=, audio=)"),
    "num_inference_steps": ((Integral, type(None)), "a whole number of steps, 1 or more"),
    "guidance_scale": ((Real, type(None)), "a number; 1 turns guidance off"),
    "controlnet_conditioning_scale": ((Real,), "a number; 0 ignores the envelope"),
    "segments": ((Segment,), "Segment(start, end, prompt)"),
}
"""What each argument accepts, as types and in words."""


def check_kind(name: str, value: Any) -> None:
    """Raise TypeError that names the argument, its value and what it accepts."""
    accepted, words = KINDS[name]
    if not isinstance(value, accepted):
        raise TypeError(f"{name} is {_shown(value)}: give {words}")


def make_requests(
    spec: ClipSpec,
    video: Any,
    *,
    generator: Any,
    weights: ModalityWeights,
    segments: Sequence[Segment],
    **each: Any,
) -> list[SoundRequest]:
    """A request per video; where `video` is a list, `generator` and those in `each` may be lists as long.

    Raises TypeError or ValueError naming an argument that cannot be used, before any video is read; MediaError for a
    video that cannot be read.
    """
    several = isinstance(video, (list, tuple))
    videos = list(video) if several else [video]
    if not videos:
        raise ValueError("video is an empty list: give at least one video")
    check_kind("weights", weights)
    if not isinstance(segments, Sequence):
        raise TypeError(f"segments is {_shown(segments)}: give a list of Segment(start, end, prompt)")
    for segment in segments:
        check_kind("segments", segment)
    spread = _one_for_each if several else lambda _, value, count: [value] * count
    for one in videos:
        check_kind("video", one)
    columns = {name: spread(name, value, len(videos)) for name, value in each.items()}
    for name, values in columns.items():
        for value in values:
            check_kind(name, value)
    seeds = [_seed(value) for value in spread("generator", generator, len(videos))]
    requests = []
    for index, video in enumerate(videos):
        own = {name: values[index] for name, values in columns.items()}
        seen = video if isinstance(video, VideoInput) else read_video(Path(video), spec)
        if isinstance(own["envelope"], str) and own["envelope"] == "audio" and not isinstance(video, VideoInput):
            own["envelope"] = envelope_of_video(Path(video), spec)
        requests.append(SoundRequest(seen, seeds[index], **own, weights=weights, segments=tuple(segments)))
    return requests


def _one_for_each(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} is a list of {len(value)} for {count} videos: give one for all, or one for each")
    return list(value)


def _seed(generator: Any) -> int:
    if generator is None or isinstance(generator, torch.Generator):
        return int(torch.randint(2**62, (), generator=generator))
    try:
        return operator.index(generator)
    except TypeError:
        raise TypeError(
            f"generator is {_shown(generator)}: give an integer seed, a torch.Generator on the CPU, or None"
        ) from None


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
