"""Requests: a video read at the model's windows, with its prompts, reference sound and envelope; arguments checked."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.sampling import Window, plan_windows, window_starts
from foleygram.media.audio import read_audio, resample
from foleygram.media.motion import read_motion
from foleygram.media.video import Frames, probe, read_squares, segment_middles
from foleygram.spec import ClipSpec

REFERENCE_RATE = 16_000
"""Rate in Hz of reference sounds."""
WINDOW_OVERLAP = 0.25
"""Share of a window that overlaps the next."""


@dataclass(frozen=True)
class VideoInput:
    """The model's input from a video: its length, frames per window for the encoder, frames for the predictor."""

    seconds: float
    frames: Tensor
    """uint8 (W, N, 3, S, S), one row per window."""
    motion: Tensor
    motion_ages: Tensor
    """Start of the predictor's time grid in the video, in seconds; whole values of the envelope."""


class ModalityWeights(NamedTuple):
    """Factor of each modality's cross-attention token; 0 leaves it out.

    Audio has 2: at 1, a video and text that agree on another material outweigh a reference sound
    (`benchmarks/conflict.py`).
    """

    video: float = 1.0
    text: float = 1.0
    audio: float = 2.0


DEFAULT_WEIGHTS = ModalityWeights()
HIGHEST_WEIGHT = 100
"""Highest weight of a modality and of the envelope; a larger number is a typing error."""


def check_control_scale(scale: float) -> None:
    """Raise TypeError for a weight of the envelope condition that is no number, ValueError for one out of range."""
    check_kind("controlnet_conditioning_scale", scale)
    if not 0 <= scale <= HIGHEST_WEIGHT:
        raise ValueError(f"control scale {scale:g}: give a number from 0 to {HIGHEST_WEIGHT}")


@dataclass(frozen=True)
class Segment:
    """A stretch of a video, in seconds from its start, with its own prompt or reference sound."""

    start: float
    end: float
    prompt: str | None = None
    reference_audio: Tensor | np.ndarray | None = None
    """(samples,) or (channels, samples) at 16 kHz."""


@dataclass(frozen=True)
class SoundRequest:
    """A video and the options of its sound; a segment's prompt and reference replace the whole video's.

    Raises ValueError for segments that are empty, overlap or leave the video.
    """

    video: VideoInput
    seed: int = 0
    prompt: str | None = None
    negative_prompt: str | None = None
    reference_audio: Tensor | np.ndarray | None = None
    envelope: str | Envelope = "predicted"
    weights: ModalityWeights = DEFAULT_WEIGHTS
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        check_segments(self.segments, self.video.seconds)

    def regions(self) -> list[Segment]:
        """The segments, and what lies before, between and after them: together the whole video."""
        regions, reached = [], 0.0
        for segment in self.segments:
            if segment.start > reached:
                regions.append(Segment(reached, segment.start))
            regions.append(segment)
            reached = segment.end
        if reached < self.video.seconds or not regions:
            regions.append(Segment(reached, self.video.seconds))
        return [
            Segment(
                region.start,
                region.end,
                self.prompt if region.prompt is None else region.prompt,
                self.reference_audio if region.reference_audio is None else region.reference_audio,
            )
            for region in regions
        ]

    def windows(self, spec: ClipSpec) -> list[Window]:
        """The windows of the whole video, region by region."""
        edges = [round(region.start * spec.sample_rate / spec.latent_hop) for region in self.regions()[1:]]
        total = total_latents(self.video.seconds, spec)
        return plan_windows(total, window=spec.num_latents, hop=window_hop(spec), edges=edges)


def check_segments(segments: tuple[Segment, ...], seconds: float) -> None:
    """Raise ValueError unless segments are ascending, not empty, and within a video of `seconds`."""
    for segment in segments:
        if not 0 <= segment.start < segment.end:
            raise ValueError(f"a segment from {segment.start:g} to {segment.end:g} s: it must end after it starts")
        if segment.start >= seconds or segment.end > seconds + 1.0:
            raise ValueError(f"a segment to {segment.end:g} s in a video of {seconds:.2f} s: it must lie within")
    for one, other in pairwise(segments):
        if other.start < one.end:
            raise ValueError(
                f"segments {one.start:g}-{one.end:g} and {other.start:g}-{other.end:g} s overlap or are out of order"
            )


def read_video(path: Path, spec: ClipSpec, *, start: float = 0.0, seconds: float | None = None) -> VideoInput:
    """Read the input of a model of `spec` from a video, or from its part from `start` for `seconds`.

    Raises MediaError when it cannot be read, ValueError for a part that lies outside the video.
    """
    info = probe(path)
    whole = info.duration_sec
    if not 0 <= start < whole or (seconds is not None and not seconds > 0):
        raise ValueError(f"{path}: part from {start:g} s for {seconds} s of a video of {whole:g} s; choose one within")
    length = whole - start if seconds is None else min(seconds, whole - start)

    def squares(times: np.ndarray) -> Tensor:
        clipped = times if seconds is None else np.minimum(times, max(0.0, length - 1e-4))
        return read_squares(path, start + clipped, size=spec.image_size, transform=spec.frame_transform)

    def motion(reach: float) -> Frames:
        rate, size = spec.motion_frame_rate, spec.motion_size
        if seconds is None:
            return read_motion(path, start, reach, rate=rate, size=size)
        inside = max(1, int(length * rate + 0.5))  # grid times before the part's end
        frames, ages = read_motion(path, start, inside / rate, rate=rate, size=size)
        more = max(0, round(reach * rate) - inside)
        later = ages[-1] + torch.arange(1, more + 1) / rate
        return Frames(torch.cat([frames, frames[-1:].expand(more, -1, -1, -1)]), torch.cat([ages, later]))

    return sample_video(squares, motion, length, spec)


def sample_video(
    squares: Callable[[np.ndarray], Tensor],
    motion: Callable[[float], Frames],
    seconds: float,
    spec: ClipSpec,
) -> VideoInput:
    """The input of a model of `spec` from a video of `seconds`.

    `squares` returns the encoder's frames (N, 3, S, S) at ascending times (N,), `motion` the predictor's on its grid
    for a length in seconds; both repeat the last frame past the end.
    """
    length = min(seconds, spec.seconds)
    times = np.stack([segment_middles(start, length, spec.num_frames) for start in window_seconds(seconds, spec)])
    order = times.argsort(axis=None)  # windows overlap; in one pass no part of a long film is decoded for each
    frames = squares(times.flat[order])[order.argsort()]
    moving, ages = motion(max(seconds, spec.seconds))
    return VideoInput(seconds, frames.unflatten(0, times.shape), moving, ages)


def total_latents(seconds: float, spec: ClipSpec) -> int:
    """Latents that a video of `seconds` needs, one window at least."""
    return max(spec.num_latents, -(-round(seconds * spec.sample_rate) // spec.latent_hop))


def window_seconds(seconds: float, spec: ClipSpec) -> list[float]:
    """Starts, in seconds, of the windows of a video of `seconds`."""
    window, hop = spec.num_latents, window_hop(spec)
    starts = window_starts(total_latents(seconds, spec), window=window, hop=hop)
    return [start * spec.latent_hop / spec.sample_rate for start in starts]


def window_hop(spec: ClipSpec) -> int:
    """Latents from one window's start to the next's."""
    return spec.num_latents - max(1, round(WINDOW_OVERLAP * spec.num_latents))


def envelope_of_sound(audio: Tensor, sample_rate: int, spec: ClipSpec) -> Envelope:
    """The RMS envelope of mono sound (samples,), measured at the rate that `spec` names."""
    mono = resample(audio[None], sample_rate, spec.envelope_sample_rate)[0]
    return Envelope(rms_envelope(mono, spec.frame_length, spec.hop_length).numpy(), spec.envelope_rate)


def envelope_of_video(path: Path, spec: ClipSpec, seconds: float | None = None) -> Envelope:
    """The RMS envelope of a video's own sound, or its first `seconds`; raises MediaError if absent or silent."""
    rate = spec.envelope_sample_rate
    sound = read_audio(path, sample_rate=rate, seconds=seconds, allow_silence=False)
    return envelope_of_sound(sound[0], rate, spec)


KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "video": ((str, Path, VideoInput), "a path or a VideoInput"),
    "prompt": ((str, type(None)), "a text or None"),
    "negative_prompt": ((str, type(None)), "a text or None"),
    "reference_audio": ((Tensor, np.ndarray, type(None)), "samples at 16 kHz as a tensor or array, or None"),
    "envelope": ((str, Envelope), '"predicted", "audio" or an Envelope (foleygram.Envelope.from_audio makes one)'),
    "weights": ((ModalityWeights,), "ModalityWeights(video=, text=, audio=)"),
    "num_inference_steps": ((Integral, type(None)), "a whole number of steps, 1 or more"),
    "guidance_scale": ((Real, type(None)), "a number; 1 turns guidance off"),
    "apg_scale": ((Real, type(None)), "a number from 0, plain guidance, to 1, adaptive projected guidance"),
    "controlnet_conditioning_scale": ((Real,), "a number; 0 ignores the envelope"),
    "segments": ((Segment,), "Segment(start, end, prompt)"),
    "device": ((str, int, torch.device), "a name such as cpu or cuda:1, or a torch.device"),
}
"""Accepted types of each argument, and their description in an error message."""


def check_kind(name: str, value: Any) -> None:
    """Raise TypeError that names the argument, its value and what it accepts."""
    accepted, description = KINDS[name]
    if not isinstance(value, accepted):
        raise TypeError(f"{name} is {_shown(value)}: give {description}")


def make_requests(
    spec: ClipSpec,
    video: Any,
    *,
    generator: Any,
    weights: ModalityWeights,
    segments: Sequence[Segment],
    **each: Any,
) -> list[SoundRequest]:
    """A request per video; where `video` is a list, `generator` and those in `each` may be lists of its length.

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
        video_input = video if isinstance(video, VideoInput) else read_video(Path(video), spec)
        if isinstance(own["envelope"], str) and own["envelope"] == "audio" and not isinstance(video, VideoInput):
            own["envelope"] = envelope_of_video(Path(video), spec)
        requests.append(SoundRequest(video_input, seeds[index], **own, weights=weights, segments=tuple(segments)))
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
