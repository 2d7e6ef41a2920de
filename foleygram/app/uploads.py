"""Reading what visitors bring; in a process of its own, which imports little and may crash or hang."""

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


class Picture(NamedTuple):
    """A video as the page needs it: what the file holds, what the model sees, its film strip as data URLs."""

    info: MediaInfo
    seen: VideoInput
    frames: tuple[str, ...]


def read_picture(video: Path, spec: ClipSpec, limits: Limits) -> Picture:
    """Read a visitor's video; raises MediaError when it cannot be read or lasts too long."""
    return run_isolated(_read_picture, video, spec, limits, timeout_sec=time_limit(limits.seconds))


def read_mono(path: Path, sample_rate: int, limits: Limits) -> Tensor:
    """A visitor's sound, mono (samples,), as far as the limit; raises MediaError for an unreadable or silent one."""
    return run_isolated(_read_mono, path, sample_rate, limits.seconds, timeout_sec=time_limit(limits.seconds))


def warm_up() -> None:
    """Start the process that reads, so that the first visitor does not wait for it."""
    run_isolated(_ready, "the page")


def _ready(name: str) -> str:
    return name


def _read_picture(video: Path, spec: ClipSpec, limits: Limits) -> Picture:
    info = probe(video)
    if info.duration_sec > limits.seconds:
        raise MediaError(
            f"{video}: lasts {info.duration_sec:.1f} s; this page takes {limits.seconds:g} s at most, so cut it, or "
            "start the page with a larger --max-seconds"
        )
    size = (info.height, info.width) if _lies_on_its_side(video) else (info.width, info.height)
    times = segment_middles(0.0, info.duration_sec, num_strip_frames(*size))
    strip = read_frames(video, times, size=FRAME_SIZE).frames
    return Picture(info, read_video(video, spec), tuple(_data_url(frame) for frame in strip))


def _lies_on_its_side(video: Path) -> bool:
    """Whether players turn the picture by a quarter, as phones ask for."""
    with open_media(video) as container:
        frame = next(decodable(container, picture_stream(video, container)), None)
        return frame is not None and round(frame.rotation / 90) % 2 == 1


def _data_url(frame: Tensor) -> str:
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy())).save(encoded, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _read_mono(path: Path, sample_rate: int, seconds: float) -> Tensor:
    return read_audio(path, sample_rate=sample_rate, seconds=seconds, allow_silence=False)[0]
