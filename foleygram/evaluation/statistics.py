"""Metrics over clips: each is a function of per-clip values and of how often each clip counts.

A summary counts every clip once; a bootstrap resample counts it as often as it was drawn (`benchmark/intervals.py`).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foleygram.evaluation.condfoleygen import OnsetAgreement
from foleygram.evaluation.onsets import TOLERANCES_SEC

Row = dict[str, str | int | float | None]
"""Values of one clip by column; `video_id` and `start` name it."""
Columns = dict[str, np.ndarray]
"""Values (clips,) by column, float64, NaN where a clip has none."""
AUDIO_SCORE, TEXT_SCORE = "audio_score_", "text_score_"
"""Columns of CLAP-scores begin with these; the network's name follows."""


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means (R,) of values (clips,) under weights (R, clips), over the clips that have one; NaN where none has."""
    return _ratio(weights @ np.nan_to_num(values), weights @ ~np.isnan(values))


def median(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Medians (R,) of values (clips,) under whole weights (R, clips); of an even count the middle two's mean."""
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    if not len(order):
        return np.full(len(weights), math.nan)
    values, cumulative = values[order], np.cumsum(weights[:, order], axis=1)
    total = cumulative[:, -1]
    lower, upper = ((cumulative > half[:, None]).argmax(1) for half in ((total - 1) // 2, total // 2))
    return np.where(total > 0, (values[lower] + values[upper]) / 2, math.nan)


def median_absolute(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Medians (R,) of absolute values, as `median`."""
    return median(weights, np.abs(values))


def share(weights: np.ndarray, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Sums of `part` over sums of `whole` (R,), a micro average; NaN where the whole is 0."""
    return _ratio(weights @ np.nan_to_num(part), weights @ np.nan_to_num(whole))


def per_minute(weights: np.ndarray, counts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Counts per minute (R,) over all clips together; NaN where the seconds sum to 0."""
    return 60 * share(weights, counts, seconds)


def precision(weights: np.ndarray, matched: np.ndarray, detected: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Micro-averaged precision (R,) of onset counts; without detections 1 if nothing was annotated either, else 0."""
    correct = np.where(weights @ np.nan_to_num(annotated) > 0, 0.0, 1.0)
    return _annotated(weights, annotated, np.where(weights @ np.nan_to_num(detected) > 0,
                                                   share(weights, matched, detected), correct))  # fmt: skip


def f1(weights: np.ndarray, matched: np.ndarray, detected: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Micro-averaged F1 (R,) of onset counts; 1 where nothing was annotated and nothing detected."""
    both = weights @ (np.nan_to_num(detected) + np.nan_to_num(annotated))
    return _annotated(weights, annotated, np.where(both > 0, _ratio(2 * weights @ np.nan_to_num(matched), both), 1.0))


def _annotated(weights: np.ndarray, annotated: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` (R,), NaN where no clip with annotations counts."""
    return np.where(weights @ ~np.isnan(annotated) > 0, values, math.nan)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(len(top), math.nan), where=bottom > 0)


@dataclass(frozen=True)
class Statistic:
    """A metric over clips: a function of weights (R, clips) and of the values (clips,) of `columns`."""

    function: Callable[..., np.ndarray]
    columns: tuple[str, ...]

    def __call__(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        """Values (R,) under each row of weights (R, clips)."""
        return self.function(weights, *(columns[name] for name in self.columns))

    def value(self, columns: Columns) -> float | None:
        """The value with every clip counted once; None where it is not defined."""
        value = float(self(columns, np.ones((1, len(columns[self.columns[0]])), np.int64))[0])
        return None if math.isnan(value) else value


ONSETS = {
    "precision": Statistic(precision, ("matched", "num_detected", "num_annotated")),
    "recall": Statistic(share, ("matched", "num_annotated")),
    "f1": Statistic(f1, ("matched", "num_detected", "num_annotated")),
    "count_ratio": Statistic(share, ("num_detected", "num_annotated")),
    "hit_recall": Statistic(share, ("matched_hits", "num_hits")),
    "scratch_recall": Statistic(share, ("matched_scratches", "num_scratches")),
}
"""Onset metrics at one tolerance, over the columns of `onsets.OnsetCounts`."""


def tolerance_ms(seconds: float) -> int:
    """A tolerance as it ends the names of columns and metrics: 0.05 s is 50."""
    return round(1000 * seconds)


def at_tolerance(column: str, milliseconds: int) -> str:
    """Name of an onset column at a tolerance; counts of onsets do not depend on it."""
    return f"{column}_{milliseconds}" if column.startswith("matched") else column


def _onset_statistics(milliseconds: int) -> dict[str, Statistic]:
    return {
        f"onset_{name}_{milliseconds}": Statistic(
            metric.function, tuple(at_tolerance(column, milliseconds) for column in metric.columns)
        )
        for name, metric in ONSETS.items()
        if name != "count_ratio"
    }


STATISTICS = {
    "onset_count_ratio": ONSETS["count_ratio"],
    **{name: metric for seconds in TOLERANCES_SEC for name, metric in _onset_statistics(tolerance_ms(seconds)).items()},
    "false_onsets_per_minute": Statistic(per_minute, ("false_onsets", "event_free_sec")),
    "envelope_l1": Statistic(mean, ("envelope_l1",)),
    "envelope_correlation": Statistic(mean, ("envelope_correlation",)),
    "median_absolute_lag_ms": Statistic(median_absolute, ("lag_ms",)),
    "leak_db": Statistic(median, ("leak_db",)),
    "material_accuracy": Statistic(mean, ("right",)),
    **{name: Statistic(mean, (name,)) for name in (f"condfoleygen_{field}" for field in OnsetAgreement._fields)},
}
"""Metrics over clips by name."""


def statistics_of(columns: Iterable[str]) -> dict[str, Statistic]:
    """The metrics that `columns` suffice for; every column of CLAP-scores has its mean."""
    available = set(columns)
    scores = {name: Statistic(mean, (name,)) for name in columns if name.startswith((AUDIO_SCORE, TEXT_SCORE))}
    return {name: metric for name, metric in STATISTICS.items() if available.issuperset(metric.columns)} | scores


def columns_of(rows: Sequence[Row]) -> Columns:
    """Numeric columns of rows; `right` is 1 or 0 where the judge was asked for a material, else NaN."""
    texts = {key for row in rows for key, value in row.items() if isinstance(value, str)}
    names = dict.fromkeys(key for row in rows for key in row)
    columns = {
        name: np.array([math.nan if (value := row.get(name)) is None else float(value) for row in rows])
        for name in names
        if name not in texts and name != "start"
    }
    if "classified_as" in names:
        right = [float(row["classified_as"] == row["material"]) if row.get("material") else math.nan for row in rows]
        columns["right"] = np.array(right)
    return columns


def summarise(rows: Sequence[Row]) -> dict[str, float | None]:
    """Every metric that the rows have columns for; None where it is not defined."""
    columns = columns_of(rows)
    return {name: metric.value(columns) for name, metric in statistics_of(columns).items()}
