"""Bootstrap intervals of metrics and their differences; resamples videos, because clips of one video are dependent."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from foleygram.evaluation.statistics import Row, columns_of, statistics_of

NUM_RESAMPLES = 2000
LEVEL = 0.95
MIN_VIDEOS = 5
"""Fewer videos have no interval: 4 of them have only 35 different resamples."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


def bootstrap_intervals(rows: Sequence[Row], *, seed: int) -> dict[str, Interval]:
    """95% percentile intervals of every metric that the rows have columns for, videos drawn with replacement.

    A metric that is not defined in one resample of twenty has none, nor has any metric of fewer than five videos.
    """
    return _intervals(_resampled(rows, seed))


def difference_intervals(rows: Sequence[Row], others: Sequence[Row], *, seed: int) -> dict[str, Interval]:
    """95% intervals of metric(rows) - metric(others) for rows of the same clips, both drawn together.

    Raises ValueError when the clips differ.
    """
    if [clip_of(row) for row in rows] != [clip_of(row) for row in others]:
        raise ValueError("the two sets of rows are not about the same clips")
    ours, theirs = _resampled(rows, seed), _resampled(others, seed)
    return _intervals({name: ours[name] - theirs[name] for name in ours.keys() & theirs.keys()})


def clip_of(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Key of a row's clip: its video and start."""
    return row["video_id"], row["start"]


def _resampled(rows: Sequence[Row], seed: int) -> dict[str, np.ndarray]:
    """Values (resamples,) of each metric."""
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
    return {
        name: statistic(columns, weights)
        for name, statistic in statistics_of(columns).items()
        if statistic.value(columns) is not None
    }


def _intervals(draws: dict[str, np.ndarray]) -> dict[str, Interval]:
    tail = 50 * (1 - LEVEL)
    return {
        name: Interval(*(float(v) for v in np.nanpercentile(values, [tail, 100 - tail])))
        for name, values in draws.items()
        if np.isnan(values).mean() <= 1 - LEVEL
    }
