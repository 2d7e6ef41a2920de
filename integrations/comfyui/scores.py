"""Scores of a sound against the envelope it should follow and against a true sound."""

from typing import Any

import torch

from foleygram import Envelope
from foleygram.evaluation.envelopes import clip_envelope, envelope_correlation, envelope_l1, envelope_lag, leak_db
from foleygram.evaluation.onsets import detect_onsets, pair_onsets, peak
from foleygram.media.audio import fit_length, resample
from foleygram.production.takes import envelopes_of_take

from .media import mono


def score(
    audio: dict[str, Any] | None, envelope: Envelope | None, reference: dict[str, Any] | None
) -> dict[str, dict[str, float | None]]:
    """Scores against what is connected, by its name; None for what cannot be measured.

    Raises ValueError without a sound, or without anything to compare it with.
    """
    found, true = mono(audio), mono(reference)
    if found is None:
        raise ValueError("the audio to score is missing; connect one with sound")
    if envelope is None and true is None:
        raise ValueError("nothing to compare with: connect an envelope or a reference")
    sound, rate = found
    scores = {}
    if envelope is not None:
        asked, obtained = envelopes_of_take(sound, rate, envelope)
        onsets = detect_onsets(sound, rate, reference_peak=peak(sound))
        scores["envelope"] = _curves(obtained, asked) | _onsets(onsets, envelope.onsets())
    if true is not None:
        other = resample(true[0][None], true[1], rate)[0]
        same = fit_length(sound, len(other))
        loudest = peak(other)
        onsets, annotated = (detect_onsets(one, rate, reference_peak=loudest) for one in (same, other))
        scores["reference"] = _curves(clip_envelope(same, rate), clip_envelope(other, rate)) | _onsets(
            onsets, annotated
        )
    return scores


def _curves(obtained: torch.Tensor, asked: torch.Tensor) -> dict[str, float | None]:
    return {
        "envelope_l1": envelope_l1(obtained, asked),
        "envelope_correlation": envelope_correlation(obtained, asked),
        "lag_ms": envelope_lag(obtained, asked),
        "leak_db": leak_db(obtained, asked),
    }


def _onsets(detected: Any, annotated: Any) -> dict[str, float | None]:
    total = len(detected) + len(annotated)
    return {
        f"onset_f1_{1000 * tolerance:.0f}": 2 * len(pair_onsets(detected, annotated, tolerance)) / total
        if total
        else 1.0
        for tolerance in (0.05, 0.1)
    }
