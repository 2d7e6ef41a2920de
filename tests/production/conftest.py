"""Videos that are written and read in milliseconds."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def flicker(path: Path, seconds: float, *, rate: int = 12, seed: int = 0) -> Path:
    """A small video of noise."""
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def write_flicker() -> Callable[..., Path]:
    return flicker


@pytest.fixture(scope="session")
def flickers(tmp_path_factory) -> Path:
    """A folder of six small videos of 1 to 5 s; read-only."""
    folder = tmp_path_factory.mktemp("flickers")
    for number, seconds in enumerate((1.0, 2.5, 2.0, 5.0, 1.5, 2.0)):
        flicker(folder / f"clip {number}.mp4", seconds, seed=number)
    return folder
