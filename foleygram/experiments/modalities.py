"""GRAM under modalities of unequal size and noise, three and four of them, and sizes of a space that begins aligned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foleygram.alignment.losses import GramLoss, gram_contrastive_loss
from foleygram.alignment.retrieval import equal_pairs, separation
from foleygram.alignment.volume import volume_matrix
from foleygram.benchmark.protocol import versions
from foleygram.benchmark.report import Finding, Report
from foleygram.experiments.frozen_heads import (
    MODALITIES,
    Features,
    embed,
    fresh_heads,
    num_ahead,
    own_heads,
    resized_heads,
    train_heads,
)
from foleygram.experiments.plots import draw_dots
from foleygram.experiments.spaces import NestedBootstrap

DIM = 64
SIZES = (4, 16, 64)
"""Widths to which one modality's features are cut, the others left as they are."""
NOISE = (0.5, 1.0, 2.0)
"""Deviations of the noise on one modality's features, in units of the features' own."""
ALIGNED_DIMS = (8, 16, 32, 64, 128, 256, 512)
SHOWN = {
    "AUC, volume": "auc", "R@1 text to rest": "r1_text_to_rest", "R@1 V to A": "r1_video_to_audio",
    "material V to A": "material_video_to_audio", "volume, matched": "volume",
}  # fmt: skip
TEXT = (
    "Heads trained by GRAM on the frozen networks of a release until the validation loss flattens, {seeds} seeds; "
    "held-out clips, 95% intervals over seeds and videos drawn together. AUC: chance that a clip's own volume is below "
    "that of another caption with its other modalities. "
)
TITLES = {
    "size": ("One modality of another size", "Features cut to so many random directions; fresh heads into one space."),
    "noise": ("One modality with noise", "Gaussian noise of so many deviations on its features, drawn per clip."),
    "number": (
        "Three and four modalities",
        "The fourth is the RMS envelope, which comes from the sound; volumes of three and of four vectors are of "
        "different scale, so compare AUC and recall.",
    ),
    "aligned": (
        "Sizes from an aligned start",
        "The release's heads, turned into more dimensions (all cosines stay) or cut to their principal directions: "
        "before (as it is) and after training.",
    ),
}


def vary_modalities(
    encoders: Path, train: Features, val: Features, scored: Features, *, seeds: Sequence[int], max_steps: int = 2000,
    batch_size: int = 64,
) -> Report:  # fmt: skip
    """Each way of `TITLES` to change what GRAM aligns, as a table of its own."""
    widths = {name: train.values[name].shape[1] for name in (*MODALITIES, "envelope")}
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {kind: {} for kind in TITLES}

    def run(
        kind: str, label: str, names: Sequence[str], parts: list[Features], heads: dict[str, Tensor] | None
    ) -> None:
        rows = []
        for seed in seeds:
            begin = heads or fresh_heads({n: parts[0].values[n].shape[1] for n in names}, DIM, seed)
            objective = GramLoss()

            def loss(embedded: dict[str, Tensor], excluded: Tensor, objective: GramLoss = objective) -> Tensor:
                text, *others = (embedded[name] for name in ("text", *(n for n in names if n != "text")))
                return gram_contrastive_loss(text, *others, temperature=objective.temperature, excluded=excluded)

            trained = train_heads(
                loss, list(objective.parameters()), begin, parts[0], parts[1], seed=seed, max_steps=max_steps,
                batch_size=batch_size,
            )  # fmt: skip
            rows.append(volume_metrics(embed(trained.heads, parts[2].values), parts[2]))
        found[kind][label] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    sets = [train, val, scored]
    for name in MODALITIES:
        for size in SIZES:
            run("size", f"{name} {size}", MODALITIES, [_cut(part, name, size) for part in sets], None)
        for noise in NOISE:
            noisy = [_noisy(part, train, name, noise, seed=number) for number, part in enumerate(sets)]
            run("noise", f"{name} {noise:g}", MODALITIES, noisy, None)
    label = ", ".join(str(widths[name]) for name in MODALITIES)
    run("number", "three", MODALITIES, sets, None)
    run("number", "four", (*MODALITIES, "envelope"), sets, None)
    found["size"] = {f"all ({label})": found["number"]["three"]} | found["size"]
    found["noise"] = {"none": found["number"]["three"]} | found["noise"]
    own = own_heads(encoders)
    for dim in ALIGNED_DIMS:
        begin = resized_heads(own, train, dim, seed=0)
        before = volume_metrics(embed(begin, scored.values), scored)
        found["aligned"][f"{dim}, as it is"] = {key: values[None] for key, values in before.items()}
        run("aligned", f"{dim}, trained", MODALITIES, sets, begin)
    protocol = {
        "experiment": "modalities", "seeds": list(seeds), "max_steps": max_steps, "batch_size": batch_size,
        "dimensions": DIM, "num_clips": len(scored), "num_videos": len(set(scored.video_ids)), "versions": versions(),
    }  # fmt: skip
    findings = tuple(_finding(kind, rows, scored.video_ids, len(seeds)) for kind, rows in found.items())
    return Report("modalities: sizes, noise, number, aligned sizes", protocol, {}, findings=findings)


def volume_metrics(embedded: Mapping[str, Tensor], clips: Features) -> dict[str, np.ndarray]:
    """Values (N,) by metric whose mean over clips is the metric, of any number of modalities with text the anchor."""
    relevant = equal_pairs(clips.captions)
    others = [embedded[name] for name in embedded if name != "text"]
    volumes = volume_matrix(embedded["text"], *others)
    single = torch.tensor([bool(name) and "," not in name for name in clips.materials])
    by_cosine = embedded["video"] @ embedded["audio"].T
    right = (num_ahead(by_cosine.masked_fill(~single, -torch.inf), equal_pairs(clips.materials)) < 1).float()
    auc = [separation(volumes[i, i : i + 1], column[~relevant[:, i]]) for i, column in enumerate(volumes.T)]
    metrics = {
        "auc": torch.tensor(auc),
        "r1_text_to_rest": (num_ahead(-volumes, relevant) < 1).float(),
        "r1_video_to_audio": (num_ahead(by_cosine, relevant) < 1).float(),
        "material_video_to_audio": right.masked_fill(~single, torch.nan),
        "volume": volumes.diagonal(),
    }
    return {name: values.numpy().astype(float) for name, values in metrics.items()}


def _cut(part: Features, name: str, size: int) -> Features:
    width = part.values[name].shape[1]
    directions = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0))).Q[:, :size]
    return Features(part.values | {name: part.values[name] @ directions}, part.captions, part.materials, part.video_ids)


def _noisy(part: Features, train: Features, name: str, amount: float, *, seed: int) -> Features:
    deviation = train.values[name].std(0)
    generator = torch.Generator().manual_seed(seed)
    noise = amount * deviation * torch.randn(part.values[name].shape, generator=generator)
    return Features(part.values | {name: part.values[name] + noise}, part.captions, part.materials, part.video_ids)


def _finding(kind: str, rows: Mapping[str, Mapping[str, np.ndarray]], videos: Sequence[str], num_seeds: int) -> Finding:
    title, text = TITLES[kind]
    means = {name: {key: float(np.nanmean(values[key])) for key in SHOWN.values()} for name, values in rows.items()}
    bootstrap = NestedBootstrap(videos)
    known = {name: {key: bootstrap.interval(values[key]) for key in SHOWN.values()} for name, values in rows.items()}
    cells = tuple(
        (
            name,
            *(f"{means[name][k]:.3f} ({known[name][k].low:.3f} to {known[name][k].high:.3f})" for k in SHOWN.values()),
        )
        for name in rows
    )
    metrics = {n: {k: {"value": means[n][k], "interval": list(known[n][k])} for k in SHOWN.values()} for n in rows}
    plot = draw_dots(
        {label: {name: means[name][key] for name in rows} for label, key in SHOWN.items()},
        {label: {name: known[name][key] for name in rows} for label, key in SHOWN.items()},
    )
    return Finding(title, TEXT.format(seeds=num_seeds) + text, ("variant", *SHOWN), cells, metrics=metrics, plot=plot)
