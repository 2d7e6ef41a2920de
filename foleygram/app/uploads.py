"""Reads uploaded files in a separate process, which may crash or hang."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from foleygram.app.drawing import num_strip_frames
from foleygram.app.limits import Limits
from foleygram.media.audio import read_audio
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.media.video import MediaInfo, decodable, open_media, picture_stream, probe, read_frames, segment_middles
from foleygram.pipeline.request import VideoInput, read_video
from foleygram.spec import ClipSpec

FRAME_SIZE = 160


class VideoContent(NamedTuple):
    """Facts about a video, the model's input, and its film strip as data URLs."""

    info: MediaInfo
    seen: VideoInput
    frames: tuple[str, ...]


def read_content(video: Path, spec: ClipSpec, limits: Limits) -> VideoContent:
    """Read an uploaded video; raises MediaError if it cannot be read or is too long."""
    return run_isolated(_read_content, video, spec, limits, timeout_sec=time_limit(limits.seconds))


def read_mono(path: Path, sample_rate: int, limits: Limits) -> Tensor:
    """An uploaded sound, mono (samples,), cut at the limit; raises MediaError if it is unreadable or silent."""
    return run_isolated(_read_mono, path, sample_rate, limits.seconds, timeout_sec=time_limit(limits.seconds))


def warm_up() -> None:
    """Start the process that reads, so that the first upload does not wait for it."""
    run_isolated(_ready, "the page")


def _ready(name: str) -> str:
    return name


def _read_content(video: Path, spec: ClipSpec, limits: Limits) -> VideoContent:
    info = probe(video)
    if info.duration_sec > limits.seconds:
        raise MediaError(
            f"{video}: {info.duration_sec:.1f} s long, the limit is {limits.seconds:g} s; cut it, or start the page "
            "with a larger --max-seconds"
        )
    size = (info.height, info.width) if _is_rotated(video) else (info.width, info.height)
    times = segment_middles(0.0, info.duration_sec, num_strip_frames(*size))
    strip = read_frames(video, times, size=FRAME_SIZE).frames
    return VideoContent(info, read_video(video, spec), tuple(_data_url(frame) for frame in strip))


def _is_rotated(video: Path) -> bool:
    """Whether the video is displayed rotated by 90 or 270 degrees."""
    with open_media(video) as container:
        frame = next(decodable(container, picture_stream(video, container)), None)
        return frame is not None and round(frame.rotation / 90) % 2 == 1


def _data_url(frame: Tensor) -> str:
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy())).save(encoded, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _read_mono(path: Path, sample_rate: int, seconds: float) -> Tensor:
    return read_audio(path, sample_rate=sample_rate, seconds=seconds, allow_silence=False)[0]
