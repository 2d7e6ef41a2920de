"""The figures of section 6's onsets, envelopes and materials as torchmetrics: they add up over clips and processes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from foleygram.envelope.envelope import Times
from foleygram.evaluation import envelopes
from foleygram.evaluation.onsets import onset_scores, pair_onsets

ACTIONS = ("hit", "scratch")


class OnsetSummary(NamedTuple):
    """Micro averages over a data set; None where nothing was annotated."""

    precision: float
    recall: float | None
    f1: float
    count_ratio: float | None
    hit_recall: float | None
    scratch_recall: float | None


class OnsetF1(Metric):
    """Onset scores at one tolerance: sums of matches over sums of onsets (micro average), recall by action apart."""

    full_state_update = False
    counts: Tensor
    by_action: Tensor

    def __init__(self, tolerance_sec: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance_sec = tolerance_sec
        self.add_state("counts", torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("by_action", torch.zeros(2, 2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, detected: Times, annotated: Times, actions: Sequence[str]) -> None:
        """Add a clip: detected and annotated times in seconds, ascending, and the annotated ones' actions.

        An action that is neither "hit" nor "scratch", such as none (Greatest Hits has many), counts in neither recall.
        """
        matches = pair_onsets(detected, annotated, self.tolerance_sec)
        counts = [len(matches.detected), matches.num_detected, matches.num_annotated]
        self.counts += torch.tensor(counts, device=self.counts.device)
        matched = set(matches.annotated)
        for index, action in enumerate(actions):
            if action in ACTIONS:
                self.by_action[ACTIONS.index(action)] += torch.tensor([index in matched, 1], device=self.counts.device)

    def compute(self) -> OnsetSummary:
        """Scores over everything added so far."""
        scores = onset_scores(*self.counts.tolist())
        recalls = [hit / total if total else None for hit, total in self.by_action.tolist()]
        return OnsetSummary(*scores, *recalls)


class _ClipValues(Metric):
    """One number per clip, gathered; clips for which there is none are left out."""

    full_state_update = False
    values: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("values", [], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)  # also of what a process without clips contributes

    def _add(self, value: float | None) -> None:
        if value is not None:
            self.values.append(torch.tensor([value], dtype=torch.float64, device=self.device))

    def all_values(self) -> Tensor:
        """The numbers gathered so far, (N,)."""
        return dim_zero_cat(self.values) if len(self.values) else torch.zeros(0, device=self.device)

    def compute(self) -> Tensor:
        """Mean over clips, NaN without any."""
        return self.all_values().mean()


class EnvelopeCorrelation(_ClipValues):
    """Mean correlation of smoothed envelopes; clips with an inaudible reference are left out."""

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self._add(envelopes.envelope_correlation(generated, reference))


class EnvelopeL1(_ClipValues):
    """Mean E-L1."""

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self._add(envelopes.envelope_l1(generated, reference))


class EnvelopeLag(_ClipValues):
    """Median absolute lag in ms; clips that have none, because one sound is inaudible or flat, are left out."""

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self._add(envelopes.envelope_lag(generated, reference))

    def compute(self) -> Tensor:
        """Median over clips, NaN without any."""
        return median(self.all_values().abs())


class Leak(_ClipValues):
    """Median level in the reference's silent spans, in dB of the clip's peak; clips without one are left out."""

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self._add(envelopes.leak_db(generated, reference))

    def compute(self) -> Tensor:
        """Median over clips, NaN without any."""
        return median(self.all_values())


class ClapScore(_ClipValues):
    """CLAP-score: mean cosine over clips, plain; against the reference's sound, or against a caption."""

    def update(self, generated: Tensor, other: Tensor) -> None:
        """Add a clip: rows (N, d) of its fully covered windows; the reference's, or the caption's one row (1, d)."""
        self._add(clap_score(generated, other))


class MaterialAccuracy(Metric):
    """Share of clips in which the judge hears the right material; no answer is a wrong one."""

    full_state_update = False
    counts: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, heard: Sequence[str | None], materials: Sequence[str]) -> None:
        """Add clips: what the judge heard, and what it was."""
        right = sum(h == m for h, m in zip(heard, materials, strict=True))
        self.counts += torch.tensor([right, len(materials)], device=self.counts.device)

    def compute(self) -> Tensor:
        """Share in [0, 1], NaN without a clip."""
        right, total = self.counts.double()
        return right / total


def clap_score(generated: Tensor, other: Tensor) -> float:
    """Cosine of two clips' vectors: unit rows (N, d), their mean, unit again; one row for a caption.

    Raises ValueError for rows that are not finite or of two widths.
    """
    if generated.shape[-1] != other.shape[-1]:
        raise ValueError(f"rows of {generated.shape[-1]} and of {other.shape[-1]} values: they come from two networks")
    if not bool(torch.isfinite(generated).all() and torch.isfinite(other).all()):
        raise ValueError("rows that are not finite have no cosine")
    vectors = [normalize(normalize(rows.double(), dim=-1).mean(0), dim=-1) for rows in (generated, other)]
    return float(vectors[0] @ vectors[1])


def median(values: Tensor) -> Tensor:
    """Median of (N,), the mean of the middle two for even N, NaN for none."""
    return values.quantile(0.5) if len(values) else values.new_tensor(float("nan"))
