"""Statistics of the annotated events of Greatest Hits (Owens et al. 2016): when people strike, scrape and change.

Computed over the 39,279 events of 970 videos (24,162 of them with one material and one action) in the lists that
CondFoleyGen publishes (Du et al. 2023, `greatesthit_*.json`).
"""

import numpy as np

GAP_QUANTILES = ((0.0, 0.3), (0.05, 0.4), (0.25, 0.533), (0.5, 0.6), (0.75, 0.733), (0.95, 0.933), (1.0, 1.3))
"""Quantiles, over videos, of a video's median time between events, in seconds; the ends are extrapolated."""
GAP_SPREAD = (0.12, 0.35)
"""10% and 90% quantiles, over videos, of the deviation of log(time between events) within a video."""
PAUSE_SHARE = 0.012
"""Share of times between events of more than 2.2 seconds."""
SCRATCH_AFTER_HIT = 0.023
SCRATCH_AFTER_SCRATCH = 0.937
SAME_MATERIAL = 0.98
"""Share of pairs of following events that have the same material."""
LABELLED_EVENTS = {
    "wood": 4171, "metal": 3919, "dirt": 2368, "rock": 2328, "cloth": 2147, "plastic": 2120, "leaf": 1745,
    "paper": 1596, "grass": 658, "water": 589, "drywall": 468, "ceramic": 417, "plastic-bag": 385, "gravel": 364,
    "tile": 312, "carpet": 291, "glass": 284,
}  # fmt: skip
SCRATCH_SHARES = {
    "wood": 0.25, "metal": 0.28, "dirt": 0.37, "rock": 0.29, "cloth": 0.08, "plastic": 0.31, "leaf": 0.42,
    "paper": 0.19, "grass": 0.40, "water": 0.73, "drywall": 0.31, "ceramic": 0.19, "plastic-bag": 0.31,
    "gravel": 0.65, "tile": 0.38, "carpet": 0.16, "glass": 0.30,
}  # fmt: skip
"""Share of a material's labelled events that are scratches."""


def draw_times(seconds: float, rng: np.random.Generator) -> list[float]:
    """Times of a video's events, in seconds from its start, each at least 0.25 s after the one before."""
    shares, values = zip(*GAP_QUANTILES, strict=True)
    median, spread = np.interp(rng.random(), shares, values), rng.uniform(*GAP_SPREAD)
    times, time = [], rng.uniform(0.25, 0.3 + median)
    while time < seconds - 0.15:
        times.append(float(time))
        pause = rng.uniform(1.5, 3.0) if rng.random() < PAUSE_SHARE else 0.0
        time += max(0.25, median * np.exp(spread * rng.standard_normal())) + pause
    return times


def draw_actions(material: str, count: int, rng: np.random.Generator) -> list[str]:
    """`hit` or `scratch` for each of `count` following events on a material."""
    actions: list[str] = []
    share = SCRATCH_SHARES[material]
    for _ in range(count):
        if actions:
            share = SCRATCH_AFTER_SCRATCH if actions[-1] == "scratch" else SCRATCH_AFTER_HIT
        actions.append("scratch" if rng.random() < share else "hit")
    return actions
