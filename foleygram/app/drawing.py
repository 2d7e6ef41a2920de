"""SVG drawings of the page: film strip over envelope on one time axis; envelopes asked for and obtained."""

import math
from collections.abc import Sequence

import numpy as np

from foleygram.envelope.envelope import Envelope

WIDTH = 1000.0
STRIP_HEIGHT, CURVE_HEIGHT, AXIS_HEIGHT = 84.0, 150.0, 22.0
GAP = 6.0
CARD_WIDTH, CARD_HEIGHT = 320.0, 90.0
MIN_FRAMES, MAX_FRAMES = 4, 24
MAX_POINTS = 1000
MIN_TOP = 0.01
"""Smallest range of the level axis, linear RMS, so that silence is drawn flat."""
NUM_TICKS = 10
LABEL_WIDTH = 46.0
"""Onsets closer together than this are drawn without the time of the later one."""


def num_strip_frames(width: int, height: int) -> int:
    """Number of frames of `width` x `height` that fill the film strip without being stretched."""
    return min(MAX_FRAMES, max(MIN_FRAMES, round(WIDTH / (STRIP_HEIGHT * width / height))))


def draw_timeline(
    frames: Sequence[str],
    seconds: float,
    envelope: Envelope,
    *,
    before: Envelope | None = None,
    region: tuple[float, float] | None = None,
) -> str:
    """Film strip over `envelope` with its onsets; `frames` are image URLs at equal intervals of `seconds`.

    `before` is the envelope before edits, drawn as a line; `region` the selection, in seconds.
    """
    top = max(MIN_TOP, *(float(curve.values.max()) for curve in (envelope, before) if curve is not None))
    floor = STRIP_HEIGHT + GAP + CURVE_HEIGHT
    cell = WIDTH / len(frames)
    parts = [
        f'<image href="{frame}" x="{number * cell + 0.5:.2f}" y="0" width="{cell - 1:.2f}" height="{STRIP_HEIGHT:g}" '
        'preserveAspectRatio="none"/>'
        for number, frame in enumerate(frames)
    ]
    box = (0.0, STRIP_HEIGHT + GAP, WIDTH, CURVE_HEIGHT)
    parts.append(_rectangle("ground", *box))
    parts.append(f'<path class="asked" d="{_area(envelope, seconds, top, box)}"/>')
    if before is not None:
        parts.append(f'<path class="before" d="{_line(before, seconds, top, box)}"/>')
    parts += _onsets(envelope.onsets(), seconds, floor)
    parts += _axis(seconds, floor)
    parts.append(f'<text class="level" x="4" y="{STRIP_HEIGHT + GAP + 13:g}">{_decibels(top)}</text>')
    if region is not None:
        start, end = (min(max(time / seconds, 0.0), 1.0) * WIDTH for time in region)
        parts.append(_rectangle("region", start, 0.0, max(end - start, 1.5), floor))
    label = f"Film strip and envelope of {seconds:.2f} seconds with {len(envelope.onsets())} onsets"
    return _svg(parts, WIDTH, floor + AXIS_HEIGHT, "timeline", label, seconds)


def draw_take(asked: Envelope, obtained: Envelope, seconds: float) -> str:
    """The envelope asked for, filled, and the one obtained, as a line."""
    top = max(MIN_TOP, float(asked.values.max()), float(obtained.values.max()))
    box = (0.0, 0.0, CARD_WIDTH, CARD_HEIGHT)
    parts = [
        _rectangle("ground", *box),
        f'<path class="asked" d="{_area(asked, seconds, top, box)}"/>',
        f'<path class="obtained" d="{_line(obtained, seconds, top, box)}"/>',
    ]
    return _svg(parts, CARD_WIDTH, CARD_HEIGHT, "curves", "Envelopes asked for and obtained", seconds)


def _svg(parts: Sequence[str], width: float, height: float, kind: str, label: str, seconds: float) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" '
        f'data-seconds="{seconds:.6f}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _rectangle(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>'


def _points(envelope: Envelope, seconds: float, top: float, box: tuple[float, float, float, float]) -> np.ndarray:
    """Points (n, 2) of the curve in `box` (x, y, width, height); at most `MAX_POINTS`, the maximum of each interval."""
    x, y, width, height = box
    kept = envelope.values[: math.floor(seconds * envelope.rate + 1e-6) + 1]
    interval = -(-len(kept) // MAX_POINTS)
    first = np.arange(0, len(kept), interval)
    times = (first + (interval - 1) / 2) / envelope.rate
    levels = np.maximum.reduceat(kept, first)
    across = x + np.minimum(times / seconds, 1.0) * width
    return np.stack([across, y + height * (1 - levels / top)], axis=1)


def _line(envelope: Envelope, seconds: float, top: float, box: tuple[float, float, float, float]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in _points(envelope, seconds, top, box))


def _area(envelope: Envelope, seconds: float, top: float, box: tuple[float, float, float, float]) -> str:
    points = _points(envelope, seconds, top, box)
    floor = box[1] + box[3]
    corners = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{points[0, 0]:.1f} {floor:.1f}L{corners}L{points[-1, 0]:.1f} {floor:.1f}Z"


def _onsets(onsets: np.ndarray, seconds: float, floor: float) -> list[str]:
    parts, labelled = [], -math.inf
    for time in onsets:
        x = time / seconds * WIDTH
        parts.append(f'<line class="onset" x1="{x:.2f}" y1="0" x2="{x:.2f}" y2="{floor:g}"/>')
        if x - labelled >= LABEL_WIDTH and x < WIDTH - LABEL_WIDTH:
            parts.append(f'<text class="time" x="{x + 4:.1f}" y="{STRIP_HEIGHT + GAP + 28:g}">{time:.2f}</text>')
            labelled = x
    return parts


def _axis(seconds: float, floor: float) -> list[str]:
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300) if seconds / s <= NUM_TICKS), 600)
    parts = []
    for number in range(math.floor(seconds / step + 1e-6) + 1):
        x = number * step / seconds * WIDTH
        anchor = "start" if number == 0 else "end" if x > WIDTH - 12 else "middle"
        parts.append(f'<line class="tick" x1="{x:.1f}" y1="{floor:g}" x2="{x:.1f}" y2="{floor + 4:g}"/>')
        label = f"{number * step:g} s" if number == 0 else f"{number * step:g}"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 17:g}" text-anchor="{anchor}">{label}</text>')
    return parts


def _decibels(level: float) -> str:
    return f"{round(20 * math.log10(level)) + 0} dB".replace("-", "−")
