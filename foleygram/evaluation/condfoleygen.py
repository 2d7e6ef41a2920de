"""CondFoleyGen's onset metrics (Du et al. 2023), for comparison with published results; ours are in `onsets.py`.

They compare the sound with the reference's sound, not with annotations, and penalise neither false onsets nor silence:
average precision is 0.5 where every onset is wrong, and 1 for a silent clip. Read all three together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

from foleygram.evaluation.librosa_kernels import load_librosa
from foleygram.evaluation.onsets import DETECTOR_RATE
from foleygram.media.audio import resample

DELTA = 0.3
TOLERANCE = round(0.1 * DETECTOR_RATE)
CLOSE = int(0.05 * DETECTOR_RATE)
"""Samples within which the louder of two generated onsets replaces both, and over which its loudness is measured."""


class OnsetAgreement(NamedTuple):
    """Of one clip, or means over clips; None without a reference onset, or without a clip that has the value."""

    same_count: float | None
    """"#onset acc": 1 for a clip with as many onsets as its reference, else 0."""
    accuracy: float | None
    """Share of the reference's onsets that have a generated one of their own within 100 ms."""
    average_precision: float | None
    """Generated onsets ranked by loudness; a reference's onset without one ranks last, as a success."""


def onset_agreement(generated: Tensor, reference: Tensor, sample_rate: int) -> OnsetAgreement:
    """CondFoleyGen's metrics of mono sounds (samples,): librosa's onsets at 22.05 kHz with a delta of 0.3."""
    sounds = [resample(s.reshape(1, -1).float(), sample_rate, DETECTOR_RATE)[0].numpy() for s in (generated, reference)]
    levels = np.abs(sounds[0])
    return agreement_of(
        _detected(sounds[0]), _detected(sounds[1]), (levels - levels.min()) / max(np.ptp(levels), 1e-12)
    )


def agreement_of(generated: Sequence[int], reference: Sequence[int], levels: np.ndarray) -> OnsetAgreement:
    """The metrics of onsets in samples, ascending, and of the generated sound's magnitudes (samples,), 0 to 1."""
    loudness = {onset: float(levels[max(0, onset - CLOSE) : onset + CLOSE].max()) for onset in generated}
    kept = _thinned(list(generated), loudness)
    unused, scores, truths, hits = list(kept), [], [], 0
    for onset in reference:
        near = [other for other in unused if abs(other - onset) < TOLERANCE]
        truths.append(1)
        if not near:
            scores.append(0.0)
            continue
        match = max(near, key=lambda other: (levels[other], other))
        scores.append(loudness[match])
        unused.remove(match)
        hits += 1
    scores += [loudness[onset] for onset in unused]
    truths += [0] * len(unused)
    same = float(len(generated) == len(reference))
    if len(reference) == 0:
        return OnsetAgreement(same, None, None)
    precision = binary_average_precision(torch.tensor(scores), torch.tensor(truths))
    return OnsetAgreement(same, hits / len(reference), float(precision))


def _detected(sound: np.ndarray) -> list[int]:
    if not sound.any():
        return []
    onsets = load_librosa().onset.onset_detect(y=sound, sr=DETECTOR_RATE, units="samples", delta=DELTA)
    return [int(onset) for onset in onsets if onset < len(sound)]


def _thinned(onsets: list[int], loudness: dict[int, float]) -> list[int]:
    """Onsets without those close to a louder one; as there, the one after each that is dropped stays in any case."""
    remaining, kept = list(onsets), []
    for current in sorted(onsets, key=lambda onset: (loudness[onset], onset), reverse=True):
        if current not in remaining:
            continue
        kept.append(current)
        remaining.remove(current)
        rest, dropped = [], False
        for onset in remaining:
            dropped = not dropped and abs(onset - current) < 0.05 * DETECTOR_RATE
            if not dropped:
                rest.append(onset)
        remaining = rest
    return sorted(kept)
