"""Probing and decoding pictures by time stamp, in a way that damaged files cannot bring down."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

MAX_PIXELS = 8192 * 8192
MAX_FRAME_RATE = 1000.0


class MediaError(ValueError):
    """A media file that cannot be used; the message names the file and the way out."""


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds; times in seconds, rates in Hz, zero where there is no such stream."""

    path: Path
    duration_sec: float
    frame_rate: float
    width: int
    height: int
    video_codec: str
    num_audio_channels: int
    audio_rate: int

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound track."""
        return self.num_audio_channels > 0


class Frames(NamedTuple):
    """Frames on screen at asked times, and how long each had been there."""

    frames: Tensor
    """uint8 (N, 3, size, size)."""
    ages: Tensor
    """float32 (N,), seconds since the frame's own time stamp."""


def probe(path: Path) -> MediaInfo:
    """Read a file's streams without decoding; raises MediaError when it is no readable video."""
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty; copy or export it again")
    try:
        with av.open(str(path)) as container:
            return _describe(path, container)
    except av.FFmpegError as error:
        raise MediaError(f"{path}: not a readable media file ({error.strerror}); re-encode it as MP4") from error


def _describe(path: Path, container: Any) -> MediaInfo:
    if not container.streams.video:
        raise MediaError(f"{path}: there is no picture in it; give a video")
    video = container.streams.video[0]
    audio = container.streams.audio[0] if container.streams.audio else None
    rate = float(video.average_rate or video.guessed_rate or 0)
    width, height = video.codec_context.width, video.codec_context.height
    if not (0 < width * height <= MAX_PIXELS):
        raise MediaError(f"{path}: a picture of {width} x {height} pixels; re-encode it at a usual size")
    if rate > MAX_FRAME_RATE:
        raise MediaError(f"{path}: {rate:g} frames per second; re-encode it at 60 or fewer")
    return MediaInfo(
        path=path,
        duration_sec=_picture_seconds(path, container, video),
        frame_rate=rate,
        width=width,
        height=height,
        video_codec=video.codec_context.name,
        num_audio_channels=audio.codec_context.channels if audio else 0,
        audio_rate=audio.codec_context.sample_rate if audio else 0,
    )


def _picture_seconds(path: Path, container: Any, video: Any) -> float:
    """Length of the picture from its packets: headers lie in truncated and variable-rate files."""
    first, last, final = None, None, 0.0
    for packet in container.demux(video):
        if packet.pts is None:
            continue
        begin = float(packet.pts * packet.time_base)
        first = begin if first is None else min(first, begin)
        if last is None or begin >= last:
            last, final = begin, float((packet.duration or 0) * packet.time_base)
    if first is None or last is None:
        raise MediaError(f"{path}: the picture has no frames; the file is damaged or cut short")
    return last + final - first


def segment_middles(start: float, seconds: float, num_frames: int) -> np.ndarray:
    """Middles of `num_frames` equal segments of a clip, in seconds (GRAM's test-time frames)."""
    return start + (np.arange(num_frames) + 0.5) * (seconds / num_frames)


def motion_times(start: float, seconds: float, rate: float) -> np.ndarray:
    """The envelope predictor's time grid over a clip: (i + 0.5) / rate after `start`, in seconds."""
    return start + (np.arange(round(seconds * rate)) + 0.5) / rate


def read_frames(path: Path, times_sec: np.ndarray, *, size: int) -> Frames:
    """Frames on screen at ascending `times_sec`, squashed to `size` x `size`; decoded by time stamp.

    The frame shown at t is the last one stamped at or before t, counted from the first frame; before it, the first.
    Raises MediaError when the picture cannot be decoded.
    """
    times = np.asarray(times_sec, float)
    if np.any(np.diff(times) < 0):
        raise ValueError("times must ascend")
    chosen: list[tuple[Tensor, float]] = []
    try:
        with av.open(str(path)) as container:
            _collect(container, times, size, chosen)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: the picture cannot be decoded ({error}); re-encode it as MP4") from error
    if not chosen:
        raise MediaError(f"{path}: no frame could be decoded; the file is damaged or cut short")
    while len(chosen) < len(times):  # asked past the end: the last frame stays on screen
        chosen.append(chosen[-1])
    ages = np.maximum(times - np.array([stamp for _, stamp in chosen]), 0.0)
    return Frames(torch.stack([frame for frame, _ in chosen]), torch.from_numpy(ages).float())


def _collect(container: Any, times: np.ndarray, size: int, chosen: list[tuple[Tensor, float]]) -> None:
    """Walk the frames in display order and keep, for each time, the one on screen; small pictures only are kept."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    origin = _first_stamp(container, stream)
    _seek(container, stream, origin + float(times[0]) if len(times) else origin)
    current: tuple[Any, float] | None = None
    small: Tensor | None = None
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        stamp = float(frame.pts * stream.time_base) - origin
        while len(chosen) < len(times) and times[len(chosen)] < stamp - 1e-6:
            if small is None:
                small = _shrink((current or (frame, stamp))[0], size)
            chosen.append((small, current[1] if current else stamp))
        if len(chosen) == len(times):
            return
        current, small = (frame, stamp), None
    if current is not None and len(chosen) < len(times):
        chosen.append((_shrink(current[0], size), current[1]))


def _first_stamp(container: Any, stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _seek(container: Any, stream: Any, seconds: float) -> None:
    if seconds > 1.0:
        container.seek(int(max(0.0, seconds - 0.5) / stream.time_base), stream=stream)


def _shrink(frame: Any, size: int) -> Tensor:
    small = frame.reformat(width=size, height=size, format="rgb24", interpolation="AREA")
    return torch.from_numpy(small.to_ndarray()).permute(2, 0, 1).contiguous()


def guarded(function: Callable[..., Any], *arguments: Any, timeout_sec: float = 120.0) -> Any:
    """Run `function` in a process of its own: a decoder that crashes or hangs on damage becomes a MediaError.

    The first argument names the file in the message. Errors that the function raises are raised here.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout_sec):
            raise MediaError(f"{arguments[0]}: decoding took more than {timeout_sec:g} s; the file seems damaged")
        outcome = receiver.recv()
    except EOFError:
        raise MediaError(f"{arguments[0]}: the decoder crashed on it; the file seems damaged") from None
    finally:
        process.kill()
        process.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _report(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        outcome: Any = function(*arguments)
    except Exception as error:
        outcome = error if isinstance(error, ValueError) else MediaError(f"{arguments[0]}: {error}")
    sender.send(outcome)
