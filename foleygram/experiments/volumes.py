"""GRAM volumes of matched and mismatched triplets of video, text and sound, and how well they separate, by material."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from foleygram.alignment.retrieval import equal_pairs, retrieval_report, separation
from foleygram.alignment.volume import volume_matrix
from foleygram.benchmark.alignment import EmbeddedClips, embed_clips
from foleygram.benchmark.protocol import clips_hash, versions
from foleygram.benchmark.report import Finding, Report
from foleygram.benchmark.sounds import pick_clips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.experiments.plots import draw_histograms
from foleygram.files import file_hash
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import INDEX

MIN_CLIPS = 3
"""A material with fewer clips has no row of its own."""
ALL = "all"
TEXT = (
    "Volume of (text, video, sound): of a clip's own three, and of another clip's caption with its video and sound; "
    "clips of equal captions never make a mismatch. AUC: chance that a matched triplet has the smaller volume. The "
    "volume is also small for embeddings in one plane and blind to their sign, so the cosines of matched pairs stand "
    "beside it (mean of video-text, video-sound, text-sound)."
)


class Volumes(NamedTuple):
    """Volumes of matched and of mismatched triplets, and the mean cosines of the matched."""

    matched: Tensor
    mismatched: Tensor
    cosines: tuple[float, float, float]


def volumes(
    checkpoint: str | Path,
    data: str | Path,
    split: str = "test",
    *,
    limit: int | None = None,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
) -> Report:
    """Matched against mismatched triplets on clips of a split, over all of them and for each material."""
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint).to(device)
    dataset = GreatestHits(data, split, spec=pipeline.spec, fields=("frames", "envelope_audio"))
    indices = pick_clips(len(dataset), limit)
    clips = embed_clips(pipeline.parts, dataset, indices=indices, batch_size=batch_size)
    found = volumes_by_material(clips)
    metrics = {
        name: {
            "num_clips": len(v.matched),
            "matched": float(v.matched.median()), "mismatched": float(v.mismatched.median()),
            "auc": separation(v.matched, v.mismatched), "cosines": list(v.cosines),
        }
        for name, v in found.items()
    }  # fmt: skip
    return Report(
        title=f"{split}: {len(indices)} of {len(dataset)} clips of {pipeline.spec.seconds:g} s",
        protocol={
            "checkpoint": Path(checkpoint).name, "checkpoint_sha256": file_hash(Path(checkpoint) / INDEX),
            "data": Path(data).name, "split": split, "num_clips": len(indices),
            "clips_sha256": clips_hash([dataset.clips[i] for i in indices]), "versions": versions(),
        },
        scores={},
        alignment=retrieval_report(*clips),
        findings=(_finding(found, metrics),),
        notes=_left_out(clips.materials, found),
    )  # fmt: skip


def volumes_by_material(clips: EmbeddedClips) -> dict[str, Volumes]:
    """Volumes over all clips, and for clips of one material, the most frequent first; materials of too few left out.

    A material's mismatches keep its clips' video and sound. Raises ValueError where all captions are equal.
    """
    video, text, audio = clips.embeddings
    differs = ~equal_pairs(clips.captions)
    if not differs.any():
        raise ValueError(f"{len(clips.captions)} clips with one caption: no mismatched triplet; take more clips")
    matrix = volume_matrix(text, video, audio)  # texts by pairs
    pairs = [(a * b).sum(-1) for a, b in ((video, text), (video, audio), (text, audio))]
    groups = {ALL: list(range(len(text)))} | _by_material(clips.materials)
    return {
        name: Volumes(
            matrix.diagonal()[members],
            matrix[:, members][differs[:, members]],
            (float(pairs[0][members].mean()), float(pairs[1][members].mean()), float(pairs[2][members].mean())),
        )
        for name, members in groups.items()
        if name == ALL or (len(members) >= MIN_CLIPS and differs[:, members].any())
    }


def _by_material(materials: Sequence[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(materials):
        if name and "," not in name:
            groups.setdefault(name, []).append(index)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def _finding(found: dict[str, Volumes], metrics: dict[str, dict[str, object]]) -> Finding:
    rows = [
        (name, str(len(v.matched)), f"{v.matched.median():.3f}", f"{v.mismatched.median():.3f}",
         f"{separation(v.matched, v.mismatched):.3f}", ", ".join(f"{cosine:.2f}" for cosine in v.cosines))
        for name, v in found.items()
    ]  # fmt: skip
    panels = {
        f"{name} ({len(v.matched)})": (np.asarray(v.matched), np.asarray(v.mismatched)) for name, v in found.items()
    }
    return Finding(
        "Volumes of matched and mismatched triplets", TEXT,
        ("material", "clips", "median, matched", "median, mismatched", "AUC", "cosines"), tuple(rows),
        metrics=metrics, plot=draw_histograms(panels, labels=("matched", "mismatched")),
    )  # fmt: skip


def _left_out(materials: Sequence[str], found: dict[str, Volumes]) -> tuple[str, ...]:
    few = [name for name in _by_material(materials) if name not in found]
    if not few:
        return ()
    return (f"materials with fewer than {MIN_CLIPS} clips have no row of their own: {', '.join(few)}",)
