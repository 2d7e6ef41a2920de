"""Reads films and sounds in a separate process, which may crash or hang on damaged files."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from foleygram.app.limits import Limits
from foleygram.media.audio import read_audio, sound_rate, write_audio
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.media.video import (
    MediaInfo,
    decodable,
    open_media,
    pixel_shape,
    probe,
    read_frames,
    segment_middles,
    video_stream,
)
from foleygram.pipeline.request import VideoInput, read_video
from foleygram.spec import ClipSpec

STRIP_HEIGHT = 96
"""Height of a film strip's frames, in pixels."""
MAX_STRIP_FRAMES = 40


class FilmContent(NamedTuple):
    """Facts about a film, the model's input, and the size at which it is displayed, in pixels."""

    info: MediaInfo
    seen: VideoInput
    width: int
    height: int


def read_content(video: Path, spec: ClipSpec, limits: Limits) -> FilmContent:
    """Read a film; raises MediaError if it cannot be read or is too long."""
    return run_isolated(_read_content, video, spec, limits, timeout_sec=time_limit(limits.seconds))


def read_strip(video: Path, size: tuple[int, int], start: float, end: float, count: int) -> bytes:
    """A JPEG of `count` frames side by side, from the middles of equal parts of `start` to `end` (seconds).

    `size` is the film's displayed width and height. Raises MediaError if no frame can be decoded.
    """
    return run_isolated(_read_strip, video, size, start, end, count, timeout_sec=time_limit(end))


def extract_sound(video: Path, out: Path, limits: Limits) -> None:
    """Write the film's own sound as a WAV file from the film's first frame on; raises MediaError if there is none."""
    run_isolated(_extract_sound, video, out, limits.seconds, timeout_sec=time_limit(limits.seconds))


def read_mono(path: Path, sample_rate: int, limits: Limits) -> Tensor:
    """An uploaded sound, mono (samples,), cut at the limit; raises MediaError if it is unreadable or silent."""
    return run_isolated(_read_mono, path, sample_rate, limits.seconds, timeout_sec=time_limit(limits.seconds))


def warm_up() -> None:
    """Start the process that reads, so that the first film does not wait for it."""
    run_isolated(_ready, "the server")


def _ready(name: str) -> str:
    return name


def _read_content(video: Path, spec: ClipSpec, limits: Limits) -> FilmContent:
    info = probe(video)
    if info.duration_sec > limits.seconds:
        raise MediaError(
            f"{video}: {info.duration_sec:.1f} s long, the limit is {limits.seconds:g} s; cut it, or start the server "
            "with a larger --max-seconds"
        )
    width, height = _displayed_size(video) or (info.width, info.height)
    return FilmContent(info, read_video(video, spec), width, height)


def _displayed_size(video: Path) -> tuple[int, int] | None:
    """Width and height at which the first frame is displayed, turned upright and with square pixels; None without."""
    with open_media(video) as container:
        stream = video_stream(video, container)
        frame = next(decodable(container, stream), None)
        if frame is None:
            return None
        width = max(1, round(frame.width * pixel_shape(stream)))
        return (frame.height, width) if round(frame.rotation / 90) % 2 else (width, frame.height)


def _read_strip(video: Path, size: tuple[int, int], start: float, end: float, count: int) -> bytes:
    width = max(1, min(8 * STRIP_HEIGHT, round(STRIP_HEIGHT * size[0] / size[1])))
    side = max(width, STRIP_HEIGHT)
    frames = read_frames(video, segment_middles(start, end - start, count), size=side).frames
    strip = Image.new("RGB", (width * count, STRIP_HEIGHT))
    for number, frame in enumerate(frames):
        image = Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()))
        strip.paste(image.resize((width, STRIP_HEIGHT), Image.Resampling.LANCZOS), (number * width, 0))
    encoded = io.BytesIO()
    strip.save(encoded, "JPEG", quality=82)
    return encoded.getvalue()


def _extract_sound(video: Path, out: Path, seconds: float) -> None:
    info = probe(video)
    if not info.has_audio:
        raise MediaError(f"{video}: has no sound track")
    rate, channels = sound_rate(video), min(2, info.num_audio_channels)
    audio = read_audio(video, sample_rate=rate, channels=channels, seconds=min(seconds, info.duration_sec))
    write_audio(out, audio, rate)


def _read_mono(path: Path, sample_rate: int, seconds: float) -> Tensor:
    return read_audio(path, sample_rate=sample_rate, seconds=seconds, allow_silence=False)[0]
