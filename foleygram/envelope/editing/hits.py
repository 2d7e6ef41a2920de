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
"""Default time for a hit to fall by 20 dB: the median of 597 rendered hits (wood 0.04, metal 0.2)."""
TAIL_DB = 60.0
"""A hit ends in exact silence, as predicted envelopes do, this far below its peak."""
LEAST_FALL_DB = -3.0
"""A hit that falls by less than this before the next one has no measurable decay."""
FULL_LEVEL = 0.25
"""RMS level of velocity 127. Rendered hits have velocities from 30 to 105 (0.015 to 0.17), median 60."""
MAX_VELOCITY = 127
WINDOW_SEC = FRAME_LENGTH / SAMPLE_RATE
SAME_HIT_SEC = WINDOW_SEC / 2
"""A listed time this near to an onset of the curve is the time of that onset."""


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


@dataclass(frozen=True)
class HitEnvelope(Envelope):
    """An envelope with its list of hits, whose times are exact; a curve of 125 values per second is not that fine."""

    hits: tuple[Hit, ...] = ()

    def resampled(self, rate: float) -> "HitEnvelope":
        """The same curve and hits with `rate` values per second."""
        return HitEnvelope(super().resampled(rate).values, rate, self.hits)

    def slice(self, start: float, seconds: float) -> "HitEnvelope":
        """The `seconds` from `start` on and the hits in them; raises ValueError for a negative length."""
        kept = [(hit.time - start, hit) for hit in self.hits if 0 <= hit.time - start <= seconds]
        hits = tuple(Hit(time, hit.level, hit.decay) for time, hit in kept)
        return HitEnvelope(super().slice(start, seconds).values, self.rate, hits)

    def onsets(self) -> np.ndarray:
        """Times of the hits in seconds, ascending (n,)."""
        return np.array([hit.time for hit in self.hits])


def hit_levels(hit: Hit, times_sec: np.ndarray) -> np.ndarray:
    """RMS levels (n,) of `hit` by itself at `times_sec` (n,): exponential decay, seen through the RMS window.

    The power of a decay that starts at the hit's time, averaged over 32 ms around each time, as `rms_envelope`
    measures it: the curve rises within one window, from 16 ms before the hit to 16 ms after it.
    """
    fall = 2 * math.log(10) / hit.decay  # of the power, per second: 20 dB within the decay
    begin = np.maximum(times_sec - hit.time - WINDOW_SEC / 2, 0.0)
    end = np.maximum(times_sec - hit.time + WINDOW_SEC / 2, 0.0)
    power = (np.exp(-fall * begin) - np.exp(-fall * end)) / -math.expm1(-fall * WINDOW_SEC)
    return np.where(power < 10 ** (-TAIL_DB / 10), 0.0, hit.level * np.sqrt(power))


def tail_sec(hit: Hit) -> float:
    """Seconds from a hit to its exact silence."""
    return hit.decay * TAIL_DB / 20 + WINDOW_SEC


def draw_hits(hits: Sequence[Hit], *, seconds: float | None = None, rate: float = RATE) -> HitEnvelope:
    """The envelope of `hits`, their powers added; `seconds` long, by default until the last has died away."""
    length = max((hit.time + tail_sec(hit) for hit in hits), default=0.0) if seconds is None else seconds
    power = np.zeros(math.ceil(length * rate - 1e-6) + 1)
    for hit in hits:
        first = max(0, math.floor((hit.time - WINDOW_SEC) * rate))
        index = np.arange(first, min(len(power), math.ceil((hit.time + tail_sec(hit)) * rate) + 1))
        power[index] += hit_levels(hit, index / rate) ** 2
    inside = [hit for hit in hits if hit.time <= (len(power) - 1) / rate + 1e-9]
    return HitEnvelope(np.sqrt(power), rate, tuple(sorted(inside, key=lambda hit: hit.time)))


def find_hits(envelope: Envelope) -> list[Hit]:
    """The hits of `envelope`, ascending: those it lists, else each onset of its curve with its peak and its decay."""
    if isinstance(envelope, HitEnvelope):
        return list(envelope.hits)
    onsets, rate = envelope.onsets(), envelope.rate
    following = np.append(onsets, envelope.seconds + WINDOW_SEC)[1:]
    ends = np.minimum(onsets + PEAK_SEC, following)
    hits = []
    for time, end, later in zip(onsets, ends, following, strict=True):
        first = math.floor(time * rate)
        last = max(first + 2, math.ceil(end * rate))  # includes this hit's rise, excludes the next one's
        peak = first + int(envelope.values[first:last].argmax())
        tail = envelope.values[peak : max(peak + 1, math.floor((later - WINDOW_SEC / 2) * rate) + 1)]
        decay = max(0.001, round(_decay_sec(tail, rate), 3))  # whole milliseconds, for people who read the table
        hits.append(Hit(float(time), float(envelope.values[peak]), decay))
    return hits


def list_hits(envelope: Envelope, times: Sequence[float]) -> HitEnvelope:
    """The envelope with its hits at `times` (seconds), which a file lists beside the curve, where they agree.

    If every onset of the curve is listed and the curve sounds at every time, the list stands. Otherwise someone edited
    the curve: its own onsets count, each moved to a listed time within 16 ms. Levels and decays are the curve's.
    """
    curve, listed = Envelope(envelope.values, envelope.rate), np.sort(np.array(times, float))
    detected = find_hits(curve)
    onsets = np.array([hit.time for hit in detected])
    apart = np.abs(onsets[:, None] - listed)  # (found, listed)
    listed_near = apart.min(1, initial=math.inf) <= SAME_HIT_SEC
    if listed_near.all() and all(_level_at(curve, time, DECAY_SEC) > 0 for time in listed):
        chosen = listed
    else:
        chosen = np.array([listed[row.argmin()] if near else onset
                           for row, near, onset in zip(apart, listed_near, onsets, strict=True)])  # fmt: skip
    hits = []
    for time in chosen:
        same = next((hit for hit in detected if abs(hit.time - time) <= SAME_HIT_SEC), None)
        decay = same.decay if same else DECAY_SEC
        level = _level_at(curve, time, decay) or (same.level if same else 0.0)
        if level > 0:
            hits.append(Hit(float(time), level, decay))
    return HitEnvelope(curve.values, curve.rate, tuple(hits))


def _level_at(curve: Envelope, time: float, decay: float) -> float:
    """Peak of a hit at `time` (seconds) that has the curve's level where it is nearest to its own peak."""
    clock = np.arange(max(0, math.floor(time * curve.rate)), math.ceil((time + WINDOW_SEC) * curve.rate) + 1)
    clock = clock[clock < len(curve.values)]
    drawn = hit_levels(Hit(time, 1.0, decay), clock / curve.rate)
    top = int(drawn.argmax()) if len(clock) else 0
    return float(curve.values[clock[top]] / drawn[top]) if len(clock) and drawn[top] > 0 else 0.0


def _decay_sec(tail: np.ndarray, rate: float) -> float:
    """Seconds until a curve (n,) that begins at its peak is 20 dB down; extrapolated in decibels if it ends before."""
    decibels = 20 * np.log10(np.maximum(tail, 1e-6 * tail[0]) / tail[0])
    down = int((decibels <= -20).argmax())
    if down:
        share = (decibels[down - 1] + 20) / (decibels[down - 1] - decibels[down])
        return (down - 1 + share) / rate
    if len(tail) < 3 or decibels[-1] > LEAST_FALL_DB:
        return DECAY_SEC
    return 20 * (len(tail) - 1) / -decibels[-1] / rate


def hit_markers(envelope: Envelope, seconds: float = math.inf) -> list[Marker]:
    """The hits of the first `seconds` of an envelope as markers, labelled with their number and MIDI velocity."""
    hits = [hit for hit in find_hits(envelope) if hit.time <= seconds]
    return [Marker(hit.time, f"hit {number} v{level_velocity(hit.level)}") for number, hit in enumerate(hits, start=1)]


def velocity_level(velocity: float) -> float:
    """RMS level of a MIDI velocity in (0, 127]: proportional to its square, as in General MIDI; 127 is 0.25.

    Raises ValueError for a velocity outside that range.
    """
    if not 0 < velocity <= MAX_VELOCITY:
        raise ValueError(f"a velocity of {velocity:g}: it must be above 0 and at most {MAX_VELOCITY}")
    return FULL_LEVEL * (velocity / MAX_VELOCITY) ** 2


def level_velocity(level: float) -> int:
    """MIDI velocity, 1 to 127, nearest to an RMS level; louder than 0.25 is 127."""
    return min(MAX_VELOCITY, max(1, round(MAX_VELOCITY * math.sqrt(level / FULL_LEVEL))))
