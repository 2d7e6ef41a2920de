"""Clips to see and hear on a page: spectrogram, target and obtained envelope, onsets, a player for each sound."""

import base64
import io
from collections.abc import Sequence
from html import escape
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
"""Conditions that a clip is shown in, beside the reference; the rest lies in the folder of sounds."""
WIDTH, SPECTRUM, CURVE = 1000, 130, 90
HEIGHT = SPECTRUM + CURVE
FIGURES = {
    "envelope correlation": "envelope_correlation",
    "lag, ms": "lag_ms",
    "E-L1": "envelope_l1",
    "leak, dB": "leak_db",
    "heard": "heard",
}


class Chosen(NamedTuple):
    """Clips by how well they were done, the best first and the worst first; together each once."""

    best: list[Row]
    worst: list[Row]


def shown_conditions(report: Report) -> list[str]:
    """Which scores' sounds are shown: the first few that borrow from no other clip, without the references."""
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


def clip_card(report: Report, row: Row) -> str:
    """A clip's card as HTML: the reference, then its sound in each condition; empty where no file can be read."""
    names = shown_conditions(report)
    reads = [(name, _read(report, name, row)) for name in names]
    known = [(name, *found) for name, found in reads if found is not None]
    if not known:
        return ""
    _, pair, first = known[0]
    top = max(float(clip_envelope(c.reference, c.sample_rate).max()) for _, _, c in known)
    top = max([top, *(float(clip_envelope(c.generated, c.sample_rate).max()) for _, _, c in known), 1e-6])
    truth = ScoredClip(**{**vars(first), "generated": first.reference})
    sounds = [_sound("reference", pair.reference, truth, top, {})]
    for name, own, clip in known:
        sounds.append(_sound(report.marked(name), own.generated, clip, top, _row_of(report, name, row)))
    facts = " · ".join(filter(None, [pair.material or "", pair.caption or ""]))
    title = f"{pair.video_id}" + (f" at {pair.start:g} s" if pair.start else "")
    return (
        f'<article class="clip"><h3>{escape(title)}</h3><p class="facts">{escape(facts)}</p>'
        f'<div class="sounds">{"".join(sounds)}</div></article>'
    )


def _read(report: Report, name: str, row: Row) -> tuple[SoundPair, ScoredClip] | None:
    for pair in report.pairs.get(name, []):
        if (pair.video_id, pair.start) == (row["video_id"], row["start"]):
            clip = read_pair(pair, Remarks())
            return None if clip is None else (pair, clip)
    return None


def _row_of(report: Report, name: str, row: Row) -> Row:
    own = (row["video_id"], row["start"])
    return next((r for r in report.scores[name].rows if (r["video_id"], r["start"]) == own), {})


def _sound(name: str, path: Path, clip: ScoredClip, top: float, row: Row) -> str:
    """One sound: its picture, on which a click seeks, its player, and its figures."""
    figures = [("onset F1, 50 ms", cell("onset_f1_50", onset_f1(row)))] if onset_f1(row) is not None else []
    figures += [(label, _shown(key, row[key])) for label, key in FIGURES.items() if row.get(key) is not None]
    terms = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in figures)
    return (
        f'<figure class="sound"><figcaption>{escape(name)}</figcaption>{_picture(clip, top)}'
        f'<audio controls preload="metadata" src="{_player(path)}"></audio><dl>{terms}</dl></figure>'
    )


def _shown(key: str, value: str | int | float | None) -> str:
    return value if isinstance(value, str) else cell(key, value)


def _player(path: Path) -> str:
    """The file's own sound as a data URI: FLAC, so that nothing of it is lost."""
    rate = isolate_unless_sound_file(sound_rate, path)
    audio: Tensor = isolate_unless_sound_file(read_audio, path, sample_rate=rate, channels=2)
    samples = audio[:1] if bool((audio[0] == audio[-1]).all()) else audio
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.clamp(-1, 1).T.numpy(), rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _picture(clip: ScoredClip, top: float) -> str:
    """Spectrogram above envelopes, true onsets as lines through both and heard ones as marks, one time axis."""
    seconds = len(clip.reference) / clip.sample_rate
    target, obtained = (clip_envelope(sound, clip.sample_rate) for sound in (clip.reference, clip.generated))
    heard = detect_onsets(clip.generated, clip.sample_rate, reference_peak=peak(clip.reference))
    lines = "".join(
        f'<line class="true" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
        for x in (WIDTH * time / seconds for time in clip.event_times or [])
    )
    marks = "".join(
        f'<path class="heard" d="M{x - 6:.1f} {SPECTRUM + 1}h12l-6 9z"/>' for x in WIDTH * np.asarray(heard) / seconds
    )
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 600) if seconds / step <= 8)
    ticks = "".join(
        f'<span style="left:{100 * t / seconds:.2f}%">{t:g} s</span>' for t in np.arange(step, 0.97 * seconds, step)
    )
    return (
        f'<svg class="picture" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" data-seconds="{seconds:.4f}">'
        f'<image width="{WIDTH}" height="{SPECTRUM}" preserveAspectRatio="none" href="{_spectrogram(clip)}"/>'
        f'<path class="target" d="{_area(target, seconds, top)}"/>'
        f'<path class="obtained" d="{_line(obtained, seconds, top)}"/>{lines}{marks}'
        f'<line class="now" x1="0" x2="0" y1="0" y2="{HEIGHT}"/></svg>'
        f'<div class="ticks">{ticks}</div>'
    )


def _line(envelope: Tensor, seconds: float, top: float) -> str:
    points = (
        f"{WIDTH * i / ENVELOPE_RATE / seconds:.1f} {HEIGHT - (CURVE - 12) * value / top:.1f}"
        for i, value in enumerate(envelope.tolist())
    )
    return "M" + "L".join(points)


def _area(envelope: Tensor, seconds: float, top: float) -> str:
    return f"{_line(envelope, seconds, top)}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z"


def _spectrogram(clip: ScoredClip) -> str:
    """Mel spectrogram as a PNG, in dB below the reference's loudest value, so that a clip's pictures compare."""
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
