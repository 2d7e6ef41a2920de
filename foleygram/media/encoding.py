"""Videos encoded with what codecs, phones and editors do to them: rates, repeats, bars, captions, damage."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CODECS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg", "mpeg4": "mpeg4"}
RATES = (
    Fraction(12), Fraction(15), Fraction(20), Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001),
    Fraction(30), Fraction(50), Fraction(60),
)  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """An encoding of a video: codec, quality (0 worst to 1 best), rate, and changes to its frames."""

    codec: str = "h264"
    quality: float = 0.7
    rate: Fraction | None = None
    """Frames a second that it is converted to by repeating and leaving out frames; None: its own."""
    dropped: float = 0.0
    """Share of frames that are lost; the one before stays on screen."""
    jitter: float = 0.0
    """Deviation of a frame's time as a share of the spacing: a variable rate."""
    bars: float = 0.0
    """Black bars above and below, together as a share of the height; above 1 a wide video becomes a portrait one."""
    captions: bool = False
    """Text and a logo laid over the frames."""
    seed: int = 0


def draw_encoding(rng: np.random.Generator) -> Encoding:
    """A likely encoding: every third video is clean, the others have one kind of damage or several."""
    if rng.random() < 0.35:
        return Encoding(quality=float(rng.uniform(0.55, 0.9)), seed=int(rng.integers(2**31)))
    return Encoding(
        codec=str(rng.choice(list(CODECS), p=[0.65, 0.13, 0.1, 0.12])),
        quality=float(rng.uniform(0.2, 0.95)),
        rate=RATES[rng.integers(len(RATES))] if rng.random() < 0.5 else None,
        dropped=float(rng.choice([0.0, rng.uniform(0.01, 0.12)], p=[0.75, 0.25])),
        jitter=float(rng.choice([0.0, rng.uniform(0.05, 0.35)], p=[0.75, 0.25])),
        bars=float(rng.choice([0.0, rng.uniform(0.1, 0.4), 1.3], p=[0.87, 0.1, 0.03])),
        captions=bool(rng.random() < 0.1),
        seed=int(rng.integers(2**31)),
    )


def conform(frames: np.ndarray, times: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n, height, width, 3) uint8 at `times` (s), as the encoding shows them: frames and their times.

    What happens at a time still happens at that time, to within a frame.
    """
    rng = np.random.default_rng(encoding.seed)
    index = np.arange(len(frames))
    if encoding.rate is not None:
        spacing = 1 / float(encoding.rate)
        end = times[-1] + float(np.diff(times).mean() if len(times) > 1 else spacing)
        grid = np.arange(0, max(1, int(np.floor((end - times[0]) / spacing + 1e-6)))) * spacing + times[0]
        # The frame nearest to a grid time, as ffmpeg rounds: the one before would be late by half a step.
        index, times = np.searchsorted(times, grid + spacing / 2, side="right") - 1, grid
    if encoding.dropped:
        for number in map(int, np.flatnonzero(rng.random(len(index)) < encoding.dropped)):
            index[number] = index[max(number - 1, 0)]
    if encoding.jitter and len(times) > 2:
        keep = np.r_[True, rng.random(len(times) - 1) > 0.3 * encoding.jitter]
        index, times = index[keep], times[keep]
        shift = encoding.jitter * float(np.diff(times).min()) * rng.uniform(-1, 1, len(times))
        times = times + np.r_[0.0, shift[1:]]
    frames = frames[index.clip(0)]
    if encoding.bars:
        bar = max(2, round(encoding.bars * frames.shape[1] / 2) // 2 * 2)
        frames = np.pad(frames, ((0, 0), (bar, bar), (0, 0), (0, 0)))
    if encoding.captions:
        frames = _with_captions(frames, times, rng)
    return frames, times


def encode(
    path: Path,
    frames: np.ndarray,
    times: np.ndarray,
    encoding: Encoding,
    audio: np.ndarray | None = None,
    sample_rate: int = 44_100,
) -> None:
    """Write frames (n, height, width, 3) uint8 shown at `times` (s), and mono `audio` (samples,), as an MP4 file."""
    frames, times = conform(frames, times, encoding)
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


def _with_captions(frames: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Letter-like marks in one or two lines that change now and then, and a logo in a corner."""
    frames, (height, width) = frames.copy(), frames.shape[1:3]
    size = max(3, height // 22)
    top = int(rng.choice([0.04, 0.8]) * height)
    period, ink = rng.uniform(0.6, 3.0), rng.choice([255, 230, 20])
    for section in range(int(times[-1] / period) + 1):
        shown = np.flatnonzero((times >= section * period) & (times < (section + 1) * period))
        column = int(rng.uniform(0.05, 0.3) * width)
        while column < rng.uniform(0.6, 0.95) * width:
            letter = int(rng.integers(1, size))
            if rng.random() < 0.85:
                frames[shown, top : top + size, column : column + letter] = ink
            column += letter + 1
    corner = frames[:, 3 : 3 + 2 * size, -3 - 3 * size : -3]
    corner[:] = (0.4 * corner + 0.6 * rng.integers(0, 255, 3)).astype(np.uint8)
    return frames
