"""Edits as command options, such as `--mute 1.0:1.5`: from text to a function."""

import math
from collections.abc import Callable
from fractions import Fraction

from foleygram.envelope.editing.edits import (
    Edit,
    add_hit,
    draw,
    gain,
    move_hit,
    mute,
    quantise,
    remove_hit,
    scale_peak,
    shift,
)
from foleygram.envelope.editing.hits import DECAY_SEC, Hit

MOST_DECIBELS, HIGHEST_FRAME_RATE = 200, 1000
"""Larger numbers are refused as typing errors."""


def parse_edit(name: str, text: str) -> Edit:
    """The edit of a command's option `--NAME TEXT`; `FORMS` shows how each is written.

    Raises ValueError naming the option, what was written and an example.
    """
    if name not in _PARSERS:
        raise ValueError(f"unknown edit {name!r}; there are {', '.join(_PARSERS)}")
    try:
        return _PARSERS[name](text)
    except ValueError as error:
        raise ValueError(f"--{name} {text}: {error}; write {FORMS[name]}") from None


def _parse_gain(text: str) -> Edit:
    *region, decibels = text.split(":")
    start, end = _parse_region(region) if region else (0.0, math.inf)
    amount = _decibels(decibels)
    return lambda envelope: gain(envelope, amount, start, end)


def _parse_mute(text: str) -> Edit:
    start, end = _parse_region(text.split(":"))
    return lambda envelope: mute(envelope, start, end)


def _parse_shift(text: str) -> Edit:
    *region, move = text.split(":")
    start, end = _parse_region(region) if region else (0.0, math.inf)
    if not move.strip().endswith("s"):
        raise ValueError(f"{move!r} has no unit")
    seconds = _seconds(move)
    return lambda envelope: shift(envelope, seconds, start, end)


def _parse_add_hit(text: str) -> Edit:
    time, level, decay = _fields(text, 1, 3)
    hit = Hit(_seconds(time), _level(level) if level else 1.0, _seconds(decay) if decay else DECAY_SEC)
    return lambda envelope: add_hit(envelope, hit.time, hit.level if level else None, hit.decay)


def _parse_remove_hit(text: str) -> Edit:
    time = _seconds(text)
    return lambda envelope: remove_hit(envelope, time)


def _parse_move_hit(text: str) -> Edit:
    time, to, level = _fields(text, 2, 3)
    moved = Hit(_seconds(to), _level(level) if level else 1.0)
    there = _seconds(time)
    return lambda envelope: move_hit(envelope, there, moved.time, moved.level if level else None)


def _parse_draw(text: str) -> Edit:
    pairs = [_fields(point, 2, 2) for point in text.split(",")]
    points = [(_seconds(time), 0.0 if level.strip() in ("0", "0.0") else _level(level)) for time, level in pairs]
    return lambda envelope: draw(envelope, points)


def _parse_quantise(text: str) -> Edit:
    try:
        frame_rate = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{text!r} is not a frame rate") from None
    if not 0 < frame_rate <= HIGHEST_FRAME_RATE:
        raise ValueError(f"a frame rate must be above 0 and at most {HIGHEST_FRAME_RATE}")
    return lambda envelope: quantise(envelope, frame_rate)


def _parse_scale_peak(text: str) -> Edit:
    peak = _level(text)
    return lambda envelope: scale_peak(envelope, peak)


_PARSERS: dict[str, Callable[[str], Edit]] = {
    "gain": _parse_gain,
    "mute": _parse_mute,
    "shift": _parse_shift,
    "add-hit": _parse_add_hit,
    "remove-hit": _parse_remove_hit,
    "move-hit": _parse_move_hit,
    "draw": _parse_draw,
    "quantise": _parse_quantise,
    "scale-peak": _parse_scale_peak,
}
FORMS = {
    "gain": "START:END:DECIBELS, as 2:3:-6dB, or -6dB for all of it",
    "mute": "START:END in seconds, as 1.0:1.5",
    "shift": "120ms or -0.12s, for a region START:END:120ms",
    "add-hit": "TIME, TIME:LEVEL or TIME:LEVEL:DECAY, as 2.4:0.1, 2.4:-20dB or 2.4:0.1:80ms",
    "remove-hit": "TIME in seconds, as 1.1",
    "move-hit": "TIME:TO or TIME:TO:LEVEL, as 1.1:1.25 or 1.1:1.1:-20dB",
    "draw": "TIME:LEVEL,TIME:LEVEL and so on, as 1.0:0,1.2:-20dB,1.5:0",
    "quantise": "FRAMES PER SECOND, as 30 or 24000/1001",
    "scale-peak": "LEVEL, as 0.3 or -10dB",
}
"""The form of each edit, by its option's name."""


def _fields(text: str, least: int, most: int) -> list[str]:
    parts = text.split(":")
    if not least <= len(parts) <= most:
        raise ValueError(f"{len(parts)} parts")
    return parts + [""] * (most - len(parts))


def _parse_region(parts: list[str]) -> tuple[float, float]:
    """START:END; an empty start is 0, an empty end the envelope's."""
    if len(parts) != 2:
        raise ValueError("a region has a start and an end")
    start = _seconds(parts[0]) if parts[0].strip() else 0.0
    end = _seconds(parts[1]) if parts[1].strip() else math.inf
    if not 0 <= start < end:
        raise ValueError("the end must come after the start, and the start must not be negative")
    return start, end


def _number(text: str, unit: str) -> float:
    try:
        value = float(text.strip().removesuffix(unit))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number" + (f" of {unit}" if unit else ""))
    return value


def _seconds(text: str) -> float:
    return _number(text, "ms") / 1000 if text.strip().endswith("ms") else _number(text, "s")


def _decibels(text: str) -> float:
    if not text.strip().lower().endswith("db"):
        raise ValueError(f"{text!r} has no unit dB")
    decibels = _number(text.strip()[:-2], "")
    if abs(decibels) > MOST_DECIBELS:
        raise ValueError(f"{text.strip()} is beyond {MOST_DECIBELS} dB")
    return decibels


def _level(text: str) -> float:
    level = 10 ** (_decibels(text) / 20) if text.strip().lower().endswith("db") else _number(text, "")
    if not 0 < level <= 1:
        raise ValueError(f"a level of {level:g} is not between 0 and 1 (0 dB)")
    return level
