"""Edits: functions from an envelope to an envelope, which compose."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from foleygram.envelope.editing.hits import DECAY_SEC, FULL_LEVEL, WINDOW_SEC, Hit, find_hits, hit_levels
from foleygram.envelope.envelope import PEAK_SEC, RISE_SEC, Envelope

Edit = Callable[[Envelope], Envelope]

NEAR_SEC = 0.1
"""A hit to be removed is looked for this far around the time that is named."""
ON_FRAME_SEC = 0.002
"""An onset this near a frame lies on it."""
MAX_PASSES = 4
"""Moving a steep attack between two values moves its half-way point a little: a second pass mends that."""
USUAL_LEVEL = FULL_LEVEL / 4
"""Level of an added hit in an envelope that has none to compare it with: velocity 64."""


def gain(envelope: Envelope, decibels: float, start: float = 0.0, end: float = math.inf) -> Envelope:
    """The envelope with its levels from `start` to `end` (seconds, the end excluded) raised by `decibels`."""
    if not math.isfinite(decibels):
        raise ValueError(f"a gain of {decibels} dB: it must be finite; to silence a region, mute it")
    values = envelope.values.astype(np.float64)
    values[_region(envelope, start, end)] *= 10 ** (decibels / 20)
    return Envelope(values, envelope.rate)


def mute(envelope: Envelope, start: float, end: float) -> Envelope:
    """The envelope with silence from `start` to `end`, in seconds, the end excluded."""
    values = envelope.values.copy()
    values[_region(envelope, start, end)] = 0.0
    return Envelope(values, envelope.rate)


def shift(envelope: Envelope, seconds: float, start: float = 0.0, end: float = math.inf) -> Envelope:
    """The envelope with what lies from `start` to `end` moved by `seconds` (later where positive).

    It leaves silence behind and adds its power to what it meets; what passes the envelope's ends is lost.
    Raises ValueError for a shift that is not finite.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"a shift by {seconds} s: it must be finite")
    region = _region(envelope, start, end)
    moving = np.zeros(len(envelope.values), np.float32)
    moving[region] = envelope.values[region]
    staying = envelope.values.astype(np.float64)
    staying[region] = 0.0
    moved = Envelope(moving, envelope.rate).at(np.arange(len(moving)) / envelope.rate - seconds)
    return Envelope(np.hypot(staying, moved), envelope.rate)


def add_hit(envelope: Envelope, time: float, level: float | None = None, decay: float = DECAY_SEC) -> Envelope:
    """The envelope with one more hit at `time` (seconds), its power added to what is there.

    `level` is the linear RMS at its peak, by default the median of the envelope's own hits; `decay` the seconds until
    it is 20 dB down. Raises ValueError for a time outside the envelope.
    """
    _check_time(envelope, time)
    if level is None:
        level = float(np.median([hit.level for hit in find_hits(envelope)] or [USUAL_LEVEL]))
    struck = hit_levels(Hit(time, level, decay), np.arange(len(envelope.values)) / envelope.rate)
    return Envelope(np.hypot(envelope.values, struck), envelope.rate)


def remove_hit(envelope: Envelope, time: float) -> Envelope:
    """The envelope without the hit nearest to `time` (seconds): bridged until the next, or until it has died away.

    Raises ValueError, naming the hits there are, when none lies within 100 ms.
    """
    onsets = envelope.onsets()
    nearest = int(np.abs(onsets - time).argmin()) if len(onsets) else 0
    if not len(onsets) or not abs(onsets[nearest] - time) <= NEAR_SEC:
        there = ", ".join(f"{onset:.3f}" for onset in onsets) or "none"
        raise ValueError(f"no hit within {1000 * NEAR_SEC:g} ms of {time:g} s; there are: {there}")
    values, rate = envelope.values, envelope.rate
    first = _foot(envelope, onsets[nearest])
    last = _foot(envelope, onsets[nearest + 1]) if nearest + 1 < len(onsets) else len(values) - 1
    peak = first + int(values[first : min(last, first + round(2 * PEAK_SEC * rate)) + 1].argmax())
    low = np.flatnonzero(values[peak : last + 1] <= values[first])
    last = peak + int(low[0]) if len(low) else last
    bridge = np.linspace(values[first], min(values[first], values[last]), last - first + 1)
    bridged = values.copy()
    bridged[first : last + 1] = np.minimum(bridged[first : last + 1], bridge)
    return Envelope(bridged, rate)


def quantise(envelope: Envelope, frame_rate: float) -> Envelope:
    """The envelope with each onset on the nearest of the frames, which are 1 / `frame_rate` seconds apart.

    Time is stretched and squeezed between the onsets; attacks and the first decay keep their shape. Of two onsets at
    one frame the later goes to the next. Raises ValueError for a rate that is not positive.
    """
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ValueError(f"{frame_rate:g} frames per second: the rate must be positive")
    for _ in range(MAX_PASSES):
        onsets = envelope.onsets()
        moves = _frames(onsets, frame_rate) / frame_rate - onsets
        if not (np.abs(moves) > ON_FRAME_SEC).any():
            break
        envelope = _warped(envelope, onsets, moves)
    return envelope


def _frames(onsets: np.ndarray, frame_rate: float) -> np.ndarray:
    """Number of each onset's frame, every one later than the one before."""
    frames = np.round(onsets * frame_rate)
    for index in range(1, len(frames)):
        frames[index] = max(frames[index], frames[index - 1] + 1)
    return frames


def _warped(envelope: Envelope, onsets: np.ndarray, moves: np.ndarray) -> Envelope:
    """The envelope with `onsets` moved by `moves`, each with its surroundings: a third of the way to the next."""
    gaps = np.diff(onsets, prepend=0.0, append=max(envelope.seconds, float(onsets[-1])))
    before = np.minimum(WINDOW_SEC, gaps[:-1] / 3)
    after = np.minimum(PEAK_SEC, gaps[1:] / 3)
    there = np.stack([onsets - before, onsets + after], axis=1).ravel()
    where = there + np.repeat(moves, 2)
    there, where = (np.concatenate([[0.0], times, [envelope.seconds]]) for times in (there, where))
    clock = np.interp(np.arange(len(envelope.values)) / envelope.rate, np.maximum.accumulate(where), there)
    return Envelope(envelope.at(clock), envelope.rate)


def scale_peak(envelope: Envelope, peak: float) -> Envelope:
    """The envelope with one gain throughout, so that its largest level is `peak`; raises ValueError for silence."""
    top = float(envelope.values.max())
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"a peak of {peak:g}: it must be above 0")
    if top == 0:
        raise ValueError("the envelope is silent: no gain brings it to a peak")
    return Envelope(envelope.values.astype(np.float64) * (peak / top), envelope.rate)


def apply_edits(envelope: Envelope, edits: Iterable[Edit]) -> Envelope:
    """The envelope after `edits`, one on the other's result."""
    for edit in edits:
        envelope = edit(envelope)
    return envelope


def _region(envelope: Envelope, start: float, end: float) -> slice:
    """Indices of the values from `start` to `end`, the end excluded; a region up to the envelope's end holds it."""
    if not (0 <= start < end):
        raise ValueError(f"a region from {start:g} to {end:g} s: give a start of 0 or more, and a later end")
    _check_time(envelope, start)
    first = math.ceil(start * envelope.rate - 1e-6)
    if end >= envelope.seconds - 1e-9:
        return slice(first, None)
    return slice(first, math.ceil(end * envelope.rate - 1e-6))


def _check_time(envelope: Envelope, time: float) -> None:
    if not 0 <= time <= envelope.seconds + 1e-9:
        raise ValueError(f"{time:g} s lies outside the envelope, which lasts {envelope.seconds:.3f} s")


def _foot(envelope: Envelope, onset: float) -> int:
    """Index from which the level rises to the onset."""
    near = round(onset * envelope.rate)
    first = max(0, near - math.ceil((WINDOW_SEC + RISE_SEC) * envelope.rate))
    before = envelope.values[first : near + 1]
    return first + len(before) - 1 - int(before[::-1].argmin())
