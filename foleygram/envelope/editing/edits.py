"""Edits: functions from an envelope to an envelope, which compose; they keep the times of its hits exact."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from foleygram.envelope.editing.hits import DECAY_SEC, FULL_LEVEL, WINDOW_SEC, Hit, HitEnvelope, find_hits, hit_levels
from foleygram.envelope.envelope import MIN_GAP_SEC, PEAK_SEC, RISE_SEC, Envelope

Edit = Callable[[Envelope], Envelope]

NEAR_SEC = 0.1
"""`remove_hit` and `move_hit` take the nearest hit within this time."""
DEFAULT_LEVEL = FULL_LEVEL / 4
"""Level of an added hit in an envelope without hits: velocity 64."""


def gain(envelope: Envelope, decibels: float, start: float = 0.0, end: float = math.inf) -> HitEnvelope:
    """The envelope with its levels from `start` to `end` (seconds, the end excluded) raised by `decibels`."""
    if not math.isfinite(decibels):
        raise ValueError(f"a gain of {decibels} dB: it must be finite; to silence a region, mute it")
    factor = 10 ** (decibels / 20)
    values = envelope.values.astype(np.float64)
    values[_region(envelope, start, end)] *= factor
    hits = [
        Hit(hit.time, hit.level * factor, hit.decay) if start <= hit.time < end else hit for hit in find_hits(envelope)
    ]
    return _edited(envelope, values, hits)


def mute(envelope: Envelope, start: float, end: float) -> HitEnvelope:
    """The envelope with silence from `start` to `end`, in seconds, the end excluded."""
    values = envelope.values.copy()
    values[_region(envelope, start, end)] = 0.0
    return _edited(envelope, values, [hit for hit in find_hits(envelope) if not start <= hit.time < end])


def shift(envelope: Envelope, seconds: float, start: float = 0.0, end: float = math.inf) -> HitEnvelope:
    """The envelope with the part from `start` to `end` moved by `seconds` (later where positive).

    It leaves silence behind and adds its power to what is there; what passes the envelope's ends is lost.
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
    times = [(hit.time + seconds if start <= hit.time < end else hit.time, hit) for hit in find_hits(envelope)]
    hits = [Hit(time, hit.level, hit.decay) for time, hit in times if 0 <= time <= envelope.seconds]
    return _edited(envelope, np.hypot(staying, moved), hits)


def add_hit(envelope: Envelope, time: float, level: float | None = None, decay: float = DECAY_SEC) -> HitEnvelope:
    """The envelope with one more hit at `time` (seconds), its power added to what is there.

    `level` is the linear RMS at its peak, by default the median of the envelope's own hits; `decay` the seconds until
    it is 20 dB down. Raises ValueError for a time outside the envelope.
    """
    _check_time(envelope, time)
    hits = find_hits(envelope)
    if level is None:
        level = float(np.median([hit.level for hit in hits] or [DEFAULT_LEVEL]))
    added = Hit(time, level, decay)
    struck = hit_levels(added, np.arange(len(envelope.values)) / envelope.rate)
    return _edited(envelope, np.hypot(envelope.values, struck), [*hits, added])


def remove_hit(envelope: Envelope, time: float) -> HitEnvelope:
    """The envelope without the hit nearest to `time` (seconds): bridged until the next, or until it has died away.

    Raises ValueError, naming the hits there are, when none is within 100 ms.
    """
    hits = find_hits(envelope)
    index = _nearest_hit(hits, time)
    return _edited(envelope, _without_hit(envelope, hits, index), [hit for i, hit in enumerate(hits) if i != index])


def move_hit(envelope: Envelope, time: float, to: float, level: float | None = None) -> HitEnvelope:
    """The envelope with the hit nearest to `time` moved to `to` (seconds), and its peak to `level` (linear RMS).

    What moves is the power by which the envelope exceeds the one without the hit. Raises ValueError if no hit is within
    100 ms of `time`, or `to` is outside the envelope.
    """
    _check_time(envelope, to)
    hits = find_hits(envelope)
    index = _nearest_hit(hits, time)
    hit = hits[index]
    moved = Hit(to, hit.level if level is None else level, hit.decay)
    rest = _without_hit(envelope, hits, index).astype(np.float64)
    own = Envelope(np.sqrt(np.maximum(envelope.values.astype(np.float64) ** 2 - rest**2, 0)), envelope.rate)
    struck = own.at(np.arange(len(rest)) / envelope.rate - (to - hit.time)) * (moved.level / hit.level)
    return _edited(envelope, np.hypot(rest, struck), [moved if i == index else h for i, h in enumerate(hits)])


def draw(envelope: Envelope, points: Sequence[tuple[float, float]]) -> HitEnvelope:
    """The envelope with straight lines through `points`, (seconds, linear RMS), from the first to the last.

    Raises ValueError for fewer than two points, times that do not ascend or leave the envelope, or negative levels.
    """
    times, levels = np.array(points, np.float64).reshape(-1, 2).T
    if len(times) < 2 or not np.isfinite(points).all() or (np.diff(times) <= 0).any() or (levels < 0).any():
        raise ValueError(f"{len(times)} points: give two or more with ascending times and levels of 0 or more")
    _check_time(envelope, float(times[0]))
    _check_time(envelope, float(times[-1]))
    clock = np.arange(len(envelope.values)) / envelope.rate
    inside = (clock >= times[0] - 1e-9) & (clock <= times[-1] + 1e-9)
    values = np.where(inside, np.interp(clock, times, levels), envelope.values)
    return _edited(envelope, values, [hit for hit in find_hits(envelope) if not times[0] <= hit.time <= times[-1]])


def _nearest_hit(hits: Sequence[Hit], time: float) -> int:
    """Index of the hit nearest to `time`; raises ValueError, naming the hits there are, if none is within 100 ms."""
    nearest = min(range(len(hits)), key=lambda index: abs(hits[index].time - time), default=-1)
    if nearest < 0 or not abs(hits[nearest].time - time) <= NEAR_SEC:
        there = ", ".join(f"{hit.time:.3f}" for hit in hits) or "none"
        raise ValueError(f"no hit within {1000 * NEAR_SEC:g} ms of {time:g} s; there are: {there}")
    return nearest


def _without_hit(envelope: Envelope, hits: Sequence[Hit], index: int) -> np.ndarray:
    """Values (n,) without a hit: bridged until the next, or until it has died away."""
    values, rate = envelope.values, envelope.rate
    first = _foot(envelope, hits[index].time)
    last = _foot(envelope, hits[index + 1].time) if index + 1 < len(hits) else len(values) - 1
    peak = first + int(values[first : max(first, min(last, first + round(2 * PEAK_SEC * rate))) + 1].argmax())
    low = np.flatnonzero(values[peak : last + 1] <= values[first])
    last = max(first, peak + int(low[0]) if len(low) else last)
    bridge = np.linspace(values[first], min(values[first], values[last]), last - first + 1)
    bridged = values.copy()
    bridged[first : last + 1] = np.minimum(bridged[first : last + 1], bridge)
    return bridged


def quantise(envelope: Envelope, frame_rate: float) -> HitEnvelope:
    """The envelope with each hit on the nearest of the frames, which are 1 / `frame_rate` seconds apart.

    Time is stretched and squeezed between the hits; attacks and the first decay keep their shape. Of two hits at
    one frame the later goes to the next. Raises ValueError for a rate that is not positive.
    """
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ValueError(f"{frame_rate:g} frames per second: the rate must be positive")
    hits = find_hits(envelope)
    times = np.array([hit.time for hit in hits])
    frames = np.round(times * frame_rate)
    for index in range(1, len(frames)):
        frames[index] = max(frames[index], frames[index - 1] + 1)
    moves = frames / frame_rate - times
    values = _warped(envelope, times, moves) if (np.abs(moves) > 1e-9).any() else envelope.values
    moved = [Hit(float(frame / frame_rate), hit.level, hit.decay) for frame, hit in zip(frames, hits, strict=True)]
    return HitEnvelope(values, envelope.rate, tuple(hit for hit in moved if hit.time <= envelope.seconds))


def _warped(envelope: Envelope, times: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Values with the hits at `times` moved by `moves`, each with its surroundings: a third of the way to the next."""
    gaps = np.diff(times, prepend=0.0, append=max(envelope.seconds, float(times[-1])))
    before = np.minimum(WINDOW_SEC, gaps[:-1] / 3)
    after = np.minimum(PEAK_SEC, gaps[1:] / 3)
    there = np.stack([times - before, times + after], axis=1).ravel()
    where = there + np.repeat(moves, 2)
    there, where = (np.concatenate([[0.0], ends, [envelope.seconds]]) for ends in (there, where))
    clock = np.interp(np.arange(len(envelope.values)) / envelope.rate, np.maximum.accumulate(where), there)
    return envelope.at(clock)


def scale_peak(envelope: Envelope, peak: float) -> HitEnvelope:
    """The envelope with one gain throughout, so that its largest level is `peak`; raises ValueError for silence."""
    top = float(envelope.values.max())
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"a peak of {peak:g}: it must be above 0")
    if top == 0:
        raise ValueError("the envelope is silent: no gain brings it to a peak")
    return gain(envelope, 20 * math.log10(peak / top))


def apply_edits(envelope: Envelope, edits: Iterable[Edit]) -> Envelope:
    """The envelope after `edits`, each applied to the result of the one before."""
    for edit in edits:
        envelope = edit(envelope)
    return envelope


def _edited(envelope: Envelope, values: np.ndarray, hits: Iterable[Hit]) -> HitEnvelope:
    """`values` with `hits` where they still sound, and the onsets that an edit's edge made in the curve."""
    curve = Envelope(values, envelope.rate)
    around = math.ceil(2 * WINDOW_SEC * envelope.rate)
    remaining = []
    for hit in hits:
        near = round(hit.time * envelope.rate)
        if curve.values[max(0, near - 1) : near + around].any():
            remaining.append(hit)
    known = np.array([hit.time for hit in remaining])
    new = [hit for hit in find_hits(curve) if not (np.abs(known - hit.time) < MIN_GAP_SEC / 2).any()]
    before = find_hits(Envelope(envelope.values, envelope.rate)) if new else []
    new = [hit for hit in new if all(abs(hit.time - old.time) > 1e-6 for old in before)]
    return HitEnvelope(curve.values, curve.rate, tuple(sorted([*remaining, *new], key=lambda hit: hit.time)))


def _region(envelope: Envelope, start: float, end: float) -> slice:
    """Indices of the values from `start` to `end`, the end excluded; a region up to the envelope's end includes it."""
    if not (0 <= start < end):
        raise ValueError(f"a region from {start:g} to {end:g} s: give a start of 0 or more, and a later end")
    _check_time(envelope, start)
    first = math.ceil(start * envelope.rate - 1e-6)
    if end >= envelope.seconds - 1e-9:
        return slice(first, None)
    return slice(first, math.ceil(end * envelope.rate - 1e-6))


def _check_time(envelope: Envelope, time: float) -> None:
    if not 0 <= time <= envelope.seconds + 1e-9:
        raise ValueError(f"{time:g} s is outside the envelope, which lasts {envelope.seconds:.3f} s")


def _foot(envelope: Envelope, onset: float) -> int:
    """Index from which the level rises to the onset."""
    near = round(onset * envelope.rate)
    first = max(0, near - math.ceil((WINDOW_SEC + RISE_SEC) * envelope.rate))
    before = envelope.values[first : near + 1]
    return first + len(before) - 1 - int(before[::-1].argmin())
