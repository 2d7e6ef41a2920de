"""A copy of a film that every browser plays: small H.264, upright, without sound."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from foleygram.files import atomic_path
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.media.video import decodable, open_media, pixel_shape, video_stream

MAX_SIDE = 960
"""Longest side of the copy, in pixels."""
CLOCK = 90_000
"""Ticks per second of the copy's time stamps."""
KEY_SEC = 0.5
"""Largest distance of key frames, so that seeking is quick."""


def write_proxy(video: Path, out: Path, seconds: float) -> None:
    """Write the copy as MP4, frame by frame at the film's own times; raises MediaError if nothing can be decoded."""
    run_isolated(_write_proxy, video, out, timeout_sec=time_limit(seconds))


def _write_proxy(video: Path, out: Path) -> None:
    with open_media(video) as source, atomic_path(out) as temporary:
        decoded = video_stream(video, source)
        decoded.thread_type = "AUTO"
        options = {"movflags": "faststart", "fflags": "bitexact"}
        with av.open(str(temporary.absolute()), "w", format="mp4", options=options) as target:
            stream: Any = None
            origin, last, first_key = None, -1, 0
            for frame in decodable(source, decoded):
                if frame.pts is None:
                    continue
                origin = frame.pts if origin is None else origin
                tick = round((frame.pts - origin) * decoded.time_base * CLOCK)
                if tick <= last:
                    continue
                image = _small_upright(frame, pixel_shape(decoded))
                if stream is None:
                    stream = _stream(target, image)
                small = av.VideoFrame.from_ndarray(image, format="rgb24")
                small.pts, small.time_base = tick, Fraction(1, CLOCK)
                if tick - first_key >= KEY_SEC * CLOCK or last < 0:
                    small.pict_type, first_key = av.video.frame.PictureType.I, tick
                last = tick
                target.mux(stream.encode(small.reformat(format="yuv420p")))
            if stream is None:
                raise MediaError(f"{video}: no frame could be decoded; the file is damaged or cut short")
            target.mux(stream.encode(None))


def _small_upright(frame: Any, shape: Fraction) -> np.ndarray:
    """The frame (height, width, 3) with square pixels, turned upright and at most `MAX_SIDE` long, its sides even."""
    sides = float(frame.width * shape), frame.height
    scale = min(1.0, MAX_SIDE / max(sides))
    width, height = (max(2, round(side * scale / 2) * 2) for side in sides)
    small = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(small, round(frame.rotation / 90)))


def _stream(target: Any, image: np.ndarray) -> Any:
    stream = target.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK)
    stream.codec_context.max_b_frames = 0
    return stream
