"""Bootstrap intervals of figures and of their differences, over videos: clips of one video are no two witnesses."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from foleygram.evaluation.condfoleygen import OnsetAgreements
from foleygram.evaluation.onsets import TOLERANCES_SEC
from foleygram.evaluation.scores import Row

NUM_RESAMPLES = 2000
LEVEL = 0.95
MIN_VIDEOS = 5
"""From fewer videos a percentile interval says nothing: with 4 there are only 35 resamples to draw."""

Columns = dict[str, np.ndarray]
"""Columns of rows as float64, NaN where a row has no value."""
Statistic = Callable[[Columns, np.ndarray], np.ndarray]
"""A figure (R,) of clips that are there as often as weights (R, clips) say; NaN where there is none."""
MEANS = ("audio_score_", "text_score_")
"""Columns that begin so are figures by their mean; a network's name follows."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


def columns_of(rows: Sequence[Row]) -> Columns:
    """Numbers of rows by column; answers of the judge as `right`, 1 or 0 where it was asked."""
    names = {key for row in rows for key, value in row.items() if isinstance(value, int | float)}
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in names - {"start"}}
    columns["right"] = np.array([_right(row) for row in rows])
    return columns


def _number(value: str | int | float | None) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _right(row: Row) -> float:
    return float(row["heard"] == row["material"]) if row.get("material") else math.nan


def _share(part: str, *wholes: str, times: int = 1) -> Statistic:
    """Sum of one column over the sum of others."""

    def statistic(columns: Columns, weights: np.ndarray) -> np.ndarray:
        if not {part, *wholes} <= columns.keys():
            return np.full(len(weights), math.nan)
        top = weights @ np.nan_to_num(columns[part])
        bottom = weights @ sum(np.nan_to_num(columns[whole]) for whole in wholes)
        return np.divide(times * top, bottom, out=np.full(len(weights), math.nan), where=bottom > 0)

    return statistic


def _mean(column: str) -> Statistic:
    def statistic(columns: Columns, weights: np.ndarray) -> np.ndarray:
        values = columns.get(column, np.full(weights.shape[1], math.nan))
        known = weights @ ~np.isnan(values)
        total = weights @ np.nan_to_num(values)
        return np.divide(total, known, out=np.full(len(weights), math.nan), where=known > 0)

    return statistic


def _median(column: str, *, absolute: bool = False) -> Statistic:
    def statistic(columns: Columns, weights: np.ndarray) -> np.ndarray:
        values = columns.get(column, np.zeros(0))
        order = np.argsort(np.abs(values) if absolute else values)[: np.count_nonzero(~np.isnan(values))]
        if not len(order):
            return np.full(len(weights), math.nan)
        values = np.abs(values[order]) if absolute else values[order]
        below = np.cumsum(weights[:, order], axis=1)  # how many drawn clips have this value or a smaller one
        total = below[:, -1]
        middle = [(below > half[:, None]).argmax(1) for half in ((total - 1) // 2, total // 2)]
        return np.where(total > 0, (values[middle[0]] + values[middle[1]]) / 2, math.nan)

    return statistic


def _onset_statistics() -> dict[str, Statistic]:
    statistics = {"onset_count_ratio": _share("num_detected", "num_annotated")}
    for tolerance in (round(1000 * seconds) for seconds in TOLERANCES_SEC):
        matched = f"matched_{tolerance}"
        statistics |= {
            f"onset_precision_{tolerance}": _share(matched, "num_detected"),
            f"onset_recall_{tolerance}": _share(matched, "num_annotated"),
            f"onset_f1_{tolerance}": _share(matched, "num_detected", "num_annotated", times=2),
            f"onset_hit_recall_{tolerance}": _share(f"matched_hits_{tolerance}", "num_hits"),
            f"onset_scratch_recall_{tolerance}": _share(f"matched_scratches_{tolerance}", "num_scratches"),
        }
    return statistics


STATISTICS = _onset_statistics() | {
    "envelope_l1": _mean("envelope_l1"),
    "envelope_correlation": _mean("envelope_correlation"),
    "median_absolute_lag_ms": _median("lag_ms", absolute=True),
    "leak_db": _median("leak_db"),
    "material_accuracy": _mean("right"),
    **{name: _mean(name) for name in (f"condfoleygen_{figure}" for figure in OnsetAgreements._fields)},
}
"""Each figure as a function of its clips: what the metrics of `evaluation/metrics.py` give for the same clips."""


def statistics_of(columns: Columns) -> dict[str, Statistic]:
    """Every figure that columns may have."""
    return STATISTICS | {name: _mean(name) for name in columns if name.startswith(MEANS)}


def bootstrap_intervals(rows: Sequence[Row], *, seed: int) -> dict[str, Interval]:
    """95% percentile intervals of every figure that rows carry, videos drawn with replacement.

    A figure without a value in one resample of twenty, and every figure of fewer than five videos, has none.
    """
    return _intervals(_resampled(rows, seed))


def difference_intervals(rows: Sequence[Row], others: Sequence[Row], *, seed: int) -> dict[str, Interval]:
    """95% intervals of figure(rows) - figure(others) for rows of the same clips, both drawn together.

    Raises ValueError when the clips differ.
    """
    if [_clip(row) for row in rows] != [_clip(row) for row in others]:
        raise ValueError("the two sets of rows are not about the same clips")
    ours, theirs = _resampled(rows, seed), _resampled(others, seed)
    return _intervals({name: ours[name] - theirs[name] for name in ours.keys() & theirs.keys()})


def _clip(row: Row) -> tuple[object, object]:
    return row["video_id"], row["start"]


def _resampled(rows: Sequence[Row], seed: int) -> dict[str, np.ndarray]:
    """Each figure in every resample."""
    videos = [
        np.flatnonzero([row["video_id"] == name for row in rows]) for name in sorted({str(r["video_id"]) for r in rows})
    ]
    if len(videos) < MIN_VIDEOS:
        return {}
    columns, rng = columns_of(rows), np.random.default_rng(seed)
    drawn = rng.integers(len(videos), size=(NUM_RESAMPLES, len(videos)))
    times = np.stack([np.bincount(row, minlength=len(videos)) for row in drawn])
    weights = np.empty((NUM_RESAMPLES, len(rows)), np.int64)
    for number, members in enumerate(videos):
        weights[:, members] = times[:, number, None]
    whole = np.ones((1, len(rows)), np.int64)
    return {
        name: statistic(columns, weights)
        for name, statistic in statistics_of(columns).items()
        if not np.isnan(statistic(columns, whole)[0])
    }


def _intervals(draws: dict[str, np.ndarray]) -> dict[str, Interval]:
    tail = 50 * (1 - LEVEL)
    return {
        name: Interval(*(float(v) for v in np.nanpercentile(values, [tail, 100 - tail])))
        for name, values in draws.items()
        if np.isnan(values).mean() <= 1 - LEVEL
    }
