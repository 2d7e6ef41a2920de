"""Film strips show films as players do: upright and with square pixels."""

from fractions import Fraction
from pathlib import Path

import av
import matplotlib.image
import numpy as np
import pytest

from foleygram.envelope.envelope import Envelope
from foleygram.production.film_strip import draw_envelope

STORED = (120, 96)
"""Width and height of the frames in the file."""


def write_disc(path: Path, shape: Fraction, turn: int) -> None:
    """One second of a red disc that is round where it is shown: pixels `shape` times as wide as high, turned."""
    width, height = STORED
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((x - width / 2) * float(shape)) ** 2 + (y - height / 2) ** 2 < (0.25 * height) ** 2
    image = np.where(inside[..., None], np.array([230, 20, 20]), 128).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.sample_aspect_ratio = shape
        stream.set_display_rotation(turn)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("turn", [0, 90])
@pytest.mark.parametrize("shape", [Fraction(1), Fraction(64, 45)])
def test_a_plot_shows_a_disc_as_round_in_films_with_oblong_pixels_or_turned(
    shape: Fraction, turn: int, tmp_path: Path
) -> None:
    film, plot = tmp_path / "disc.mp4", tmp_path / "disc.png"
    write_disc(film, shape, turn)
    draw_envelope(film, Envelope(np.full(126, 0.1, np.float32), 125.0), plot)
    pixels = matplotlib.image.imread(plot)[..., :3]
    red = (pixels[..., 0] > 0.7) & (pixels[..., 1] < 0.3) & (pixels[..., 2] < 0.3)
    rows = np.flatnonzero(red.any(1))
    columns = np.flatnonzero(red.any(0))
    first = columns[: np.argmax(np.diff(columns) > 3) + 1]  # the disc of the first of nine frames
    assert len(first) > 30
    assert len(rows) / len(first) == pytest.approx(1.0, abs=0.05)
