"""CondFoleyGen's onset figures (Du et al. 2023), for comparison with what others print; ours are in `onsets.py`.

They compare the sound with the reference's sound, not with annotations, pay for neither false onsets nor silence, and
reward both in their AP: it is 0.5 where every onset is wrong, and 1 for a silent clip. Read them together, or not.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision

from foleygram.evaluation.librosa_kernels import load_librosa
from foleygram.evaluation.onsets import DETECTOR_RATE
from foleygram.media.audio import resample

DELTA = 0.3
TOLERANCE = round(0.1 * DETECTOR_RATE)
CLOSE = int(0.05 * DETECTOR_RATE)
"""Samples within which the louder of two generated onsets stands for both, and an onset's loudness is looked for."""


class OnsetAgreement(NamedTuple):
    """Of one clip; the last two are None where the reference has no onset."""

    same_count: bool
    accuracy: float | None
    """Share of the reference's onsets that have a generated one of their own within 100 ms."""
    average_precision: float | None
    """Generated onsets ranked by loudness; a reference's onset without one ranks last, as a success."""


def onset_agreement(generated: Tensor, reference: Tensor, sample_rate: int) -> OnsetAgreement:
    """CondFoleyGen's figures of mono sounds (samples,): librosa's onsets at 22.05 kHz with a delta of 0.3."""
    sounds = [resample(s.reshape(1, -1).float(), sample_rate, DETECTOR_RATE)[0].numpy() for s in (generated, reference)]
    levels = np.abs(sounds[0])
    return agreement_of(
        _detected(sounds[0]), _detected(sounds[1]), (levels - levels.min()) / max(np.ptp(levels), 1e-12)
    )


def agreement_of(generated: Sequence[int], reference: Sequence[int], levels: np.ndarray) -> OnsetAgreement:
    """The same of onsets in samples, ascending, and the generated sound's magnitudes (samples,), 0 to 1."""
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
    same = len(generated) == len(reference)
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


class OnsetAgreements(NamedTuple):
    """Means over clips, None without one that has the figure."""

    same_count: float | None
    """Share of clips with as many onsets as their reference, "#onset acc"."""
    accuracy: float | None
    average_precision: float | None


class CondFoleyGenOnsets(Metric):
    """CondFoleyGen's figures over a data set: means over clips, those without a reference onset left out of two."""

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, agreement: OnsetAgreement) -> None:
        """Add what `onset_agreement` says of a clip."""
        for index, value in enumerate(agreement):
            if value is not None:
                self.sums[index] += float(value)
                self.counts[index] += 1

    def compute(self) -> OnsetAgreements:
        """Means over everything added so far."""
        pairs = zip(self.sums.tolist(), self.counts.tolist(), strict=True)
        return OnsetAgreements(*(total / count if count else None for total, count in pairs))
