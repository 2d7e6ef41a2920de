"""Kernel distance between two sets of embeddings: KAD (Chung et al. 2025), unbiased for few rows."""

import numpy as np
from numpy.typing import ArrayLike

from foleygram.evaluation.frechet import comparable_rows

KAD_SCALE = 100.0
"""KAD is printed as 100 times the squared MMD."""
MAX_MEDIAN_ROWS = 2000
CHUNK = 2048


def kernel_distance(x: ArrayLike, y: ArrayLike, *, bandwidth: float | None = None) -> float:
    """KAD of rows x (N, d) against reference rows y (M, d): 100 times the unbiased squared MMD, in float64.

    Gaussian kernel exp(-|a - b|^2 / (2 bandwidth^2)); its bandwidth is the median distance between reference rows
    (kadtk's code takes the other set's, its paper the reference's). The estimator leaves out each row's pair with
    itself, so it is 0 on average for one distribution, and below 0 about half of the time. Raises ValueError for sets
    that do not fit, have fewer than two rows, hold values that are not finite, or references that are all equal.
    """
    generated, reference = comparable_rows(x, y)
    origin = reference.mean(0)  # distances stay as they are, and lose fewer digits
    return KAD_SCALE * _squared_mmd(generated - origin, reference - origin, bandwidth)


def _squared_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float | None) -> float:
    bandwidth = median_distance(y) if bandwidth is None else bandwidth
    if bandwidth <= 0:
        raise ValueError(f"a bandwidth of {bandwidth}: the reference rows are equal, so the kernel has no width")
    pairs_x, pairs_y = len(x) * (len(x) - 1), len(y) * (len(y) - 1)
    within_x = (_kernel_sum(x, x, bandwidth) - len(x)) / pairs_x
    within_y = (_kernel_sum(y, y, bandwidth) - len(y)) / pairs_y
    return within_x + within_y - 2 * _kernel_sum(x, y, bandwidth) / (len(x) * len(y))


def median_distance(rows: np.ndarray) -> float:
    """Median distance between two of (N, d) rows; of more than 2,000 rows as many, evenly spread, are taken."""
    if len(rows) > MAX_MEDIAN_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_MEDIAN_ROWS).round().astype(int)]
    return float(np.median(np.sqrt(_squared_distances(rows, rows)[np.triu_indices(len(rows), 1)])))


def _kernel_sum(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Sum of the kernel over all pairs, piece by piece, so memory does not grow with the square of the rows."""
    return float(
        sum(
            np.exp(_squared_distances(x[i : i + CHUNK], y[j : j + CHUNK]) / (-2 * bandwidth**2)).sum()
            for i in range(0, len(x), CHUNK)
            for j in range(0, len(y), CHUNK)
        )
    )


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.maximum(squares, 0)
