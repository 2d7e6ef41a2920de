"""The frames of a video for the envelope predictor, at most as many per second as in training."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.container import InputContainer

from foleygram.media.video import (
    TIE_SEC,
    UNSTAMPED,
    Frames,
    motion_times,
    open_media,
    read_frames,
    start_sec,
    video_stream,
)

SAME_RATE = 0.01
"""Share by which a video may exceed the grid's rate before frames are left out."""


def read_motion(
    path: str | Path, start: float, seconds: float, *, rate: float, size: int, fast: bool = False
) -> Frames:
    """Frames (N, 3, size, size) on screen at `motion_times` from `start`, and how long each had been there.

    Of a video with more than `rate` frames per second only every second, third ... frame counts, so that frames are as
    far apart, and as old, as those of the videos that predictors are trained on: at 60 per second the newest frame
    of each moment makes predicted hits 18 ms early. Raises MediaError when the video cannot be decoded.
    """
    times = motion_times(start, seconds, rate)
    with open_media(path) as container:
        stream = video_stream(path, container)
        if float(stream.average_rate or stream.guessed_rate or 0) <= rate * (1 + SAME_RATE):
            return read_frames(path, times, size=size, fast=fast)
        stamps = _time_stamps(container, stream)
    step = math.ceil((len(stamps) - 1) / max(stamps[-1] - stamps[0], 1e-6) / rate - SAME_RATE) if len(stamps) > 1 else 1
    frame_times = stamps[:: max(step, 1)]
    following = np.append(stamps[1:], stamps[-1] + 1 / rate)[:: max(step, 1)]
    shown = np.maximum(np.searchsorted(frame_times, times + TIE_SEC, side="right") - 1, 0)
    frames, ages = read_frames(path, (frame_times + following)[shown] / 2, size=size, fast=fast)
    ages = times - (frame_times + following)[shown] / 2 + ages.numpy()
    return Frames(frames, torch.from_numpy(ages.clip(0)).float())


def _time_stamps(container: InputContainer, stream: Any) -> np.ndarray:
    """When each frame is shown, in seconds from the first, without decoding."""
    kind = "dts" if container.format.name in UNSTAMPED else "pts"
    packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
    stamps = [stamp for packet in packets if (stamp := getattr(packet, kind)) is not None]
    return np.sort(np.array(stamps or [0], float)) * float(stream.time_base) - start_sec(stream)
