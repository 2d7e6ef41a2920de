"""Small videos whose frames carry their own number, so that a test knows which one was read."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from torch import Tensor

CLOCK = Fraction(1, 90_000)
WIDTH, HEIGHT, BITS = 64, 48, 8


def numbered_picture(number: int) -> np.ndarray:
    """Eight vertical stripes, black or white: the bits of `number`."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, WIDTH // BITS)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def number_of(frame: Tensor) -> int:
    stripes = frame.float().mean(dim=(0, 1)).unflatten(0, (BITS, -1)).mean(1)
    return sum(int(level > 127) << bit for bit, level in enumerate(stripes))


def write_video(
    path: Path,
    stamps: Sequence[Fraction],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    container_format: str | None = None,
    audio: np.ndarray | None = None,
    audio_rate: int = 16_000,
    audio_start: Fraction = Fraction(0),
    audio_codec: str = "aac",
    rotation: int = 0,
    rate: Fraction | int = 30,
) -> Path:
    """Frame i shows its number from stamps[i] on; `audio` (channels, samples) starts at `audio_start`, in seconds.

    `rate` is what the header says.
    """
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        fixed = codec in ("mpeg4", "rawvideo")  # these take no fine clock
        clock = Fraction(1, 30) if fixed else CLOCK
        stream.codec_context.time_base = clock
        if codec == "libx264":
            stream.options = {"g": "12", "bf": "2", "crf": "10"}
        if rotation:
            stream.set_display_rotation(rotation)
        sound = None
        if audio is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(audio)]
            sound = container.add_stream(audio_codec, rate=audio_rate, layout=layout)
            kind = "s16" if audio_codec.startswith("pcm") else "fltp"
            samples = (audio * 32767).astype(np.int16) if kind == "s16" else audio.astype(np.float32)
            packed = samples.T.reshape(1, -1) if kind == "s16" else samples
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=kind, layout=layout)
            block.sample_rate, block.time_base = audio_rate, Fraction(1, audio_rate)
            block.pts = round(audio_start * audio_rate)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
            frame.pts, frame.time_base = round(stamp / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


@pytest.fixture
def videos() -> SimpleNamespace:
    """`write(path, stamps, **options)`, `number_of(frame)` and `constant(rate, count, start)`, which lists stamps."""

    def constant(rate: Fraction | int, count: int, start: Fraction | float = 0) -> list[Fraction]:
        return [Fraction(start) + Fraction(i) / rate for i in range(count)]

    write: Callable[..., Path] = write_video
    return SimpleNamespace(write=write, number_of=number_of, constant=constant, size=(WIDTH, HEIGHT))
