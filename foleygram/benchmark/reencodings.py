"""The same clip as phones, editors and platforms would deliver it: what a predicted envelope must not depend on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from foleygram.datasets.clip import Clip
from foleygram.files import atomic_path
from foleygram.media.encoding import Encoding, encode
from foleygram.media.video import open_media, video_stream

ORIGINAL = "original"
CLEAN = 0.85
"""Quality at which a cut or re-timed clip is encoded, about crf 19."""


@dataclass(frozen=True)
class Reencoding:
    """How a clip is encoded again; `portrait` rotates the frames, with a display matrix to rotate them back."""

    encoding: Encoding
    portrait: bool = False
    drop_every: int | None = None
    """Every so many frames one is left out, the others keep their times."""


REENCODINGS: Mapping[str, Reencoding] = {
    "23.976 fps": Reencoding(Encoding(quality=CLEAN, rate=Fraction(24000, 1001))),
    "60 fps": Reencoding(Encoding(quality=CLEAN, rate=Fraction(60))),
    "variable rate": Reencoding(Encoding(quality=CLEAN), drop_every=5),
    "portrait HEVC": Reencoding(Encoding(codec="hevc", quality=0.7), portrait=True),
    "crf 40": Reencoding(Encoding(quality=4 / 30)),
}


def cut(clip: Clip, out: Path) -> Path:
    """The clip's video without sound: the file itself if the clip is all of it, else frames encoded again at `out`."""
    frames, times, ended = _frames(clip)
    if clip.start == 0 and ended:
        return clip.video_path
    return _written(out, lambda path: encode(path, frames, times, Encoding(quality=CLEAN)))


def reencode_clip(clip: Clip, how: Reencoding, out: Path) -> Path:
    """Write the frames of a clip to `out` (MP4, no sound) in the encoding `how`, unless it exists."""
    if out.is_file():
        return out
    frames, times, _ = _frames(clip)
    if how.drop_every:
        kept = np.arange(len(times)) % how.drop_every != how.drop_every - 1
        frames, times = frames[kept], times[kept]
    if how.portrait:
        frames = np.rot90(frames, axes=(1, 2))

    def write(path: Path) -> None:
        encode(path, frames, times, how.encoding)
        if how.portrait:
            _declare_rotation(path)

    return _written(out, write)


def _frames(clip: Clip) -> tuple[np.ndarray, np.ndarray, bool]:
    """Frames (n, height, width, 3) of a clip, their times from its start (s), and whether the video ends with it."""
    frames, times, ended = [], [], True
    with open_media(clip.video_path) as container:
        stream = video_stream(clip.video_path, container)
        origin = stream.start_time or 0
        for frame in container.decode(stream):
            time = float((frame.pts - origin) * stream.time_base) - clip.start
            if time >= clip.seconds:
                ended = False
                break
            if time >= -1e-6:
                frames.append(frame.to_ndarray(format="rgb24"))
                times.append(time)
    if not frames:
        raise ValueError(f"{clip.video_path}: no frame from {clip.start:g} to {clip.start + clip.seconds:g} s")
    return np.stack(frames), np.array(times), ended


def _written(out: Path, write: Callable[[Path], None]) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as path:
        write(path)
    return out


def _declare_rotation(path: Path) -> None:
    """Set the display matrix in an MP4's track header to a clockwise quarter turn, as phones do."""
    data = bytearray(path.read_bytes())
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    unit = one + bytes(12) + one + bytes(12) + (1 << 30).to_bytes(4, "big")
    at = data.index(unit, data.index(b"tkhd"))
    data[at : at + 36] = bytes(4) + one + bytes(4) + minus + bytes(16) + (1 << 30).to_bytes(4, "big")
    path.write_bytes(data)
    with av.open(str(path)) as container:
        turn = next(container.decode(video=0)).rotation
    if abs(turn) != 90:
        raise ValueError(f"{path}: the display matrix reads {turn} degrees")
