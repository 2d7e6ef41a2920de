"""torchmetrics of onsets, envelopes, materials and CLAP-scores, synchronised across processes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from foleygram.envelope.envelope import Times
from foleygram.evaluation import envelopes
from foleygram.evaluation.condfoleygen import OnsetAgreement
from foleygram.evaluation.onsets import OnsetCounts, count_onsets
from foleygram.evaluation.statistics import ONSETS, STATISTICS, Columns, Statistic, mean


class ClipMetric(Metric):
    """A metric over clips of `statistics.py`: gathers a value per clip and column, NaN where a clip has none."""

    full_state_update = False
    statistic: Statistic
    columns: tuple[str, ...]
    values: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = self.statistic.columns
        self.add_state("values", [], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)  # also of what a process without clips contributes

    def add(self, *values: float | None) -> None:
        """Add a clip's values, one per column."""
        row = [float("nan") if value is None else float(value) for value in values]
        # One dimension only: torchmetrics gathers processes that have clips with one that has none.
        self.values.append(torch.tensor(row, dtype=torch.float64, device=self.device))

    def table(self) -> Columns:
        """Values (clips,) by column."""
        flat = dim_zero_cat(self.values) if len(self.values) else torch.zeros(0)
        return dict(zip(self.columns, flat.double().cpu().numpy().reshape(-1, len(self.columns)).T, strict=True))

    def compute(self) -> Tensor:
        """The metric over all clips, a float64 scalar; NaN where it is not defined."""
        value = self.statistic.value(self.table())
        return torch.tensor(float("nan") if value is None else value, dtype=torch.float64)


class OnsetSummary(NamedTuple):
    """Micro averages over clips; None where nothing was annotated, precision and F1 only without annotated clips."""

    precision: float | None
    recall: float | None
    f1: float | None
    count_ratio: float | None
    hit_recall: float | None
    scratch_recall: float | None


class OnsetF1(ClipMetric):
    """Precision, recall and F1 of onsets at one tolerance: sums of matches over sums of onsets (micro average)."""

    statistic = ONSETS["f1"]

    def __init__(self, tolerance_sec: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance_sec, self.columns = tolerance_sec, OnsetCounts._fields

    def update(self, detected: Times, annotated: Times, actions: Sequence[str]) -> None:
        """Add a clip: detected and annotated times in seconds, ascending, and the annotated ones' actions.

        An action that is neither "hit" nor "scratch", such as an empty one (Greatest Hits has many), counts in neither
        recall.
        """
        self.add(*count_onsets(detected, annotated, actions, self.tolerance_sec))

    def compute(self) -> OnsetSummary:  # type: ignore[override]
        """Scores over all clips."""
        table = self.table()
        return OnsetSummary(**{name: statistic.value(table) for name, statistic in ONSETS.items()})


class EnvelopeCorrelation(ClipMetric):
    """Mean correlation of smoothed envelopes; clips with an inaudible reference are left out."""

    statistic = STATISTICS["envelope_correlation"]

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self.add(envelopes.envelope_correlation(generated, reference))


class EnvelopeL1(ClipMetric):
    """Mean E-L1, linear RMS."""

    statistic = STATISTICS["envelope_l1"]

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self.add(envelopes.envelope_l1(generated, reference))


class EnvelopeLag(ClipMetric):
    """Median absolute lag in ms; clips in which one sound is inaudible or flat are left out."""

    statistic = STATISTICS["median_absolute_lag_ms"]

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self.add(envelopes.envelope_lag(generated, reference))


class Leak(ClipMetric):
    """Median level in the reference's silent spans, in dB of the clip's peak; clips without such spans are left out."""

    statistic = STATISTICS["leak_db"]

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Add a clip's envelopes (values,)."""
        self.add(envelopes.leak_db(generated, reference))


class MaterialAccuracy(ClipMetric):
    """Share of clips in which the judge names the right material; a missing answer counts as wrong."""

    statistic = STATISTICS["material_accuracy"]

    def update(self, classified_as: Sequence[str | None], materials: Sequence[str]) -> None:
        """Add clips: the judge's answers, and the materials."""
        for answer, material in zip(classified_as, materials, strict=True):
            self.add(answer == material)


class CondFoleyGenOnsets(ClipMetric):
    """CondFoleyGen's onset metrics, means over clips; clips without a reference onset are left out of two."""

    statistic = STATISTICS["condfoleygen_same_count"]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = tuple(f"condfoleygen_{name}" for name in OnsetAgreement._fields)

    def update(self, agreement: OnsetAgreement) -> None:
        """Add a clip's `onset_agreement`."""
        self.add(*agreement)

    def compute(self) -> OnsetAgreement:  # type: ignore[override]
        """Means over all clips."""
        table = self.table()
        return OnsetAgreement(*(STATISTICS[name].value(table) for name in self.columns))


class ClapScore(ClipMetric):
    """CLAP-score: mean cosine over clips, plain; with the reference's sound, or with a caption."""

    statistic = Statistic(mean, ("cosine",))

    def update(self, generated: Tensor, other: Tensor) -> None:
        """Add a clip: embeddings (N, d) of its fully covered windows; the reference's, or the caption's one (1, d)."""
        self.add(clap_score(generated, other))


def clap_score(generated: Tensor, other: Tensor) -> float:
    """Cosine of two clips: embeddings (N, d) to unit length, their mean to unit length; one embedding for a caption.

    Raises ValueError for embeddings that are not finite or of two sizes.
    """
    if generated.shape[-1] != other.shape[-1]:
        sizes = f"{generated.shape[-1]} and {other.shape[-1]}"
        raise ValueError(f"embeddings of {sizes} values: take both from one network")
    if not bool(torch.isfinite(generated).all() and torch.isfinite(other).all()):
        raise ValueError("embeddings that are not finite have no cosine; check the sounds that they come from")
    vectors = [normalize(normalize(rows.double(), dim=-1).mean(0), dim=-1) for rows in (generated, other)]
    return float(vectors[0] @ vectors[1])
