"""What an aligned space tells apart: the material, the very object, or the action."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foleygram.alignment.retrieval import equal_pairs
from foleygram.benchmark.protocol import versions
from foleygram.benchmark.report import Finding, Report
from foleygram.experiments.frozen_heads import Features, embed, num_ahead, own_heads
from foleygram.experiments.plots import draw_dots
from foleygram.experiments.spaces import DIRECTIONS, NestedBootstrap

TEXT = (
    "The nearest clip of another modality, the own clip left out: is it of the same material, the same object, the "
    "same action (hits, scratches, both)? Chance is the share of clips that would be right. In rendered data every "
    "video has its own objects, so an object is a video; only those of several clips count. 95% intervals over videos."
)


def granularity(encoders: Path, scored: Features) -> Report:
    """Agreement of nearest neighbours in each direction at three levels, beside chance."""
    embedded = embed(own_heads(encoders), scored.values)
    levels = {"material": _singles(scored.materials), "object": scored.video_ids, "action": _actions(scored.captions)}
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    intervals, bootstrap = {}, NestedBootstrap(scored.video_ids)
    for level, kinds in levels.items():
        same, known = level_masks(kinds)
        if not same.any():
            continue  # no two clips of one kind
        chance = float((same.sum(1) / (len(same) - 1))[known.any(1)].mean())
        metrics[level] = {"chance": {"value": chance}}
        for a, b in DIRECTIONS:
            right = nearest_of_others(embedded[a] @ embedded[b].T, same, known)
            interval = bootstrap.interval(right[None])
            intervals[level, a, b] = interval
            metrics[level][f"{a}_to_{b}"] = {"value": float(np.nanmean(right)), "interval": list(interval)}
    names = [f"{a}_to_{b}" for a, b in DIRECTIONS]
    rows = tuple(
        (level, f"{found['chance']['value']:.3f}",
         *("{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})".format(**found[name]) for name in names))
        for level, found in metrics.items()
    )  # fmt: skip
    labels = {name: name.replace("_to_", " to ") for name in names}
    plot = draw_dots(
        {labels[name]: {level: metrics[level][name]["value"] for level in metrics} for name in names},
        {f"{a} to {b}": {level: intervals[level, a, b] for level in metrics} for a, b in DIRECTIONS},
    )
    protocol = {
        "experiment": "granularity", "num_clips": len(scored), "num_videos": len(set(scored.video_ids)),
        "versions": versions(),
    }  # fmt: skip
    columns = ("level", "chance", *labels.values())
    finding = Finding("Semantic granularity", TEXT, columns, rows, metrics=metrics, plot=plot)
    return Report("granularity: material, object, action", protocol, {}, findings=(finding,))


def level_masks(kinds: list[str]) -> tuple[Tensor, Tensor]:
    """Which pairs (N, N) of different clips are of one kind, and which may be compared; an empty kind is left out."""
    own = torch.eye(len(kinds), dtype=torch.bool)
    known = torch.tensor([bool(kind) for kind in kinds])
    return equal_pairs(kinds) & ~own & known, known[:, None] & known & ~own


def nearest_of_others(scores: Tensor, same: Tensor, known: Tensor) -> np.ndarray:
    """1 where a row's best other clip is of its kind, else 0 (N,); NaN for a row without another of its kind."""
    right = (num_ahead(scores.masked_fill(~known, -torch.inf), same) < 1).float()
    return right.masked_fill(~same.any(1), torch.nan).numpy().astype(float)


def _singles(materials: list[str]) -> list[str]:
    return [name if "," not in name else "" for name in materials]


def _actions(captions: list[str]) -> list[str]:
    def action(caption: str) -> str:
        hits, scratches = "hits" in caption, "scratches" in caption
        return "both" if hits and scratches else "hits" if hits else "scratches" if scratches else ""

    return [action(caption) for caption in captions]
