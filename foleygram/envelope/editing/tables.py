"""Envelopes as tables: the curve, a level per time, or its hits as markers, a velocity per time."""

import csv
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foleygram.envelope.editing.hits import RATE, Hit, draw_hits, level_velocity, list_hits, velocity_level
from foleygram.envelope.editing.marker_files import premiere_hits, reaper_hits
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import LONGEST_SEC

EVEN = 1e-3
"""Rows are evenly spaced when no time is off by more than this share of a step."""
COLUMNS = "`time,level`, `time,velocity`, or the markers of Reaper (#,Name,Start) or Premiere (Marker Name, In)"


class _Row(NamedTuple):
    line: int
    cells: dict[str, str]


def parse_table(text: str, *, decay: float, frame_rate: float | None = None) -> Envelope:
    """The envelope of a table with the columns `time` and `level` (linear RMS), or `time` and `velocity`.

    Evenly spaced levels from time 0 on keep their rate; others are breakpoints, joined by straight lines, with silence
    before the first; a column `onset` lists the hits' exact times. A row with a velocity is a hit that is 20 dB down
    after `decay` seconds: its own column's, else the argument's. Tables of markers that Reaper and Premiere export are
    read too, Premiere's at `frame_rate`. Other columns are ignored. Raises ValueError naming the line and the value.
    """
    header, rows, decimal = _read_rows(text)
    if "time" in header and "level" in header:
        curve = _curve(rows, decimal)
        listed = [_number(row, "onset", decimal, LONGEST_SEC) for row in rows if row.cells.get("onset", "").strip()]
        return list_hits(curve, listed) if listed else curve
    if "time" in header and "velocity" in header:
        return draw_hits([_marker(row, decimal, decay) for row in rows])
    if {"#", "name", "start"} <= set(header):
        return draw_hits(reaper_hits(rows, decay))
    if {"marker name", "in"} <= set(header):
        return draw_hits(premiere_hits(rows, decay, frame_rate))
    raise ValueError(f"its columns are {', '.join(header) or 'none'}; it needs {COLUMNS}")


def curve_table(envelope: Envelope) -> str:
    """CSV with a row per value and, in the nearest row that is free, each onset's own time in the column `onset`."""
    onsets: dict[int, float] = {}
    for time in envelope.onsets():
        row = round(time * envelope.rate)
        while row in onsets:
            row += 1
        onsets[min(row, len(envelope.values) - 1)] = time
    lines = [
        f"{index / envelope.rate:.10g},{value:.9g},{f'{onsets[index]:.4f}' if index in onsets else ''}"
        for index, value in enumerate(envelope.values)
    ]
    return "\n".join(["time,level,onset", *lines, ""])


def marker_table(hits: Sequence[Hit]) -> str:
    """CSV with a row per hit: its time in seconds, its MIDI velocity, its decay in seconds."""
    lines = [f"{hit.time:.4f},{level_velocity(hit.level)},{hit.decay:.7g}" for hit in hits]
    return "\n".join(["time,velocity,decay", *lines, ""])


def _read_rows(text: str) -> tuple[list[str], list[_Row], str]:
    """Names of the columns, the rows, and the decimal sign: a comma where another sign separates the columns."""
    first = text.lstrip().partition("\n")[0]
    delimiter = next((sign for sign in ";\t" if sign in first), ",")
    try:
        reader = csv.reader(text.splitlines(), delimiter=delimiter)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(f"it is not a table ({error})") from None
    if len(lines) < 2:
        raise ValueError("it has no rows; write a line `time,level` or `time,velocity`, and a row for each time")
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
        raise ValueError(f"line {row.line}: {name} {text!r} is not a number")
    if not 0 <= value <= most:
        raise ValueError(f"line {row.line}: {name} {text} is outside 0 to {most:g}{_HINTS.get(name, '')}")
    return value


_HINTS = {"time": " seconds", "level": " (linear RMS, 1 is full scale)", "decay": " seconds"}


def _marker(row: _Row, decimal: str, decay: float) -> Hit:
    time, velocity = (_number(row, "time", decimal, LONGEST_SEC), _number(row, "velocity", decimal, 127.0))
    own = _number(row, "decay", decimal, 60.0) if row.cells.get("decay", "").strip() else decay
    try:
        return Hit(time, velocity_level(velocity), own)
    except ValueError as error:
        raise ValueError(f"line {row.line}: {error}") from None


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
