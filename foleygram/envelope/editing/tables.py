"""Envelopes as tables: the curve, a level per time, or its hits as markers, a velocity per time."""

import csv
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foleygram.envelope.editing.hits import RATE, Hit, draw_hits, level_velocity, velocity_level
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import LONGEST_SEC

USUAL_VELOCITY = 64
EVEN = 1e-3
"""Rows are evenly spaced when no time is off by more than this share of a step."""


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]


def parse_table(text: str, *, decay: float) -> Envelope:
    """The envelope of a table with the columns `time` and `level` (linear RMS), or `time` and `velocity`.

    Evenly spaced levels from time 0 on keep their rate; others are breakpoints, joined by straight lines, with silence
    before the first. A marker is a hit that is 20 dB down after `decay` seconds: its own column's, else the argument's.
    Reaper's table of markers is read as well: a name that ends in v1 to v127 tells the velocity, 64 where none does.
    Further columns are passed over. Raises ValueError naming the line and the value.
    """
    header, rows, decimal = _read_rows(text)
    if "time" in header and "level" in header:
        return _curve(rows, decimal)
    if "time" in header and "velocity" in header:
        return draw_hits([_marker(row, decimal, decay) for row in rows])
    if {"#", "name", "start"} <= set(header):
        return draw_hits([_reaper_marker(row, decay) for row in rows if row.cells["#"].strip()[:1].upper() != "R"])
    raise ValueError(f"its columns are {', '.join(header) or 'none'}; it needs `time,level` or `time,velocity`")


def curve_table(envelope: Envelope) -> str:
    """CSV with a row per value and, in the row nearest to it, each onset's own time in the column `onset`."""
    onsets = {round(time * envelope.rate): f"{time:.4f}" for time in envelope.onsets()}
    lines = [
        f"{index / envelope.rate:.10g},{value:.9g},{onsets.get(index, '')}"
        for index, value in enumerate(envelope.values)
    ]
    return "\n".join(["time,level,onset", *lines, ""])


def marker_table(hits: Sequence[Hit]) -> str:
    """CSV with a row per hit: its time in seconds, its MIDI velocity, its decay in seconds."""
    lines = [f"{hit.time:.4f},{level_velocity(hit.level)},{hit.decay:.7g}" for hit in hits]
    return "\n".join(["time,velocity,decay", *lines, ""])


def _read_rows(text: str) -> tuple[list[str], list[_Row], str]:
    """Names of the columns, the rows, and the decimal sign: a comma where something else parts the columns."""
    first = text.lstrip().partition("\n")[0]
    delimiter = next((sign for sign in ";\t" if sign in first), ",")
    try:
        reader = csv.reader(text.splitlines(), delimiter=delimiter)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(f"it is no table ({error})") from None
    if len(lines) < 2:
        raise ValueError("it holds no rows; write a line `time,level` or `time,velocity`, and a row for each time")
    header = [name.strip().lower() for name in lines[0][1]]
    rows = [_Row(line, dict(zip(header, cells, strict=False))) for line, cells in lines[1:]]
    return header, rows, "," if delimiter != "," else "."


def _number(row: _Row, name: str, decimal: str, most: float) -> float:
    """The cell `name` of a row, from 0 to `most`."""
    text = row.cells.get(name, "").strip()
    try:
        value = float(text.replace(decimal, "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"line {row.line}: {name} {text!r} is no number")
    if not 0 <= value <= most:
        raise ValueError(f"line {row.line}: {name} {text} lies outside 0 to {most:g}{_HINTS.get(name, '')}")
    return value


_HINTS = {"time": " seconds", "level": " (linear RMS, 1 is full scale)", "decay": " seconds"}


def _marker(row: _Row, decimal: str, decay: float) -> Hit:
    time, velocity = (_number(row, "time", decimal, LONGEST_SEC), _number(row, "velocity", decimal, 127.0))
    own = _number(row, "decay", decimal, 60.0) if row.cells.get("decay", "").strip() else decay
    try:
        return Hit(time, velocity_level(velocity), own)
    except ValueError as error:
        raise ValueError(f"line {row.line}: {error}") from None


def _reaper_marker(row: _Row, decay: float) -> Hit:
    """A marker of Reaper's, whose ruler shows seconds, minutes or hours."""
    text = row.cells.get("start", "").strip()
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise ValueError(f"line {row.line}: start {text!r} is no time; set Reaper's ruler to minutes and seconds")
    time = sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))
    told = re.search(r"\bv(\d+)$", row.cells.get("name", "").strip())
    cells = {"time": str(time), "velocity": told[1] if told else str(USUAL_VELOCITY)}
    return _marker(_Row(row.line, cells), ".", decay)


def _curve(rows: Sequence[_Row], decimal: str) -> Envelope:
    times = np.array([_number(row, "time", decimal, LONGEST_SEC) for row in rows])
    levels = np.array([_number(row, "level", decimal, 1.0) for row in rows])
    if (np.diff(times) < 0).any():
        at = 1 + int((np.diff(times) < 0).argmax())
        before = f"{times[at - 1]:g} of the row above"
        raise ValueError(f"line {rows[at].line}: time {times[at]:g} comes before {before}; sort the rows")
    if len(times) == 1:
        if times[0] > 0:
            raise ValueError(f"a curve of one row, at {times[0]:g} s; for a hit write `time,velocity`")
        return Envelope(levels, RATE)
    rate = float(f"{(len(times) - 1) / max(times[-1], 1e-9):.9g}")
    if np.abs(times * rate - np.arange(len(times))).max() <= EVEN:
        return Envelope(levels, rate)
    grid = np.arange(math.floor(times[-1] * RATE + 1e-6) + 1) / RATE
    return Envelope(np.interp(grid, times, levels, left=0.0), RATE)
