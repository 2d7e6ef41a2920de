"""Plot of a result: film strip, spectrogram of the generated sound, envelopes asked for and obtained, true hits.

Run: python -m benchmarks.demo.plot VIDEO SOUND OUT.png [--checkpoint checkpoints/mini]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from foleygram.benchmark.pairs import plain_stem
from foleygram.datasets.clip import Event, parse_events
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.librosa_kernels import load_librosa
from foleygram.files import atomic_path
from foleygram.media.audio import read_audio
from foleygram.pipeline.request import envelope_of_sound
from foleygram.production.film_strip import (
    DRAWN,
    LEFT,
    MUTED,
    RIGHT,
    WIDTH_IN,
    draw_strip,
    read_strip,
    strip_height,
)
from foleygram.production.video_envelope import predicted_envelope
from foleygram.spec import ClipSpec

SAMPLE_RATE = 16_000
FLOOR_DB = -70.0
FREQUENCIES_KHZ = (0.25, 0.5, 1, 2, 4, 8)
OBTAINED, HIT, SCRATCH = "#1d5f9e", "#222222", "#a02c5a"


def draw_result(
    video: Path, sound: Path, out: Path, *, followed: Envelope | None = None, events: Sequence[Event] = ()
) -> None:
    """Draw a video with the sound (any rate, mono taken) generated for it; the suffix of `out` names the format.

    `followed` is the envelope that steered the sound, `events` the true actions, both in seconds from the video's
    start. Raises MediaError when the video or the sound cannot be read.
    """
    strip = read_strip(video)
    audio = read_audio(sound, sample_rate=SAMPLE_RATE)[0]
    heights = [strip_height(strip), 2.1, 1.7]
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 1.75), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    top, spectrogram, curves = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.09}
    )
    bottom = 0.85 / figure.get_figheight()
    figure.subplots_adjust(left=LEFT, right=RIGHT, bottom=bottom, top=1 - 0.55 / figure.get_figheight())
    draw_strip(top, strip)
    _draw_spectrogram(spectrogram, audio)
    _draw_envelopes(curves, audio, followed)
    for axes in (spectrogram, curves):
        _draw_events(axes, events, on_dark=axes is spectrogram)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=MUTED, labelsize=9)
    curves.set_xlim(0, strip.seconds)
    _label(figure, curves, video, events)
    figure.align_ylabels([top, spectrogram, curves])
    with atomic_path(out) as temporary:
        figure.savefig(temporary)


def _draw_spectrogram(axes: Any, audio: Tensor) -> None:
    hop, num_bands = 64, 96
    librosa = load_librosa()
    power = librosa.feature.melspectrogram(
        y=audio.numpy(), sr=SAMPLE_RATE, n_fft=512, hop_length=hop, n_mels=num_bands, fmax=SAMPLE_RATE / 2
    )
    loudest = max(float(power.max()), 1e-6)  # silence stays black
    level = librosa.power_to_db(power, ref=loudest, amin=1e-14, top_db=-FLOOR_DB)
    box = (-0.5 * hop / SAMPLE_RATE, (power.shape[1] - 0.5) * hop / SAMPLE_RATE, -0.5, num_bands - 0.5)
    axes.imshow(level, extent=box, origin="lower", aspect="auto", cmap="magma", vmin=FLOOR_DB, vmax=0)
    bands_per_mel = (num_bands + 1) / librosa.hz_to_mel(SAMPLE_RATE / 2)
    places = [librosa.hz_to_mel(1000 * f) * bands_per_mel - 1 for f in FREQUENCIES_KHZ]
    axes.set_yticks(places, [f"{f:g}" for f in FREQUENCIES_KHZ])
    axes.set_facecolor("black")
    axes.set_ylim(-0.5, num_bands - 0.5)
    axes.set_ylabel("generated sound\n(kHz)", color=MUTED)


def _draw_envelopes(axes: Any, audio: Tensor, followed: Envelope | None) -> None:
    if followed is not None:
        values = np.asarray(followed.values)
        moments = np.arange(len(values)) / followed.rate
        axes.fill_between(moments, values, color=DRAWN, alpha=0.55, lw=0, label="envelope the model followed")
    obtained = envelope_of_sound(audio, SAMPLE_RATE, ClipSpec())
    values = np.asarray(obtained.values)
    moments = np.arange(len(values)) / obtained.rate
    axes.plot(moments, values, color=OBTAINED, lw=1.1, label="envelope of the generated sound")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    axes.set_ylabel("level (RMS)", color=MUTED)


def _draw_events(axes: Any, events: Sequence[Event], *, on_dark: bool) -> None:
    for action, colour, dashes in (("hit", HIT, (0, (4, 3))), ("scratch", SCRATCH, (0, (1, 1.5)))):
        moments = [event.time for event in events if (event.action == "scratch") == (action == "scratch")]
        for number, moment in enumerate(moments):
            axes.axvline(
                moment,
                color="white" if on_dark else colour,
                ls=dashes,
                lw=0.9,
                alpha=0.55 if on_dark else 0.9,
                label=f"true {action}" if number == 0 else None,
            )


def _label(figure: Figure, curves: Any, video: Path, events: Sequence[Event]) -> None:
    materials = ", ".join(dict.fromkeys(event.material for event in events if event.material))
    top = 1 - 0.33 / figure.get_figheight()
    figure.text(LEFT, top, plain_stem(video), weight="bold", size=11)
    figure.text(RIGHT, top, materials, size=10, color=MUTED, ha="right")
    curves.set_xlabel("seconds", color=MUTED)
    handles, labels = curves.get_legend_handles_labels()
    corner = (RIGHT, 0.0)
    figure.legend(handles, labels, loc="lower right", bbox_to_anchor=corner, ncols=4, frameon=False, fontsize=9)


def find_events(video: Path) -> list[Event]:
    """Events of the `_times.txt` beside a video, named as in Greatest Hits or after the video; or none."""
    path = video.with_name(f"{plain_stem(video)}_times.txt")
    return parse_events(path.read_text(), str(path)) if path.is_file() else []


def main(
    video: Annotated[Path, typer.Argument(help="The silent video.")],
    sound: Annotated[Path, typer.Argument(help="What was generated for it.")],
    out: Annotated[Path, typer.Argument(help="Image to write: .png, .svg or .pdf.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Release folder whose predicted envelope is drawn too.")
    ] = None,
) -> None:
    """Draw a result: frames, spectrogram, envelopes, and the true hits where a _times.txt lies beside the video."""
    try:
        followed = predicted_envelope(video, checkpoint) if checkpoint else None
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_result(video, sound, out, followed=followed, events=find_events(video))
    except (ValueError, OSError) as error:
        typer.echo(f"demo plot: {error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
