"""One file and what is asked of it, read into a request; both functions run in processes that may crash or hang."""

import zlib
from collections.abc import Sequence
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
from foleygram.production.job import Wish
from foleygram.spec import ClipSpec

MAX_SECONDS = 3600.0
"""A longer video is not done in one piece: at full size an hour of frames for the predictor is 4 GB."""


class Length(NamedTuple):
    """How long a video is, and how much of a batch it takes up."""

    seconds: float
    latents: int
    windows: int


def read_length(video: Path, wish: Wish, spec: ClipSpec) -> Length:
    """Length of a video from its packets alone; raises MediaError when it cannot be read, or a segment leaves it."""
    seconds = probe(video).duration_sec
    if not 0 < seconds <= MAX_SECONDS:
        raise MediaError(
            f"{video}: {seconds:.0f} s long by its time stamps, at most {MAX_SECONDS:.0f} s are done at once; "
            f"split it, as with ffmpeg -i {video.name} -c copy -f segment -segment_time 1800 part%02d{video.suffix}"
        )
    nothing = torch.empty(0)
    segments = tuple(Segment(s.start, s.end) for s in wish.segments)
    try:
        request = SoundRequest(VideoInput(seconds, nothing, nothing, nothing), segments=segments)
        return Length(seconds, total_latents(seconds, spec), len(request.windows(spec)))
    except ValueError as error:
        raise MediaError(f"{video}: {error}") from None


def read_request(video: Path, wish: Wish, spec: ClipSpec, envelope: str | Envelope) -> SoundRequest:
    """Everything the networks need of a video and of the sounds that a wish names; raises MediaError naming the file.

    `envelope` is "predicted", "audio" for the video's own sound's, or one that was read already.
    """
    return SoundRequest(
        seen=read_video(video, spec),
        seed=clip_seed(wish.seed, video.name),
        prompt=wish.prompt,
        negative_prompt=wish.negative_prompt,
        reference_audio=_reference(wish.reference),
        envelope=envelope_of_video(video, spec) if envelope == "audio" else envelope,
        weights=wish.weights,
        segments=tuple(Segment(s.start, s.end, s.prompt, _reference(s.reference)) for s in wish.segments),
    )


def _reference(path: Path | None) -> Tensor | None:
    return None if path is None else read_audio(path, sample_rate=REFERENCE_RATE, allow_silence=False)[0]


def output_names(videos: Sequence[Path]) -> list[str]:
    """Names of the results, each once; two inputs that differ in their suffix alone keep it."""
    stems = [video.stem for video in videos]
    names: list[str] = []
    for video in videos:
        name = video.stem if stems.count(video.stem) == 1 else video.name.replace(".", "_")
        while name in names:
            name += "_"
        names.append(name)
    return names


def clip_seed(seed: int, name: str) -> int:
    """A file's own seed: it depends on the run's seed and the file's name, not on its neighbours."""
    # A CRC of both, because torch's CPU generator reads no more than 32 bits of a seed.
    return zlib.crc32(f"{seed}/{name}".encode())
