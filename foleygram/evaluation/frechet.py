"""Frechet distance between two sets of embeddings."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

SMALLEST_FIT, NUM_FITS = 500, 25
"""FAD-infinity is fitted over 25 sizes from 500 rows on, as in fadtk, or from more rows than dimensions."""

EXACT, SMALLEST_DIRECTION = 1e-10, 1e-3
"""Tolerated relative rounding of the root term; deviations below this share of the largest forbid squaring."""


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of Gaussians fitted to embeddings x (N, d) and y (M, d), in float64, without an epsilon.

    |mean difference|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), covariances over N - 1. With triangular factors
    C1 = R1^T R1 and C2 = R2^T R2, the last trace is the sum of the singular values of R1 R2^T: exact for any rank.
    Raises ValueError for sets that do not fit, have fewer than two rows or hold values that are not finite.
    """
    x, y = comparable_rows(x, y)
    return _distance(_fitted(x), _fitted(y))


class _Gaussian(NamedTuple):
    mean: np.ndarray
    factor: np.ndarray
    """Triangular R with R^T R the covariance."""


def _fitted(rows: np.ndarray) -> _Gaussian:
    return _Gaussian(rows.mean(0), _covariance_factor(rows))


def _distance(x: _Gaussian, y: _Gaussian) -> float:
    shift, root = x.mean - y.mean, root_trace(x.factor, y.factor)
    return float(shift @ shift + (x.factor**2).sum() + (y.factor**2).sum() - 2 * root)


def root_trace(factor_x: np.ndarray, factor_y: np.ndarray) -> float:
    """tr((C1 C2)^(1/2)) of triangular factors (r, d) each, C1 = R1^T R1 and C2 = R2^T R2.

    By eigenvalues, four times as fast as singular values, where those are as exact: their rounding, of the largest
    eigenvalue, must vanish beside the root of each.
    """
    product = factor_x @ factor_y.T
    if _is_sound(factor_x) and _is_sound(factor_y):
        squares = np.linalg.eigvalsh(product @ product.T)
        roots = np.sqrt(np.maximum(squares, np.finfo(float).tiny))
        rounding = 10 * np.finfo(float).eps * squares[-1] * (0.5 / roots).sum()
        if rounding < EXACT * roots.sum():
            return float(roots.sum())
    return float(np.linalg.svd(product, compute_uv=False).sum())


def comparable_rows(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both sets, (N, d) and (M, d), in float64; raises ValueError if they do not fit or are not finite."""
    x, y = _finite_rows(x, "x"), _finite_rows(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"embeddings x of {x.shape[1]} values and y of {y.shape[1]}: take both from one network")
    return x, y


def _finite_rows(values: ArrayLike, name: str) -> np.ndarray:
    if isinstance(values, Tensor):  # from any device, of any precision, with a gradient or without
        values = values.detach().cpu().double().numpy()
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"{name} has shape {rows.shape}: give at least two embeddings, (N, d)")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} holds values that are not finite")
    return rows


def _covariance_factor(rows: np.ndarray) -> np.ndarray:
    """R with R^T R the covariance; by Cholesky where that loses nothing, else from the rows themselves."""
    centred = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    if len(rows) > rows.shape[1]:
        try:
            factor = np.asarray(np.linalg.cholesky(centred.T @ centred)).T
        except np.linalg.LinAlgError:
            pass  # too near to a lower rank
        else:
            if _is_sound(factor):
                return factor
    return np.asarray(np.linalg.qr(centred, mode="r"))


def _is_sound(factor: np.ndarray) -> bool:
    """Whether no direction of a triangular factor is small beside the others."""
    diagonal = np.abs(np.diag(factor))
    return factor.shape[0] == factor.shape[1] and bool(diagonal.min() > SMALLEST_DIRECTION * diagonal.max())


def smallest_fit(dim: int) -> int:
    """Rows of the smallest subset for FAD-infinity: 500, and more than dimensions; below that the bias is not linear.

    Fits to 2.5 rows per dimension of one Gaussian end at -1% of its total variance; from half a row on, at -4%.
    """
    return max(SMALLEST_FIT, dim + 1)


def frechet_infinity(x: ArrayLike, y: ArrayLike, *, seed: int) -> float:
    """FAD-infinity (Gui et al. 2024): distances of x's subsets to y, fitted against 1/N and read off at 1/N = 0.

    25 subsets of `smallest_fit` rows up to all of x's (N, d) are drawn without replacement (fadtk draws with
    it, which leaves in the bias of the N rows themselves); `seed` and the rows' order decide which. The bias that stems
    from the number of reference rows stays. Raises ValueError for fewer than twice the smallest: too few to fit.
    """
    x, y = comparable_rows(x, y)
    smallest = smallest_fit(x.shape[1])
    if len(x) < 2 * smallest:
        raise ValueError(f"{len(x)} embeddings: a fit against 1/N needs at least {2 * smallest}")
    rng = np.random.default_rng(seed)
    sizes = np.linspace(smallest, len(x), NUM_FITS).round().astype(int)
    reference = _fitted(y)
    distances = [_distance(_fitted(x[rng.permutation(len(x))[:size]]), reference) for size in sizes]
    return float(np.polyfit(1 / sizes, distances, 1)[1])
