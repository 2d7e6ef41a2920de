"""Videos encoded by a codec at a quality and a frame rate."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CODECS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg", "mpeg4": "mpeg4"}


@dataclass(frozen=True)
class Encoding:
    """An encoding of a video: codec, quality (0 worst to 1 best), and rate."""

    codec: str = "h264"
    quality: float = 0.7
    rate: Fraction | None = None
    """Frames a second that it is converted to by repeating and leaving out frames; None: its own."""
    seed: int = 0
    """Chooses among an encoder's presets."""


def at_rate(frames: np.ndarray, times: np.ndarray, rate: Fraction | None) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n, height, width, 3) at `times` (s), repeated or left out to `rate` a second: frames and their times.

    What happens at a time still happens at that time, to within a frame; None changes nothing.
    """
    if rate is None:
        return frames, times
    spacing = 1 / float(rate)
    end = times[-1] + float(np.diff(times).mean() if len(times) > 1 else spacing)
    grid = np.arange(0, max(1, int(np.floor((end - times[0]) / spacing + 1e-6)))) * spacing + times[0]
    # The frame nearest to a grid time, as ffmpeg rounds: the one before would be late by half a step.
    return frames[(np.searchsorted(times, grid + spacing / 2, side="right") - 1).clip(0)], grid


def encode(
    path: Path,
    frames: np.ndarray,
    times: np.ndarray,
    encoding: Encoding,
    audio: np.ndarray | None = None,
    sample_rate: int = 44_100,
) -> None:
    """Write frames (n, height, width, 3) uint8 shown at `times` (s), and mono `audio` (samples,), as an MP4 file."""
    frames, times = at_rate(frames, times, encoding.rate)
    base = Fraction(1, 90_000)
    rate = Fraction(max(1, round(1001 / float(np.diff(times).mean()))), 1001) if len(times) > 1 else Fraction(15)
    with av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream(CODECS[encoding.codec], rate=rate)
        video.height, video.width = (side // 2 * 2 for side in frames.shape[1:3])
        video.pix_fmt = "yuvj420p" if encoding.codec == "mjpeg" else "yuv420p"
        video.options = _options(encoding)
        video.time_base = video.codec_context.time_base = base
        if encoding.codec in ("mjpeg", "mpeg4"):  # MPEG-4 has 16 bits for its clock
            video.time_base = video.codec_context.time_base = Fraction(1, 30_000)
        if audio is not None:
            sound: Any = container.add_stream("aac", rate=sample_rate, layout="mono", options={"aac_coder": "fast"})
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[: video.height, : video.width]), format="rgb24"
            )
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            block = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = sample_rate, 0, Fraction(1, sample_rate)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))


def _options(encoding: Encoding) -> dict[str, str]:
    coarse = 1 - encoding.quality
    if encoding.codec == "h264":
        return {
            "preset": "ultrafast" if encoding.seed % 3 else "veryfast",
            "crf": str(round(14 + 30 * coarse)),
            "threads": "1",
        }
    if encoding.codec == "hevc":
        return {
            "preset": "ultrafast", "crf": str(round(16 + 28 * coarse)), "threads": "1",
            "x265-params": "log-level=none:pools=1:frame-threads=1",
        }  # fmt: skip
    quantiser = str(round(2 + 26 * coarse))
    return {"qmin": quantiser, "qmax": quantiser, "threads": "1"}
