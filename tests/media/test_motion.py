"""The predictor's frames: every frame of slow videos, every n-th of fast ones, with exact ages."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from foleygram.media.motion import read_motion
from foleygram.media.video import motion_times, read_frames


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])  # Matroska rounds time stamps to milliseconds
@pytest.mark.parametrize(("rate", "step"), [(50, 2), (Fraction(60_000, 1001), 2), (60, 2), (120, 4)])
@pytest.mark.parametrize("start", [0.0, 0.8])
def test_of_a_fast_video_every_n_th_frame_counts(tmp_path, videos, suffix, rate, step, start):
    path = videos.write(tmp_path / f"v{suffix}", videos.constant(rate, int(2 * rate)), rate=rate)
    frames, ages = read_motion(path, start, 1.0, rate=30, size=64)
    times = motion_times(start, 1.0, 30)
    numbers = np.floor(times * float(rate) / step + 1e-6) * step
    assert [videos.number_of(frame) for frame in frames] == list(numbers)
    assert np.allclose(ages, times - numbers / float(rate), atol=1e-3)
    assert float(ages.max()) < step / float(rate)


@pytest.mark.parametrize("rate", [12, 24, Fraction(30_000, 1001), 30])
def test_of_a_slow_video_every_frame_counts(tmp_path, videos, rate):
    path = videos.write(tmp_path / "v.mp4", videos.constant(rate, int(2 * rate)))
    expected = read_frames(path, motion_times(0.5, 1.0, 30), size=64)
    for read, kept in zip(read_motion(path, 0.5, 1.0, rate=30, size=64), expected, strict=True):
        assert torch.equal(read, kept)
