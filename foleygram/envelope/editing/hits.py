"""Hits: the moments of an envelope, as MIDI notes and markers name them, and the curve that a hit draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foleygram.envelope.envelope import FRAME_LENGTH, HOP_LENGTH, PEAK_SEC, SAMPLE_RATE, Envelope
from foleygram.media.markers import Marker

RATE = SAMPLE_RATE / HOP_LENGTH
"""Values per second of an envelope that is drawn from hits."""
DECAY_SEC = 0.1
"""A hit's fall by 20 dB where nothing else is said: the median of 597 rendered hits (wood 0.04, metal 0.2)."""
TAIL_DB = 60.0
"""A hit ends, in exact silence as predicted envelopes do, this far below its peak."""
LEAST_FALL_DB = -3.0
"""A hit that falls by less than this before the next one says nothing about its decay."""
FULL_LEVEL = 0.25
"""RMS level of velocity 127. Rendered hits lie between velocity 30 and 105 (0.015 to 0.17), their median at 60."""
MAX_VELOCITY = 127
WINDOW_SEC = FRAME_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class Hit:
    """One hit: `time` in seconds, `level` the linear RMS at its peak, `decay` in seconds until it is 20 dB down.

    Raises ValueError for a negative time, a level or a decay that is not positive, or any that is not finite.
    """

    time: float
    level: float
    decay: float = DECAY_SEC

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time) and self.time >= 0):
            raise ValueError(f"a hit at {self.time:g} s: its time must be 0 or more")
        if not (math.isfinite(self.level) and self.level > 0):
            raise ValueError(f"a hit of level {self.level:g}: it must be above 0")
        if not (math.isfinite(self.decay) and self.decay > 0):
            raise ValueError(f"a hit that decays within {self.decay:g} s: it must be above 0")


def hit_levels(hit: Hit, times_sec: np.ndarray) -> np.ndarray:
    """RMS levels (n,) that `hit` alone has at `times_sec` (n,): exponential decay, seen through the RMS window.

    The power of a decay that sets in at the hit's time, averaged over 32 ms around each of the times, as
    `rms_envelope` measures it; so the curve rises within one window and is half-way up at the hit.
    """
    fall = 2 * math.log(10) / hit.decay  # of the power, per second: 20 dB within the decay
    begin = np.maximum(times_sec - hit.time - WINDOW_SEC / 2, 0.0)
    end = np.maximum(times_sec - hit.time + WINDOW_SEC / 2, 0.0)
    power = (np.exp(-fall * begin) - np.exp(-fall * end)) / -math.expm1(-fall * WINDOW_SEC)
    return np.where(power < 10 ** (-TAIL_DB / 10), 0.0, hit.level * np.sqrt(power))


def tail_sec(hit: Hit) -> float:
    """Seconds from a hit to its exact silence."""
    return hit.decay * TAIL_DB / 20 + WINDOW_SEC


def draw_hits(hits: Sequence[Hit], *, seconds: float | None = None, rate: float = RATE) -> Envelope:
    """The envelope of `hits`, their powers added; `seconds` long, by default until the last has died away."""
    length = max((hit.time + tail_sec(hit) for hit in hits), default=0.0) if seconds is None else seconds
    power = np.zeros(math.ceil(length * rate - 1e-6) + 1)
    for hit in hits:
        first = max(0, math.floor((hit.time - WINDOW_SEC) * rate))
        index = np.arange(first, min(len(power), math.ceil((hit.time + tail_sec(hit)) * rate) + 1))
        power[index] += hit_levels(hit, index / rate) ** 2
    return Envelope(np.sqrt(power), rate)


def find_hits(envelope: Envelope) -> list[Hit]:
    """The onsets of `envelope` as hits, ascending: each with the peak it rises to and the decay that follows."""
    onsets, rate = envelope.onsets(), envelope.rate
    following = np.append(onsets, envelope.seconds + WINDOW_SEC)[1:]
    ends = np.minimum(onsets + PEAK_SEC, following)
    hits = []
    for time, end, later in zip(onsets, ends, following, strict=True):
        first = math.floor(time * rate)
        last = max(first + 2, math.ceil(end * rate))  # with this one's own rise, without the next one's
        peak = first + int(envelope.values[first:last].argmax())
        tail = envelope.values[peak : max(peak + 1, math.floor((later - WINDOW_SEC / 2) * rate) + 1)]
        decay = max(0.001, round(_decay_sec(tail, rate), 3))  # to the millisecond, as far as a table is read by people
        hits.append(Hit(float(time), float(envelope.values[peak]), decay))
    return hits


def _decay_sec(tail: np.ndarray, rate: float) -> float:
    """Seconds until a curve (n,) that begins at its peak is 20 dB down; drawn on as a line where it ends before."""
    decibels = 20 * np.log10(np.maximum(tail, 1e-6 * tail[0]) / tail[0])
    down = int((decibels <= -20).argmax())
    if down:
        share = (decibels[down - 1] + 20) / (decibels[down - 1] - decibels[down])
        return (down - 1 + share) / rate
    if len(tail) < 3 or decibels[-1] > LEAST_FALL_DB:
        return DECAY_SEC
    return 20 * (len(tail) - 1) / -decibels[-1] / rate


def hit_markers(envelope: Envelope, seconds: float = math.inf) -> list[Marker]:
    """The hits of the first `seconds` of an envelope as named moments: their number and MIDI velocity."""
    hits = [hit for hit in find_hits(envelope) if hit.time <= seconds]
    return [Marker(hit.time, f"hit {number} v{level_velocity(hit.level)}") for number, hit in enumerate(hits, start=1)]


def velocity_level(velocity: float) -> float:
    """RMS level of a MIDI velocity in (0, 127]: its square, as General MIDI's sound sets have it; 127 is 0.25.

    Raises ValueError for one that lies elsewhere.
    """
    if not 0 < velocity <= MAX_VELOCITY:
        raise ValueError(f"a velocity of {velocity:g}: it must lie above 0 and at or below {MAX_VELOCITY}")
    return FULL_LEVEL * (velocity / MAX_VELOCITY) ** 2


def level_velocity(level: float) -> int:
    """MIDI velocity, 1 to 127, nearest to an RMS level; louder than 0.25 is 127."""
    return min(MAX_VELOCITY, max(1, round(MAX_VELOCITY * math.sqrt(level / FULL_LEVEL))))
