"""What phones and editors do to a rendered video's frames: other rates, lost frames, uneven times, bars, captions."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from foleygram.media.encoding import CODECS, Encoding

RATES = (
    Fraction(12), Fraction(15), Fraction(20), Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001),
    Fraction(30), Fraction(50), Fraction(60),
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """Changes to a video's frames and their times."""

    dropped: float = 0.0
    """Share of frames that are lost; the one before stays on screen."""
    jitter: float = 0.0
    """Deviation of a frame's time as a share of the spacing: a variable rate."""
    bars: float = 0.0
    """Black bars above and below, together as a share of the height; above 1 a wide video becomes a portrait one."""
    captions: bool = False
    """Text and a logo laid over the frames."""


def draw_encoding(rng: np.random.Generator) -> tuple[Encoding, Damage]:
    """A likely encoding: every third video is clean, the others have one kind of damage or several."""
    if rng.random() < 0.35:
        return Encoding(quality=float(rng.uniform(0.55, 0.9)), seed=int(rng.integers(2**31))), Damage()
    codec = str(rng.choice(list(CODECS), p=[0.65, 0.13, 0.1, 0.12]))
    quality = float(rng.uniform(0.2, 0.95))
    rate = RATES[rng.integers(len(RATES))] if rng.random() < 0.5 else None
    damage = Damage(
        dropped=float(rng.choice([0.0, rng.uniform(0.01, 0.12)], p=[0.75, 0.25])),
        jitter=float(rng.choice([0.0, rng.uniform(0.05, 0.35)], p=[0.75, 0.25])),
        bars=float(rng.choice([0.0, rng.uniform(0.1, 0.4), 1.3], p=[0.87, 0.1, 0.03])),
        captions=bool(rng.random() < 0.1),
    )
    return Encoding(codec, quality, rate, int(rng.integers(2**31))), damage


def damaged(frames: np.ndarray, times: np.ndarray, damage: Damage, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n, height, width, 3) uint8 at `times` (n,) in seconds after `damage`, which `seed` draws."""
    rng = np.random.default_rng(seed)
    index = np.arange(len(times))
    if damage.dropped:
        for number in map(int, np.flatnonzero(rng.random(len(index)) < damage.dropped)):
            index[number] = index[max(number - 1, 0)]
    if damage.jitter and len(times) > 2:
        keep = np.r_[True, rng.random(len(times) - 1) > 0.3 * damage.jitter]
        index, times = index[keep], times[keep]
        shift = damage.jitter * float(np.diff(times).min()) * rng.uniform(-1, 1, len(times))
        times = times + np.r_[0.0, shift[1:]]
    frames = frames[index]
    if damage.bars:
        bar = max(2, round(damage.bars * frames.shape[1] / 2) // 2 * 2)
        frames = np.pad(frames, ((0, 0), (bar, bar), (0, 0), (0, 0)))
    return (_with_captions(frames, times, rng) if damage.captions else frames), times


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
