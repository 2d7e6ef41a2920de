"""The Frechet distance's root term by triangular factors, against `scipy.linalg.sqrtm`; and the whole distance.

Run: python -m benchmarks.frechet [--dim 1024] [--rows 4096] [--threads 1]. The root term starts from two covariances,
the whole distance from two sets of rows. Prints seconds (best of `--repeats`, in turns), values, and how many times
faster ours is (target for the root term: at least 4, values equal to 1e-6).
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from foleygram.evaluation.frechet import frechet_distance, root_trace

TARGET, EQUAL = 4.0, 1e-6


def correlated_rows(rows: int, dim: int, seed: int) -> np.ndarray:
    """Rows (rows, dim) as embeddings have them: correlated, their variances over three decades."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * 10 ** rng.uniform(-1.5, 0, dim)
    return rng.standard_normal((rows, dim)) @ mixing.T + 0.1 * rng.standard_normal(dim)


def root_by_factors(first: np.ndarray, second: np.ndarray) -> float:
    """tr((C1 C2)^(1/2)) as ours."""
    return root_trace(np.linalg.cholesky(first).T, np.linalg.cholesky(second).T)


def root_by_sqrtm(first: np.ndarray, second: np.ndarray) -> float:
    """The same as it is usually computed."""
    return float(np.trace(scipy.linalg.sqrtm(first @ second)).real)


def distance_by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    """The distance as it is usually computed."""
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(0) - y.mean(0)
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * root_by_sqrtm(first, second))


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Run both in turns and print a line; how many times faster ours is, and how far the values lie apart."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    values = {}
    for _ in range(repeats):
        for side, function in (("ours", ours), ("theirs", theirs)):
            begun = time.perf_counter()
            values[side] = function()
            seconds[side].append(time.perf_counter() - begun)
    best = {side: min(times) for side, times in seconds.items()}
    apart = abs(values["ours"] / values["theirs"] - 1)
    print(
        f"{name:<10} ours {best['ours']:6.2f} s   sqrtm {best['theirs']:6.2f} s   {best['theirs'] / best['ours']:4.1f} "
        f"times faster   {values['ours']:.9f} and {values['theirs']:.9f}, {apart:.1e} apart"
    )
    return best["theirs"] / best["ours"], apart


def main() -> int:
    """Time both and compare; 1 where the values differ or ours is not fast enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    x, y = (correlated_rows(args.rows, args.dim, seed) for seed in (0, 1))
    first, second = (np.cov(rows, rowvar=False) for rows in (x, y))
    print(f"SciPy {scipy.__version__}, NumPy {np.__version__}, {args.rows} rows of {args.dim}, {args.threads} threads")
    with threadpool_limits(args.threads):
        faster, apart = compare(
            "root term", lambda: root_by_factors(first, second), lambda: root_by_sqrtm(first, second), args.repeats
        )
        compare("distance", lambda: frechet_distance(x, y), lambda: distance_by_sqrtm(x, y), args.repeats)
    print(f"target for the root term: {TARGET:g} times faster, values {EQUAL:g} apart")
    return int(faster < TARGET or apart > EQUAL)


if __name__ == "__main__":
    sys.exit(main())
