"""Retrieval and separation in the aligned space, on a data set's clips."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.datasets.datamodule import collate_clips
from foleygram.pipeline.parts import Encoders

PRINTED = ("material_video_to_audio", "material_audio_to_video", "auc_other_text", "auc_all_mixed")
"""Metrics that the terminal shows; a report holds all."""


class EmbeddedClips(NamedTuple):
    """Unit embeddings of clips, their captions, and their materials, comma-separated."""

    embeddings: Embeddings
    captions: list[str]
    materials: list[str]


def embed_clips(encoders: Encoders, dataset: Dataset, *, indices: Sequence[int], batch_size: int) -> EmbeddedClips:
    """Video, text and sound of the clips that `indices` name in the aligned space, on the CPU."""
    parts: list[dict[str, Tensor]] = []
    captions: list[str] = []
    materials: list[str] = []
    for first in range(0, len(indices), batch_size):
        batch = collate_clips([dataset[i] for i in indices[first : first + batch_size]])
        parts.append({name: rows.float().cpu() for name, rows in encoders.embed(batch).items()})
        captions += batch["caption"]
        materials += batch["materials"]
    joined = {name: torch.cat([part[name] for part in parts]) for name in Embeddings._fields}
    return EmbeddedClips(Embeddings(**joined), captions, materials)


def alignment_metrics(
    encoders: Encoders, dataset: Dataset, *, indices: Sequence[int], batch_size: int
) -> dict[str, float]:
    """Retrieval, material agreement and mismatch AUC of the aligned encoders on the clips that `indices` name."""
    return retrieval_report(*embed_clips(encoders, dataset, indices=indices, batch_size=batch_size))
