"""Frechet distance between two sets of embeddings (paper notes, section 6)."""

import numpy as np
from numpy.typing import ArrayLike


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of Gaussians fitted to the rows of x (N, d) and y (M, d), in float64, without an epsilon.

    |mean difference|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), covariances over N - 1. With the triangular factors
    of the centred data, C1 = R1^T R1 and C2 = R2^T R2, the last trace is the sum of the singular values of R1 R2^T:
    exact for any rank, and no covariance is squared. Raises ValueError for sets that do not fit, have fewer than two
    rows or hold values that are not finite.
    """
    x, y = _rows(x, "x"), _rows(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has rows of {x.shape[1]} values and y of {y.shape[1]}: they come from different networks")
    shift = x.mean(0) - y.mean(0)
    factor_x, factor_y = _covariance_factor(x), _covariance_factor(y)
    root = np.linalg.svd(factor_x @ factor_y.T, compute_uv=False).sum()
    return float(shift @ shift + (factor_x**2).sum() + (factor_y**2).sum() - 2 * root)


def _rows(values: ArrayLike, name: str) -> np.ndarray:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"{name} has shape {rows.shape}: a covariance needs at least two rows, (N, d)")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} holds values that are not finite")
    return rows


def _covariance_factor(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr((rows - rows.mean(0)) / np.sqrt(len(rows) - 1), mode="r"))
