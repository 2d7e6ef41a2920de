"""Plots of findings as SVG: dots with intervals, lines against what was asked for, histograms."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from foleygram.benchmark.intervals import Interval

BLUE, ORANGE, RED, INK, SOFT, LINE = "#1d5f9e", "#d98a1f", "#a02c5a", "#1f2328", "#656b73", "#d9d5cc"
WIDTH_IN, PANEL_IN = 9.6, 2.3


def draw_dots(
    panels: Mapping[str, Mapping[str, float | None]],
    intervals: Mapping[str, Mapping[str, Interval]],
    *,
    marked: Sequence[str] = (),
) -> str:
    """One panel per metric, one line per name: a dot and its interval; `marked` names in another colour."""
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    figure = _figure(0.32 * len(names) + 0.9)
    for number, (label, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for row, name in enumerate(names):
            value, colour = values.get(name), ORANGE if name in marked else BLUE
            if value is None:
                continue
            if name in intervals.get(label, {}):
                axes.plot(intervals[label][name], (row, row), color=colour, lw=2.2, alpha=0.4, solid_capstyle="round")
            axes.plot([value], [row], "o", color=colour, ms=5.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
        axes.set_title(label, size=9.5, color=INK, loc="left")
        axes.grid(axis="x", color=LINE, lw=0.6)
        _plain(axes)
    return _svg(figure)


def draw_lines(
    panels: Mapping[str, Sequence[float | None]],
    at: Sequence[float],
    *,
    xlabel: str,
    wanted: Sequence[str] = (),
    intervals: Mapping[str, Sequence[Interval | None]] | None = None,
) -> str:
    """One panel per metric against the values `at`, with its `intervals`; panels in `wanted` get the identity line."""
    figure = _figure(PANEL_IN + 0.4)
    for number, (label, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        axes.plot(at, [math.nan if v is None else v for v in values], "o-", color=BLUE, ms=5, lw=1.5)
        for place, interval in zip(at, (intervals or {}).get(label, ()), strict=False):
            if interval is not None:
                axes.plot((place, place), interval, color=BLUE, lw=2.2, alpha=0.4, solid_capstyle="round")
        if label in wanted:
            axes.plot(at, at, color=ORANGE, lw=1.2, ls=(0, (4, 3)), zorder=0)
        axes.set_title(label, size=9.5, color=INK, loc="left")
        axes.set_xlabel(xlabel, color=SOFT, size=9)
        axes.grid(color=LINE, lw=0.6)
        _plain(axes)
    return _svg(figure)


def draw_histograms(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    labels: tuple[str, str],
    span: tuple[float, float] = (0.0, 1.0),
) -> str:
    """One panel per name with two histograms over `span`, each of area 1, of values (n,) and (m,)."""
    columns = 4 if len(panels) > 3 else len(panels)
    rows = -(-len(panels) // columns)
    figure = _figure(1.45 * rows + 0.6)
    edges = np.linspace(*span, 41).tolist()
    for number, (name, pair) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        for values, colour, label in zip(pair, (BLUE, ORANGE), labels, strict=True):
            axes.hist(values, edges, density=True, color=colour, alpha=0.6, label=label)
        axes.set_title(name, size=9, color=INK, loc="left")
        axes.set_yticks([])
        axes.set_xlim(*span)
        _plain(axes)
        if number < len(panels) - columns:
            axes.set_xticklabels([])
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    return _svg(figure)


def _figure(height_in: float) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasSVG(figure)
    return figure


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=2.5)
    axes.patch.set_alpha(0)


def _svg(figure: Figure) -> str:
    """The plot as one SVG element, its text as text and its ids the same every time."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "foleygram", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
