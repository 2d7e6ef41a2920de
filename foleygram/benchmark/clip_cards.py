"""Cards of clips for the report page: spectrogram, envelopes, onsets and a player for each sound."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from matplotlib.image import imsave
from torch import Tensor

from foleygram.benchmark.pairs import Remarks, SoundPair, isolate_unless_sound_file, read_pair
from foleygram.benchmark.report import Report, cell
from foleygram.evaluation.envelopes import ENVELOPE_RATE, clip_envelope
from foleygram.evaluation.librosa_kernels import load_librosa
from foleygram.evaluation.onsets import detect_onsets, peak
from foleygram.evaluation.scores import ScoredClip
from foleygram.evaluation.statistics import Row, summarise
from foleygram.media.audio import read_audio, sound_rate

NUM_BANDS, FLOOR_DB, MAX_COLUMNS = 80, -70.0, 900
MAX_CONDITIONS = 2
"""Conditions shown of a clip, beside the reference; the other sounds are in the folder of sounds."""
WIDTH, SPECTRUM, CURVE = 1000, 130, 90
HEIGHT = SPECTRUM + CURVE
VALUES = {
    "envelope correlation": "envelope_correlation",
    "lag, ms": "lag_ms",
    "E-L1": "envelope_l1",
    "leak, dB": "leak_db",
    "material, by the judge": "classified_as",
}


@dataclass(frozen=True)
class Plot:
    """A sound drawn: its spectrogram as a data URI, envelopes as SVG paths, onsets as x in the drawing."""

    seconds: float
    spectrogram: str
    target: str
    obtained: str
    annotated: list[float]
    detected: list[float]
    ticks: list[float]
    """Seconds that the time axis names."""
    width: int = WIDTH
    height: int = HEIGHT
    spectrum_height: int = SPECTRUM


class CardSound(NamedTuple):
    """One sound of a card: its name, the sound as a data URI, labelled values, and its plot."""

    name: str
    player: str
    values: list[tuple[str, str]]
    plot: Plot


class ClipCard(NamedTuple):
    """A clip on the page: title, facts and sounds."""

    title: str
    facts: str
    sounds: list[CardSound]


class Chosen(NamedTuple):
    """The best clips, best first, and the worst clips, worst first; no clip is in both."""

    best: list[Row]
    worst: list[Row]


def shown_conditions(report: Report) -> list[str]:
    """The first few conditions whose inputs come from their own clip only; without the references."""
    return [name for name in list(report.scores)[1:] if name not in report.borrowed][:MAX_CONDITIONS]


def choose_clips(rows: Sequence[Row], num_clips: int) -> Chosen:
    """Half of `num_clips` from the top and half from the bottom, by onset F1 at 50 ms, then by correlation."""
    ordered = sorted(rows, key=_quality, reverse=True)
    if len(ordered) > num_clips:
        top = -(-num_clips // 2)
        return Chosen(ordered[:top], ordered[::-1][: num_clips - top])
    top = -(-len(ordered) // 2)
    return Chosen(ordered[:top], ordered[: top - 1 : -1] if top else [])


def _quality(row: Row) -> tuple[float, float, str]:
    f1, correlation = onset_f1(row), row.get("envelope_correlation")
    number = float(correlation) if isinstance(correlation, int | float) else 0.0
    return -1.0 if f1 is None else f1, number, str(row["video_id"])


def onset_f1(row: Row) -> float | None:
    """A clip's own onset F1 at 50 ms; None where nobody annotated it."""
    return summarise([row]).get("onset_f1_50")


def clip_card(report: Report, row: Row) -> ClipCard | None:
    """A clip's card: the reference, then its sound in each condition; None where no file can be read."""
    readable = [(name, *found) for name in shown_conditions(report) if (found := _read(report, name, row)) is not None]
    if not readable:
        return None
    _, pair, first = readable[0]
    sounds = [first.reference, *(clip.generated for _, _, clip in readable)]
    top = max(1e-6, *(float(clip_envelope(sound, first.sample_rate).max()) for sound in sounds))
    truth = ScoredClip(**{**vars(first), "generated": first.reference})
    return ClipCard(
        title=pair.video_id + (f" at {pair.start:g} s" if pair.start else ""),
        facts=" · ".join(filter(None, [pair.material, pair.caption])),
        sounds=[
            CardSound("reference", _player(pair.reference), [], _plot(truth, top)),
            *(
                CardSound(report.marked(name), _player(own.generated), _values(report, name, row), _plot(clip, top))
                for name, own, clip in readable
            ),
        ],
    )


def _read(report: Report, name: str, row: Row) -> tuple[SoundPair, ScoredClip] | None:
    for pair in report.pairs.get(name, []):
        if (pair.video_id, pair.start) == (row["video_id"], row["start"]):
            clip = read_pair(pair, Remarks())
            return None if clip is None else (pair, clip)
    return None


def _values(report: Report, name: str, row: Row) -> list[tuple[str, str]]:
    """Labels and values of a clip in a condition."""
    key = (row["video_id"], row["start"])
    own: Row = next((r for r in report.scores[name].rows if (r["video_id"], r["start"]) == key), {})
    values = {"onset F1, 50 ms": ("onset_f1_50", onset_f1(own))} | {k: (c, own.get(c)) for k, c in VALUES.items()}
    return [
        (label, value if isinstance(value, str) else cell(column, value))
        for label, (column, value) in values.items()
        if value is not None
    ]


def _player(path: Path) -> str:
    """The file's own sound as a data URI: FLAC, so that nothing of it is lost."""
    rate = isolate_unless_sound_file(sound_rate, path)
    audio: Tensor = isolate_unless_sound_file(read_audio, path, sample_rate=rate, channels=2)
    samples = audio[:1] if bool((audio[0] == audio[-1]).all()) else audio
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.clamp(-1, 1).T.numpy(), rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _plot(clip: ScoredClip, top: float) -> Plot:
    """Spectrogram above envelopes of at most `top`, annotated and detected onsets, on one time axis."""
    seconds = len(clip.reference) / clip.sample_rate
    target, obtained = (clip_envelope(sound, clip.sample_rate) for sound in (clip.reference, clip.generated))
    detected = detect_onsets(clip.generated, clip.sample_rate, reference_peak=peak(clip.reference))
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 600) if seconds / step <= 8)
    return Plot(
        seconds=seconds,
        spectrogram=_spectrogram(clip),
        target=_line(target, seconds, top),
        obtained=_line(obtained, seconds, top),
        annotated=[WIDTH * time / seconds for time in clip.event_times or []],
        detected=(WIDTH * detected / seconds).tolist(),
        ticks=np.arange(step, 0.97 * seconds, step).tolist(),
    )


def _line(envelope: Tensor, seconds: float, top: float) -> str:
    """SVG path of an envelope (values,)."""
    points = (
        f"{WIDTH * i / ENVELOPE_RATE / seconds:.1f} {HEIGHT - (CURVE - 12) * value / top:.1f}"
        for i, value in enumerate(envelope.tolist())
    )
    return "M" + "L".join(points)


def _spectrogram(clip: ScoredClip) -> str:
    """Mel spectrogram as a PNG data URI, in dB below the reference's loudest value, so that plots are comparable."""
    hop = max(64, len(clip.generated) // MAX_COLUMNS)
    level, loudest = (_mel(sound, clip.sample_rate, hop) for sound in (clip.generated, clip.reference))
    top = max(float(loudest.max()), 1e-6)  # silence stays black
    decibels = 10 * np.log10(np.maximum(level / top, 10 ** (FLOOR_DB / 10)))
    encoded = io.BytesIO()
    imsave(encoded, decibels, cmap="magma", vmin=FLOOR_DB, vmax=0, origin="lower", format="png")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _mel(sound: Tensor, rate: int, hop: int) -> np.ndarray:
    size = 2 ** round(np.log2(0.032 * rate))
    return load_librosa().feature.melspectrogram(
        y=sound.float().numpy(), sr=rate, n_fft=size, hop_length=hop, n_mels=NUM_BANDS, fmax=rate / 2
    )
