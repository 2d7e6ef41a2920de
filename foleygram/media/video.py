"""Probing videos, and decoding their frames by time stamp."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import decord
import numpy as np
import torch
from av.container import InputContainer
from av.stream import Disposition
from torch import Tensor
from torch.nn.functional import interpolate

from foleygram.media.isolate import MediaError

MAX_PIXELS = 8192 * 8192
MAX_FRAME_RATE = 1000.0
MAX_GAP_SEC = 120.0
"""Longest that one frame stays on screen; a longer gap is a broken time stamp."""
MOST_STRETCHED = 4
"""Largest pixel aspect ratio; a larger one is an error in the file (anamorphic lenses stretch by 2)."""
TIE_SEC = 1e-5
"""Rounding of time stamps: a frame stamped this little after a moment counts as shown at it."""
SEEK_MARGIN_SEC = 0.5
THREADED_PIXELS = 1280 * 720
"""Frames of at least so many pixels are decoded by several threads; for smaller ones that costs more than it gains."""
UNSTAMPED = frozenset({"avi", "h264", "hevc", "mpegvideo", "m4v"})
"""Formats without time stamps of display: the demuxer guesses them, wrongly where frames are reordered."""
INDEXED = frozenset({".mp4", ".m4v", ".mov"})
"""Containers whose frame index decord gets right; in a transport stream its frames are off by several."""

Shrink = Callable[[Any, Fraction], Tensor]
"""From a decoded frame and the shape of its pixels to a small upright image."""


@dataclass(frozen=True)
class MediaInfo:
    """Streams of a file; times in seconds, rates in Hz, zero for an absent stream."""

    path: Path
    duration_sec: float
    frame_rate: float
    width: int
    height: int
    video_codec: str
    num_audio_channels: int
    audio_rate: int
    start_timecode: str | None = None
    """Label of the first frame, HH:MM:SS:FF or HH:MM:SS;FF, where the file has one."""

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


def open_media(path: str | Path) -> InputContainer:
    """Open a local media file for reading; raises MediaError when it is missing, empty or no media file."""
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty; copy or export it again")
    try:  # an absolute path is never taken for a URL, and a playlist may not reach for the network
        return av.open(str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(f"{path}: not a readable media file ({error.strerror}); re-encode it as MP4") from error


def video_stream(path: str | Path, container: InputContainer) -> Any:
    """The video stream (not cover art); raises MediaError without one, for an unknown codec or size."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise MediaError(f"{path}: there is no video stream in it; give a video")
    if streams[0].codec_context is None:
        raise MediaError(f"{path}: its video has an unknown codec; re-encode it as H.264")
    width, height = streams[0].codec_context.width, streams[0].codec_context.height
    if not 0 < width * height <= MAX_PIXELS:
        raise MediaError(f"{path}: frames of {width} x {height} pixels; re-encode it at a usual size")
    return streams[0]


def pixel_shape(stream: Any) -> Fraction:
    """Width of a displayed pixel of a video stream by its height; 1 where the file gives none that can be meant."""
    shape = stream.sample_aspect_ratio or Fraction(1)
    return shape if Fraction(1, MOST_STRETCHED) <= shape <= MOST_STRETCHED else Fraction(1)


def sound_stream(container: InputContainer) -> Any:
    """The first sound track with a known codec; None without one."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def start_sec(stream: Any) -> float:
    """Start of a stream on its file's clock, in seconds; times in this package count from the video stream's."""
    return float((stream.start_time or 0) * stream.time_base)


def decodable(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Decoded frames of a stream; damaged packets are skipped, as players do.

    Formats without time stamps of display count frames as they are decoded: frames take those times in order.
    """
    unstamped = container.format.name in UNSTAMPED and stream.type == "video"
    waiting: list[int] = []
    for packet in container.demux(stream):
        if unstamped and packet.dts is not None:
            heappush(waiting, packet.dts)
        try:
            for frame in packet.decode():
                if waiting:
                    frame.pts = heappop(waiting)
                yield frame
        except av.error.InvalidDataError:
            continue


def probe(path: str | Path) -> MediaInfo:
    """Read a file's streams without decoding; raises MediaError when it is no readable video."""
    with open_media(path) as container:
        video = video_stream(path, container)
        audio = sound_stream(container)
        rate = float(video.average_rate or video.guessed_rate or 0)
        try:
            duration, count = _video_extent(path, container, video)
        except av.FFmpegError as error:
            raise MediaError(f"{path}: damaged ({error.strerror}); re-encode it as MP4") from error
        counted = count / duration if duration > 0 else math.inf if count > 1 else 0.0
        if counted > MAX_FRAME_RATE:
            raise MediaError(f"{path}: {count} frames in {duration:g} s; re-encode it at 60 per second or fewer")
        if rate > MAX_FRAME_RATE:  # a variable rate's clock, taken for its rate
            rate = counted
        return MediaInfo(
            path=Path(path),
            duration_sec=duration,
            frame_rate=rate,
            width=video.codec_context.width,
            height=video.codec_context.height,
            video_codec=video.codec.canonical_name,
            num_audio_channels=audio.codec_context.channels if audio else 0,
            audio_rate=audio.codec_context.sample_rate if audio else 0,
            start_timecode=start_timecode(container, video),
        )


def start_timecode(container: InputContainer, video: Any) -> str | None:
    """Label of the first frame, from the video's stream, the container or a time code track; None without one."""
    others = [stream.metadata for stream in container.streams]
    for metadata in (video.metadata, container.metadata, *others):
        label = {key.lower(): value for key, value in metadata.items()}.get("timecode", "").strip()
        if re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d[:;.]\d\d", label):
            return label
    return None


def _video_extent(path: str | Path, container: InputContainer, video: Any) -> tuple[float, int]:
    """Seconds and frames of the video from its packets: headers are wrong in truncated and variable-rate files."""
    kind = "dts" if container.format.name in UNSTAMPED else "pts"
    packets = [packet for packet in container.demux(video) if packet.size and not packet.is_discard]
    times = [(getattr(packet, kind), packet.duration or 0) for packet in packets]
    stamps = sorted((stamp, duration) for stamp, duration in times if stamp is not None)
    if times and not stamps:
        raise MediaError(f"{path}: its frames have no time stamps; put it into MP4: ffmpeg -r 25 -i IN -c copy OUT.mp4")
    if not stamps:
        raise MediaError(f"{path}: the video has no frames; the file is damaged or cut short")
    gap = max((float((b - a) * video.time_base) for (a, _), (b, _) in pairwise(stamps)), default=0.0)
    if gap > MAX_GAP_SEC:
        raise MediaError(f"{path}: its time stamps jump by {gap:.0f} s from one frame to the next; re-encode it")
    last, duration = stamps[-1]
    if not duration and len(stamps) > 1:  # a last frame without a length stays as long as the one before it
        duration = last - stamps[-2][0]
    return float((last + duration) * video.time_base) - start_sec(video), len(stamps)


def segment_middles(start: float, seconds: float, num_frames: int) -> np.ndarray:
    """Middles (num_frames,) of equal segments of a clip, in seconds (GRAM's test-time frames)."""
    return start + (np.arange(num_frames) + 0.5) * (seconds / num_frames)


def segment_draws(start: float, seconds: float, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A random time in each of equal segments of a clip (num_frames,), in seconds (GRAM's training frames)."""
    return start + (np.arange(num_frames) + rng.random(num_frames)) * (seconds / num_frames)


def motion_times(start: float, seconds: float, rate: float) -> np.ndarray:
    """The envelope predictor's time grid (N,) over a clip: (i + 0.5) / rate after `start`, in seconds."""
    return start + (np.arange(round(seconds * rate)) + 0.5) / rate


def read_frames(
    path: str | Path, times_sec: np.ndarray, *, size: int, squash: bool = True, fast: bool = False
) -> Frames:
    """Frames on screen at ascending `times_sec`, squashed to `size` x `size` (bicubic, antialiased), turned upright.

    With `squash=False` they keep the proportions in which a player shows them, the shorter side `size` (bilinear,
    antialiased). The frame shown at t is the last one stamped at or before t, counted from the first frame; before it,
    the first, and past the end, the last. `fast` reads squashed ones with decord, for files known to be valid: damage
    can crash the process. Raises MediaError when the video cannot be decoded, ValueError for times that descend.
    """
    times = np.asarray(times_sec, float)
    if not np.isfinite(times).all() or np.any(np.diff(times) < 0):
        raise ValueError("times must be finite and ascend")
    if len(times) == 0:
        return Frames(torch.empty(0, 3, size, size, dtype=torch.uint8), torch.empty(0))
    if fast and squash and Path(path).suffix.lower() in INDEXED:
        try:
            return _read_indexed(Path(path), times, size)
        except (decord.DECORDError, _Unindexed):
            pass  # what decord cannot open or index, PyAV may
    shrink = partial(_squashed if squash else _scaled, size=size)
    shown = _decode(path, times, shrink, seek=True) if times[0] > SEEK_MARGIN_SEC else None
    shown = shown or _decode(path, times, shrink, seek=False)
    if not shown:
        raise MediaError(f"{path}: no frame could be decoded; the file is damaged or cut short")
    while len(shown.stamps) < len(times):  # asked past the end: the last frame stays on screen
        shown.add(shown.frames[len(shown.stamps) - 1], shown.stamps[-1])
    ages = np.maximum(times - np.array(shown.stamps), 0.0)
    return Frames(shown.frames, torch.from_numpy(ages).float())


def read_squares(
    path: str | Path, times_sec: np.ndarray, *, size: int, transform: str = "squash", fast: bool = False
) -> Tensor:
    """Square frames uint8 (N, 3, size, size) for the video encoder; `transform` as in `ClipSpec.frame_transform`."""
    if transform == "squash":
        return read_frames(path, times_sec, size=size, fast=fast).frames
    frames = read_frames(path, times_sec, size=size, squash=False).frames
    top, left = (round((side - size) / 2) for side in frames.shape[-2:])
    return frames[..., top : top + size, left : left + size]


class _Shown:
    """Small frames and their stamps, one per time, in one piece of memory: an hour of film holds no frame twice."""

    def __init__(self, count: int) -> None:
        self.count, self.stamps = count, list[float]()
        self.frames = torch.empty(0)

    def add(self, frame: Tensor, stamp: float) -> None:
        """The frame on screen at the next time."""
        if not self.stamps:
            self.frames = torch.empty(self.count, *frame.shape, dtype=frame.dtype)
        self.frames[len(self.stamps)] = frame
        self.stamps.append(stamp)


class _Unindexed(Exception):
    """decord's frame index cannot be trusted for this file."""


def _read_indexed(path: Path, times: np.ndarray, size: int) -> Frames:
    """Frames by index, the indices found from time stamps; only frames that are asked for are kept."""
    if not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    reader = decord.VideoReader(str(path.absolute()), width=size, height=size, num_threads=1)
    stamps = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(float)
    if stamps[0] < 0 or np.any(np.diff(stamps) <= 0):  # an edit list hides frames, or stamps are missing
        raise _Unindexed(path)
    stamps -= stamps[0]
    indices = np.maximum(np.searchsorted(stamps, times + TIE_SEC, side="right") - 1, 0)
    frames = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2).contiguous()
    return Frames(frames, torch.from_numpy(np.maximum(times - stamps[indices], 0.0)).float())


def _decode(path: str | Path, times: np.ndarray, shrink: Shrink, *, seek: bool) -> _Shown | None:
    """The small frame for each time and its stamp; None without any, when a seek lands behind the first or fails."""
    shown = _Shown(len(times))
    with open_media(path) as container:
        stream = video_stream(path, container)
        pixels = stream.codec_context.width * stream.codec_context.height
        stream.thread_type = "AUTO" if pixels >= THREADED_PIXELS else "NONE"
        try:
            if seek:  # the margin: in some formats a seek looks at decoding times, which run ahead
                target = start_sec(stream) + float(times[0]) - SEEK_MARGIN_SEC
                container.seek(int(target / stream.time_base), stream=stream)
            _collect(container, stream, times, shrink, shown)
        except av.FFmpegError as error:
            if not (shown.stamps or seek):
                raise MediaError(f"{path}: cannot be decoded ({error.strerror}); re-encode it as MP4") from error
    overshot = bool(shown.stamps) and shown.stamps[0] > times[0] + TIE_SEC
    return None if not shown.stamps or (seek and overshot) else shown


def _collect(container: InputContainer, stream: Any, times: np.ndarray, shrink: Shrink, shown: _Shown) -> None:
    """Walk the frames in display order and keep, for each time, the one on screen, in its small form."""
    origin, shape = start_sec(stream), pixel_shape(stream)
    current: tuple[Any, float] | None = None
    small: Tensor | None = None
    for frame in decodable(container, stream):
        if frame.pts is None:
            continue
        stamp = float(frame.pts * stream.time_base) - origin
        while len(shown.stamps) < len(times) and times[len(shown.stamps)] < stamp - TIE_SEC:
            held, since = current or (frame, stamp)
            small = shrink(held, shape) if small is None else small
            shown.add(small, since)
        if len(shown.stamps) == len(times):
            return
        current, small = (frame, stamp), None
    if current is not None:
        shown.add(shrink(current[0], shape), current[1])


def _squashed(frame: Any, _shape: Fraction, size: int) -> Tensor:
    small = frame.reformat(width=size, height=size, format="rgb24", interpolation="BICUBIC", threads=1)
    return _upright(small, frame.rotation)


def _scaled(frame: Any, shape: Fraction, size: int) -> Tensor:
    whole = _upright(frame.reformat(format="rgb24", threads=1), frame.rotation)
    height, width = whole.shape[1:]
    one, turned = Fraction(1), round(frame.rotation / 90) % 2
    shown = (height * shape, width * one) if turned else (height * one, width * shape)
    sides = [int(size * side / min(shown)) for side in shown]  # of fractions: no rounding takes a pixel
    if sides == [height, width]:
        return whole
    resized = interpolate(whole[None].float(), sides, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].round().to(torch.uint8)


def _upright(frame: Any, degrees: float) -> Tensor:
    upright = np.rot90(frame.to_ndarray(), round(degrees / 90)) if degrees else frame.to_ndarray()
    return torch.from_numpy(np.ascontiguousarray(upright)).permute(2, 0, 1)
