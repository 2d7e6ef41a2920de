"""Reads a video and the files of its options into a request; run in separate processes, because decoders can crash."""

import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import read_audio
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe
from foleygram.pipeline.request import (
    REFERENCE_RATE,
    Segment,
    SoundRequest,
    VideoInput,
    envelope_of_video,
    read_video,
    total_latents,
)
from foleygram.production.job import JobOptions
from foleygram.spec import ClipSpec

MAX_SECONDS = 3600.0
"""Longest video: the predictor's frames of an hour take 4 GB at full size."""


class VideoLength(NamedTuple):
    """Length of a video in seconds, latents and windows."""

    seconds: float
    latents: int
    windows: int


def read_length(video: Path, options: JobOptions, spec: ClipSpec) -> VideoLength:
    """Length of a video, from its packets; raises MediaError if it cannot be read, or a segment is outside of it."""
    seconds = probe(video).duration_sec
    if not 0 < seconds <= MAX_SECONDS:
        raise MediaError(
            f"{video}: {seconds:.0f} s long by its time stamps, more than {MAX_SECONDS:.0f} s; split it, "
            f"e.g. with ffmpeg -i {video.name} -c copy -f segment -segment_time 1800 part%02d{video.suffix}"
        )
    segments = tuple(Segment(segment.start, segment.end) for segment in options.segments)
    no_frames = torch.empty(0)
    try:
        request = SoundRequest(VideoInput(seconds, no_frames, no_frames, no_frames), segments=segments)
        return VideoLength(seconds, total_latents(seconds, spec), len(request.windows(spec)))
    except ValueError as error:
        raise MediaError(f"{video}: {error}") from None


def read_request(video: Path, options: JobOptions, spec: ClipSpec, envelope: str | Envelope) -> SoundRequest:
    """The model's inputs for a video; raises MediaError naming the file that cannot be read.

    `envelope` is "predicted", "audio" for the video's own sound, or an envelope.
    """

    def reference(path: Path | None) -> Tensor | None:
        return None if path is None else read_audio(path, sample_rate=REFERENCE_RATE, allow_silence=False)[0]

    return SoundRequest(
        video=read_video(video, spec),
        seed=clip_seed(options.seed, video.name),
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        reference_audio=reference(options.reference),
        envelope=envelope_of_video(video, spec) if envelope == "audio" else envelope,
        weights=options.weights,
        segments=tuple(Segment(s.start, s.end, s.prompt, reference(s.reference)) for s in options.segments),
    )


def clip_seed(seed: int, name: str) -> int:
    """A file's seed, from the run's seed and the file's name only, whatever else is in the batch."""
    return zlib.crc32(f"{seed}/{name}".encode())  # 32 bits: torch's CPU generator reads no more of a seed
