"""Metrics of one sound's envelope against another's: E-L1, correlation, lag, leak."""

import math

import torch
from torch import Tensor

from foleygram.envelope.envelope import FRAME_LENGTH, HOP_LENGTH, SAMPLE_RATE
from foleygram.envelope.rms import rms_envelope, smooth
from foleygram.media.audio import resample

ENVELOPE_RATE = SAMPLE_RATE / HOP_LENGTH
EDGE = FRAME_LENGTH // 2 // HOP_LENGTH
SMOOTHING_SEC = 0.05
MAX_LAG_SEC = 0.5
"""Largest lag, in both directions."""
INAUDIBLE = 1e-4
"""An envelope below this RMS (-80 dB of full scale) is silence."""
SILENT_DB, SILENT_SEC, MARGIN_SEC = -50.0, 0.2, 0.05
FLOOR_DB = -120.0


def clip_envelope(audio: Tensor, sample_rate: int) -> Tensor:
    """RMS envelope (values,) of mono sound (samples,): 512/128 at 16 kHz, 125 values per second."""
    return rms_envelope(resample(audio.reshape(1, -1), sample_rate, SAMPLE_RATE)[0], FRAME_LENGTH, HOP_LENGTH)


def envelope_l1(generated: Tensor, reference: Tensor) -> float:
    """E-L1: mean absolute difference of two envelopes (values,), linear RMS, as they are."""
    _check_lengths(generated, reference)
    return float((generated - reference).abs().mean())


def envelope_correlation(generated: Tensor, reference: Tensor) -> float | None:
    """Pearson correlation of two envelopes (values,) after 50 ms smoothing.

    0 where only the generated clip is inaudible or flat, None where the reference is, or both are shorter than two
    windows: there is nothing to follow.
    """
    _check_lengths(generated, reference)
    x, y = _centred(generated), _centred(reference)
    if y is None:
        return None
    return 0.0 if x is None else float((x @ y) / (x.norm() * y.norm()))


def envelope_lag(generated: Tensor, reference: Tensor) -> float | None:
    """Milliseconds by which the generated envelope (values,) comes late, early ones negative; within half a second.

    Peak of the cross-correlation after 50 ms smoothing, interpolated by a parabola.
    None where one of the two is inaudible, flat or shorter than two windows: it has no lag.
    """
    _check_lengths(generated, reference)
    x, y = _centred(generated), _centred(reference)
    if x is None or y is None:
        return None
    size = 2 * len(x)
    products = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(y, size).conj(), size)
    reach = min(round(MAX_LAG_SEC * ENVELOPE_RATE), len(x) - 1)
    curve = torch.cat([products[-reach:], products[: reach + 1]])  # lags -reach..reach
    best = int(curve.argmax())
    offset = 0.0
    if 0 < best < len(curve) - 1:
        left, middle, right = curve[best - 1 : best + 2].tolist()
        bend = left - 2 * middle + right
        offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return 1000 * (best - reach + offset) / ENVELOPE_RATE


def silent_spans(reference: Tensor) -> Tensor:
    """Mask (values,) of a reference envelope's silences: 200 ms or more below -50 dB of its peak, less 50 ms a side.

    An inaudible reference has no silences.
    """
    mask = torch.zeros(reference.shape, dtype=torch.bool)
    top = float(reference.max())
    if top < INAUDIBLE:
        return mask
    quiet = (reference < top * 10 ** (SILENT_DB / 20)).tolist()
    margin, begin = round(MARGIN_SEC * ENVELOPE_RATE), 0
    for index, value in enumerate([*quiet, False]):
        if value:
            continue
        if (index - begin) / ENVELOPE_RATE >= SILENT_SEC:
            mask[begin + margin : index - margin] = True
        begin = index + 1
    return mask


def leak_db(generated: Tensor, reference: Tensor) -> float | None:
    """Level of the generated envelope (values,) in the reference's silent spans, in dB of its own peak.

    At least -120 dB, also for digital silence; None where the reference has no silent span.
    """
    _check_lengths(generated, reference)
    mask = silent_spans(reference)
    if not mask.any():
        return None
    level, top = float(generated[mask].square().mean().sqrt()), float(generated.max())
    if level == 0:
        return FLOOR_DB
    return max(FLOOR_DB, 20 * math.log10(level / top))


def _centred(envelope: Tensor) -> Tensor | None:
    """Smoothed, mean removed, float64, (values - 4,); None where nothing is left to compare.

    Without the values at both ends whose windows reach beyond the sound: their dip would correlate at lag 0.
    """
    envelope = envelope[EDGE:-EDGE]
    if not len(envelope) or float(envelope.max()) < INAUDIBLE:
        return None
    curve = smooth(envelope, round(SMOOTHING_SEC * ENVELOPE_RATE)).double()
    curve = curve - curve.mean()
    return curve if float(curve.abs().max()) > 1e-6 * float(envelope.max()) else None


def _check_lengths(generated: Tensor, reference: Tensor) -> None:
    if generated.shape != reference.shape or generated.dim() != 1:
        shapes = tuple(generated.shape), tuple(reference.shape)
        raise ValueError(f"envelopes of shapes {shapes}: give one clip each, equally long")
