"""Draws a video as a film strip with its envelope beneath, before and after edits."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.files import atomic_path
from foleygram.media.isolate import run_isolated, time_limit
from foleygram.media.video import probe, read_frames, segment_middles

NUM_FRAMES, FRAME_SIZE = 9, 240
WIDTH_IN, LEFT, RIGHT = 11.0, 0.075, 0.985
DRAWN, BEFORE, ONSET, MUTED = "#e8a33d", "#5b84b1", "#222222", "#555555"
LABELLED = 24
"""Onsets are labelled with their times up to this many; more would overlap."""


class FilmStrip(NamedTuple):
    """Frames at the middles of equal parts of a video."""

    times: np.ndarray
    """(N,) times of the frames, in seconds."""
    frames: Tensor
    """uint8 (N, 3, height, width), as a player shows them: upright, with square pixels."""
    seconds: float


def read_strip(video: Path) -> FilmStrip:
    """The film strip of a video; raises MediaError if it cannot be read."""
    info = probe(video)
    times = segment_middles(0.0, info.duration_sec, NUM_FRAMES)
    # One by one, so that the frames between them are not decoded.
    frames = torch.cat([read_frames(video, time, size=FRAME_SIZE, squash=False).frames for time in times[:, None]])
    return FilmStrip(times, frames, info.duration_sec)


def strip_height(strip: FilmStrip) -> float:
    """Height in inches that keeps the frames' aspect in a figure `WIDTH_IN` wide."""
    height, width = strip.frames.shape[-2:]
    return WIDTH_IN * (RIGHT - LEFT) / NUM_FRAMES * height / width


def draw_strip(axes: Any, strip: FilmStrip) -> None:
    """Draw the frames side by side on a time axis, each centred on its time."""
    shade = {"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5}
    half = strip.seconds / NUM_FRAMES / 2 * 0.97
    for time, frame in zip(strip.times, strip.frames, strict=True):
        box = (time - half, time + half, 0, 1)
        axes.imshow(frame.permute(1, 2, 0).numpy(), extent=box, aspect="auto", interpolation="lanczos")
        axes.text(time, 0.03, f"{time:.2f} s", color="white", size=7.5, ha="center", va="bottom", bbox=shade)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("video", color=MUTED)
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)


def draw_envelope(video: Path, envelope: Envelope, out: Path, *, before: Envelope | None = None) -> None:
    """Draw an envelope and its onsets under the video's film strip into `out`, in the format of its suffix.

    `before` is the envelope before edits, drawn as a line. Raises MediaError if the video cannot be read, ValueError
    for an unknown format.
    """
    strip: FilmStrip = run_isolated(read_strip, video, timeout_sec=time_limit(envelope.seconds))
    height = strip_height(strip)
    figure = Figure(figsize=(WIDTH_IN, height + 2.0 + 1.3), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    top, curve = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [height, 2.0], "hspace": 0.16})
    total = figure.get_figheight()
    figure.subplots_adjust(left=LEFT, right=RIGHT, bottom=0.75 / total, top=1 - 0.4 / total)
    draw_strip(top, strip)
    _draw_curve(curve, envelope, before)
    curve.set_xlim(0, strip.seconds)
    figure.text(LEFT, 1 - 0.25 / total, video.name, weight="bold", size=11)
    figure.legend(loc="lower right", bbox_to_anchor=(RIGHT, 0.0), ncols=3, frameon=False, fontsize=9)
    figure.align_ylabels([top, curve])
    with atomic_path(out) as temporary:
        try:
            figure.savefig(temporary)
        except ValueError as error:
            raise ValueError(f"{out}: cannot be drawn ({error}); use .png, .svg or .pdf") from None


def _draw_curve(axes: Any, envelope: Envelope, before: Envelope | None) -> None:
    clock = np.arange(len(envelope.values)) / envelope.rate
    axes.fill_between(clock, envelope.values, color=DRAWN, alpha=0.55, lw=0, label="envelope")
    axes.plot(clock, envelope.values, color=DRAWN, lw=1.2)
    if before is not None:
        axes.plot(
            np.arange(len(before.values)) / before.rate,
            before.values,
            color=BEFORE,
            lw=1,
            ls="--",
            label="before edits",
        )
    highest = max(float(curve.values.max()) for curve in (envelope, before) if curve is not None)
    axes.set_ylim(0, 1.15 * max(highest, 1e-3))
    onsets = envelope.onsets()
    for number, onset in enumerate(onsets):
        axes.axvline(onset, color=ONSET, lw=0.9, ls=(0, (4, 3)), label="onset" if number == 0 else None)
        if len(onsets) <= LABELLED:
            spot = {"xy": (onset, 1), "xycoords": ("data", "axes fraction"), "xytext": (0, 2)}
            axes.annotate(f"{onset:.3f}", **spot, textcoords="offset points", ha="center", size=7.5, color=MUTED)
    axes.set_ylabel("level (RMS)", color=MUTED)
    axes.set_xlabel("seconds", color=MUTED)
    axes.locator_params(axis="y", nbins=4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=9)
