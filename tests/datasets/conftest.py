"""A folder in Greatest Hits' layout whose picture and sound tell the time, so a test can see which moment was read."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

RATE = 8_000
SCALE = 5.0
"""Picture and sound rise evenly, and would reach full level after this many seconds."""


def write_recording(folder: Path, video_id: str, seconds: float, *, kind: str = "denoised", wav: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / f"{video_id}_{kind}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"crf": "8", "preset": "ultrafast"}
        for index in range(round(seconds * 15)):
            level = round(255 * index / 15 / SCALE)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), format="rgb24"))
            )
        container.mux(stream.encode(None))
    if wav:
        ramp = np.arange(round(seconds * RATE)) / RATE / SCALE
        soundfile.write(folder / f"{video_id}_{kind}.wav", ramp, RATE, subtype="PCM_16")


@pytest.fixture
def recording() -> Callable[..., None]:
    return write_recording


@pytest.fixture
def greatest_hits(tmp_path: Path) -> Path:
    """Two training recordings, one of them labelled, and one for the test."""
    root = tmp_path / "hits"
    write_recording(root, "2015-01-01-00-00-00", 4.6)
    write_recording(root, "2015-01-01-00-00-01-2", 2.0)
    write_recording(root, "2015-02-02-00-00-00", 2.5)
    (root / "2015-01-01-00-00-00_times.txt").write_text(
        "0.500000 wood hit static\n1.9 metal scratch deform\n2.0 None None None\n2.75 ceramic hit\n4.5 glass hit\n"
    )
    (root / "2015-01-01-00-00-01-2_times.txt").write_text("")
    (root / "train.txt").write_text("2015-01-01-00-00-00\n2015-01-01-00-00-01-2\n")
    (root / "test.txt").write_text("2015-02-02-00-00-00\n")
    return root
