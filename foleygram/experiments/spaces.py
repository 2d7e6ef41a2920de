"""The aligned spaces of several objectives from several starts, over seeds: retrieval, material, modality gap."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foleygram.alignment.losses import (
    AnchorInfoNCE,
    ContrastiveObjective,
    GramLoss,
    PairwiseInfoNCE,
    Symile,
    TriangleLoss,
)
from foleygram.alignment.retrieval import equal_pairs, separation
from foleygram.alignment.volume import gram_volume, volume_matrix
from foleygram.benchmark.intervals import LEVEL, NUM_RESAMPLES, Interval
from foleygram.benchmark.protocol import versions
from foleygram.benchmark.report import Finding, Report
from foleygram.experiments.frozen_heads import MODALITIES, Features, embed, num_ahead, own_heads, train_heads
from foleygram.experiments.plots import draw_dots, draw_histograms

OBJECTIVES: dict[str, Callable[[], ContrastiveObjective]] = {
    "GRAM": GramLoss,
    "TRIANGLE": TriangleLoss,
    "Symile": Symile,
    "all pairs": PairwiseInfoNCE,
    "anchor video (ImageBind)": lambda: AnchorInfoNCE(anchor="video"),
    "anchor text (LanguageBind)": lambda: AnchorInfoNCE(anchor="text"),
    "anchor audio": lambda: AnchorInfoNCE(anchor="audio"),
}
DIRECTIONS = [(a, b) for a in MODALITIES for b in MODALITIES if a != b]
PAIRS = [("video", "text"), ("video", "audio"), ("text", "audio")]
TEXT = (
    "Heads trained on the frozen networks of each start until the validation loss flattens, {seeds} seeds; metrics on "
    "held-out clips, 95% intervals over seeds and videos drawn together. R@1: any clip of an equal caption is right. "
    "Material: the nearest neighbour's. Gap: distance of two modalities' centroids (arXiv 2203.02053). The networks "
    "themselves did not train here, so differences are those that a linear head can make."
)


def compare_spaces(
    starts: Mapping[str, tuple[Path, Features, Features, Features]],
    *,
    seeds: Sequence[int],
    max_steps: int = 2000,
    batch_size: int = 64,
) -> Report:
    """Every objective of `OBJECTIVES` from every start, which brings its folder and its train, val, scored features."""
    found: dict[str, dict[str, np.ndarray]] = {}
    steps: dict[str, list[int]] = {}
    unfinished: list[str] = []
    histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for start, (folder, train, val, scored) in starts.items():
        begin = own_heads(folder)
        found[f"{start}: as it is"] = clip_metrics(embed(begin, scored.values), scored, repeats=len(seeds))
        for name, build in OBJECTIVES.items():
            label, rows = f"{start}: {name}", []
            for seed in seeds:
                objective = build()

                def loss(
                    parts: dict[str, Tensor], excluded: Tensor, objective: ContrastiveObjective = objective
                ) -> Tensor:
                    return objective.loss(**parts, excluded=excluded)

                trained = train_heads(
                    loss, list(objective.parameters()), begin, train, val, seed=seed, batch_size=batch_size,
                    max_steps=max_steps,
                )  # fmt: skip
                embedded = embed(trained.heads, scored.values)
                rows.append(clip_metrics(embedded, scored))
                steps.setdefault(label, []).append(trained.steps)
                if not trained.flattened:
                    unfinished.append(f"{label}, seed {seed}")
            found[label] = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
            histograms |= {f"{label}: {a}-{b}"[:34]: cosines(embedded, scored, a, b) for a, b in PAIRS}
    videos = next(iter(starts.values()))[3].video_ids
    protocol: dict[str, Any] = {
        "experiment": "spaces", "seeds": list(seeds), "max_steps": max_steps, "batch_size": batch_size,
        "steps": steps, "num_clips": len(videos), "num_videos": len(set(videos)), "versions": versions(),
    }  # fmt: skip
    return Report(
        f"spaces: {', '.join(starts)}", protocol, {}, findings=_findings(found, videos, len(seeds), histograms),
        notes=(f"validation had not flattened after {max_steps} steps: {'; '.join(unfinished)}",) * bool(unfinished),
    )  # fmt: skip


def clip_metrics(embedded: Mapping[str, Tensor], clips: Features, repeats: int = 1) -> dict[str, np.ndarray]:
    """Values (repeats, N) by metric whose mean over clips is the metric; NaN for a clip that has none."""
    relevant = equal_pairs(clips.captions)
    metrics: dict[str, Tensor] = {}
    for a, b in DIRECTIONS:
        ahead = num_ahead(embedded[a] @ embedded[b].T, relevant)
        metrics |= {f"r{k}_{a}_to_{b}": (ahead < k).float() for k in (1, 5)}
    volumes = volume_matrix(embedded["text"], embedded["video"], embedded["audio"])
    metrics["r1_text_to_pair"] = (num_ahead(-volumes, relevant) < 1).float()
    metrics["r1_pair_to_text"] = (num_ahead(-volumes.T, relevant) < 1).float()
    single = torch.tensor([bool(name) and "," not in name for name in clips.materials])
    same = equal_pairs(clips.materials)
    for a, b in (("video", "audio"), ("text", "audio")):
        right = (num_ahead((embedded[a] @ embedded[b].T).masked_fill(~single, -torch.inf), same) < 1).float()
        metrics[f"material_{a}_to_{b}"] = right.masked_fill(~single, torch.nan)
    metrics["volume"] = gram_volume(torch.stack([embedded[name] for name in MODALITIES], 1))
    metrics["auc"] = torch.tensor(
        [separation(volumes[i, i : i + 1], column[~relevant[:, i]]) for i, column in enumerate(volumes.T)]
    )
    for a, b in PAIRS:
        metrics[f"cosine_{a}_{b}"] = (embedded[a] * embedded[b]).sum(-1)
        gap = float((embedded[a].mean(0) - embedded[b].mean(0)).norm())
        metrics[f"gap_{a}_{b}"] = torch.full((len(clips),), gap)
    return {name: np.repeat(values.numpy()[None].astype(float), repeats, 0) for name, values in metrics.items()}


def cosines(embedded: Mapping[str, Tensor], clips: Features, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of two modalities' embeddings (N, d): (N,) of the same clip, and (pairs,) of clips of other captions."""
    matrix = embedded[a] @ embedded[b].T
    return matrix.diagonal().numpy(), matrix[~equal_pairs(clips.captions)].numpy()


class NestedBootstrap:
    """95% intervals of means over seeds and clips: seeds, and videos with their clips, drawn with replacement."""

    def __init__(self, videos: Sequence[str], *, seed: int = 0) -> None:
        self.rng, names = np.random.default_rng(seed), sorted(set(videos))
        drawn = self.rng.integers(len(names), size=(NUM_RESAMPLES, len(names)))
        times = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        self.times = times[:, np.searchsorted(names, videos)].astype(float)  # (resamples, N)
        self.shares: dict[int, np.ndarray] = {}

    def interval(self, values: np.ndarray) -> Interval:
        """Of values (seeds, N), NaN left out."""
        count = len(values)
        if count not in self.shares:
            drawn = self.rng.integers(count, size=(NUM_RESAMPLES, count))
            self.shares[count] = np.stack([np.bincount(row, minlength=count) for row in drawn]) / count
        known = ~np.isnan(values)
        sums = (self.shares[count] * (self.times @ np.where(known, values, 0.0).T)).sum(1)
        weights = (self.shares[count] * (self.times @ known.T.astype(float))).sum(1)
        tail = 50 * (1 - LEVEL)
        return Interval(*(float(v) for v in np.percentile(sums / np.maximum(weights, 1e-12), [tail, 100 - tail])))


SHOWN = {
    "R@1 V to A": "r1_video_to_audio", "R@1 A to V": "r1_audio_to_video", "R@1 T to V": "r1_text_to_video",
    "R@1 T to A": "r1_text_to_audio", "material V to A": "material_video_to_audio", "AUC": "auc",
}  # fmt: skip
GAPS = {"gap V-T": "gap_video_text", "gap V-A": "gap_video_audio", "gap T-A": "gap_text_audio",
        "cosine V-T": "cosine_video_text", "cosine V-A": "cosine_video_audio", "cosine T-A": "cosine_text_audio",
        "volume": "volume"}  # fmt: skip


def _findings(
    found: Mapping[str, Mapping[str, np.ndarray]],
    videos: Sequence[str],
    num_seeds: int,
    histograms: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> tuple[Finding, ...]:
    keys = next(iter(found.values())).keys()
    means = {name: {key: float(np.nanmean(values[key])) for key in keys} for name, values in found.items()}
    bootstrap = NestedBootstrap(videos)
    known = {name: {key: bootstrap.interval(values[key]) for key in keys} for name, values in found.items()}

    def table(title: str, text: str, shown: Mapping[str, str], plot: str) -> Finding:
        rows = tuple((name, *(_cell(means[name][key], known[name][key]) for key in shown.values())) for name in found)
        metrics = {
            name: {key: {"value": means[name][key], "interval": list(known[name][key])} for key in keys}
            for name in found
        }
        return Finding(title, text, ("space", *shown), rows, metrics=metrics, plot=plot)

    dots = draw_dots(
        {label: {name: means[name][key] for name in found} for label, key in SHOWN.items()},
        {label: {name: known[name][key] for name in found} for label, key in SHOWN.items()},
    )
    panels = draw_histograms(histograms, labels=("same clip", "other captions"), span=(-1.0, 1.0))
    return (
        table("Spaces", TEXT.format(seeds=num_seeds), SHOWN, dots),
        table(
            "Modality gap", "Gaps and cosines have no interval over videos of their own: a gap is of all clips.", GAPS,
            panels,
        ),
    )  # fmt: skip


def _cell(value: float, interval: Interval) -> str:
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
