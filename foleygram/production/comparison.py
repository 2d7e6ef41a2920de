"""Compares a written sound with the envelope asked for, and reports deviations beyond the documented tolerances."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.envelope import SAMPLE_RATE, Envelope, pair_times
from foleygram.evaluation.envelopes import (
    ENVELOPE_RATE,
    INAUDIBLE,
    clip_envelope,
    envelope_correlation,
    envelope_l1,
    silent_spans,
)
from foleygram.media.audio import read_audio, resample

# Tolerances, from 60 results of the example videos at 25 and 16 steps; docs/production.md states them.
MAX_RELATIVE_L1 = 2.0
MIN_CORRELATION = 0.75
MAX_LEVEL_DB = 6.0
MAX_DROPOUT = 0.1
"""Share of the loud stretches (within 10 dB of the peak asked for) that may stay 20 dB below what was asked for."""
MIN_ONSET_SHARE = 0.5
"""Of the onsets asked for, at least this share is found; of those found, at least this share was asked for."""
SILENCE_DBFS, SPILL_DBFS = -50.0, -30.0
"""Highest level where silence is asked for: throughout, and beside audible hits."""
ONSET_SEC, LOUD_DB, DROP_DB = 0.05, -10.0, -20.0
FILM_L1, FILM_LEVEL_DB = 0.25, 1.0
"""Tolerances for the sound of a film after its codec."""


@dataclass(frozen=True)
class Comparison:
    """Differences of a sound's RMS envelope from the one asked for; None for what cannot be measured."""

    envelope_l1: float
    """E-L1, linear RMS."""
    relative_l1: float | None
    """E-L1 divided by the mean level asked for; None where silence is asked for throughout."""
    correlation: float | None
    level_db: float | None
    """RMS level of the whole sound relative to the one asked for, in dB."""
    dropout: float | None
    """Share of the loud stretches asked for in which the sound is 20 dB below."""
    onsets_asked: int
    onsets_missing: int
    onsets_extra: int
    silence_dbfs: float | None
    """Highest level in the spans that should be silent, in dB of full scale."""


def compare_sound(audio: Tensor, sample_rate: int, asked: Envelope) -> Comparison:
    """Compare mono sound (samples,) with the envelope asked for, over the sound's length; neither is smoothed.

    Onsets of both curves are found alike (`Envelope.onsets`) and pair within 50 ms.
    """
    obtained = clip_envelope(audio, sample_rate)
    curve = torch.from_numpy(asked.at(np.arange(len(obtained)) / ENVELOPE_RATE))
    audible = float(curve.max()) >= INAUDIBLE
    quiet = silent_spans(curve) if audible else torch.ones_like(curve, dtype=torch.bool)
    difference = envelope_l1(obtained, curve)
    found, wanted = (Envelope(values.numpy(), ENVELOPE_RATE).onsets() for values in (obtained, curve))
    loud = curve > curve.max() * 10 ** (LOUD_DB / 20)
    paired = len(pair_times(found, wanted, ONSET_SEC))
    return Comparison(
        envelope_l1=difference,
        relative_l1=difference / float(curve.mean()) if audible else None,
        correlation=envelope_correlation(obtained, curve) if audible else None,
        level_db=_decibels(obtained.square().mean().sqrt() / curve.square().mean().sqrt()) if audible else None,
        dropout=float((obtained < curve * 10 ** (DROP_DB / 20))[loud].float().mean()) if audible else None,
        onsets_asked=len(wanted),
        onsets_missing=len(wanted) - paired,
        onsets_extra=len(found) - paired,
        silence_dbfs=_decibels(obtained[quiet].max()) if bool(quiet.any()) else None,
    )


def compare_file(path: Path, asked: Envelope, gain: float = 1.0) -> Comparison:
    """Compare a sound or video file, its gain undone, with the envelope asked for; raises MediaError."""
    return compare_sound(read_audio(path, sample_rate=SAMPLE_RATE)[0] / gain, SAMPLE_RATE, asked)


def compare_film(path: Path, audio: Tensor, sample_rate: int) -> list[str]:
    """Lines on how the first sound track of a film differs from the sound (channels, samples) that was put into it."""
    mono = resample(audio.mean(0, keepdim=True), sample_rate, SAMPLE_RATE)[0]
    comparison = compare_file(path, Envelope.from_audio(mono, SAMPLE_RATE))
    found = []
    if comparison.relative_l1 is not None and comparison.relative_l1 > FILM_L1:
        found.append(f"the film's sound differs by {comparison.relative_l1:.0%} from the WAV")
    if comparison.level_db is not None and abs(comparison.level_db) > FILM_LEVEL_DB:
        found.append(f"the film's sound is {comparison.level_db:+.1f} dB louder than the WAV")
    return found


def deviations(comparison: Comparison) -> list[str]:
    """A line for each measure outside its tolerance; empty for a sound that follows its envelope."""
    found = []
    c = comparison
    if c.correlation is not None and c.correlation < MIN_CORRELATION:
        found.append(f"its envelope correlates {c.correlation:.2f} with the one asked for (at least {MIN_CORRELATION})")
    if c.relative_l1 is not None and c.relative_l1 > MAX_RELATIVE_L1:
        found.append(f"E-L1 is {c.relative_l1:.2f} times the mean level asked for (at most {MAX_RELATIVE_L1:g})")
    if c.level_db is not None and abs(c.level_db) > MAX_LEVEL_DB:
        side = "above" if c.level_db > 0 else "below"
        found.append(f"it is {abs(c.level_db):.1f} dB {side} the level asked for (at most {MAX_LEVEL_DB:g} dB)")
    if c.dropout is not None and c.dropout > MAX_DROPOUT:
        found.append(f"it drops out in {c.dropout:.0%} of the loud stretches (at most {MAX_DROPOUT:.0%})")
    if c.onsets_missing > (1 - MIN_ONSET_SHARE) * c.onsets_asked:
        found.append(f"{c.onsets_missing} of {c.onsets_asked} onsets are missing")
    obtained = c.onsets_asked - c.onsets_missing + c.onsets_extra
    if c.onsets_extra > (1 - MIN_ONSET_SHARE) * obtained:
        found.append(f"{c.onsets_extra} of its {obtained} onsets were not asked for")
    limit = SILENCE_DBFS if c.relative_l1 is None else SPILL_DBFS
    if c.silence_dbfs is not None and c.silence_dbfs > limit:
        found.append(f"it reaches {c.silence_dbfs:.0f} dBFS where silence is asked for (at most {limit:g} dBFS)")
    return found


def hits_after_end(asked: Envelope, seconds: float) -> list[str]:
    """A line if hits of the envelope asked for lie after the end of a film of `seconds`."""
    onsets = asked.onsets()
    late = onsets[onsets > seconds]
    if not len(late):
        return []
    return [f"{len(late)} of {len(onsets)} hits lie after the film's end at {seconds:.2f} s (first at {late[0]:.2f} s)"]


def _decibels(level: Tensor) -> float:
    return 20 * math.log10(max(float(level), 1e-6))
