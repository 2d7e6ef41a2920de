"""Heads trained on frozen networks: one forward pass over the clips, then seconds for each variant of a space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from foleygram.alignment.encoders import MAX_TOKENS
from foleygram.alignment.retrieval import equal_pairs
from foleygram.datasets.datamodule import collate_clips
from foleygram.envelope.rms import rms_envelope
from foleygram.pipeline.release import load_part
from foleygram.spec import ClipSpec

MODALITIES = ("video", "text", "audio")
CHECK_EVERY, PATIENCE, LEAST_GAIN = 25, 4, 0.002
"""Steps between validations; training ends when so many bring no relative gain above the last."""
FLOOR_DB = -60.0


@dataclass(frozen=True, eq=False)
class Features:
    """What the networks give before their heads (N, width) by modality, and what is known of the N clips."""

    values: dict[str, Tensor]
    captions: list[str]
    materials: list[str]
    video_ids: list[str]

    def __len__(self) -> int:
        return len(self.captions)


class Trained(NamedTuple):
    """Heads (d, width) by modality as they were at the lowest validation loss, and how long they trained."""

    heads: dict[str, Tensor]
    steps: int
    flattened: bool
    """Whether training ended because the validation loss no longer fell."""


Loss = Callable[[dict[str, Tensor], Tensor], Tensor]
"""Of unit embeddings (B, d) by modality and the mask (B, B) of different clips with equal captions."""


@torch.inference_mode()
def frozen_features(encoders: Path, clips: Dataset, num_clips: int, spec: ClipSpec, batch_size: int = 32) -> Features:
    """Features of a folder's three encoders, and of each clip's RMS envelope in dB as `envelope`."""
    video, text, audio = (load_part(encoders, f"{name}_encoder").eval() for name in MODALITIES)
    tokenizer = load_part(encoders, "tokenizer")
    parts: dict[str, list[Tensor]] = {name: [] for name in (*MODALITIES, "envelope")}
    known: dict[str, list[str]] = {"caption": [], "materials": [], "video_id": []}
    for first in range(0, num_clips, batch_size):
        batch = collate_clips([clips[i] for i in range(first, min(first + batch_size, num_clips))])
        words = tokenizer(
            batch["caption"], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )  # fmt: skip
        parts["video"].append(video.tokens(batch["frames"])[:, :, 0].float().mean(1))
        parts["text"].append(text.tokens(words["input_ids"], words["attention_mask"])[:, 0])
        parts["audio"].append(audio.tokens(batch["envelope_audio"]).float().mean(1))
        curve = rms_envelope(batch["envelope_audio"], spec.frame_length, spec.hop_length)
        parts["envelope"].append(20 * curve.clamp(min=10 ** (FLOOR_DB / 20)).log10() / -FLOOR_DB)
        for name, values in known.items():
            values += batch[name]
    joined = {name: torch.cat(values) for name, values in parts.items()}
    return Features(joined, known["caption"], known["materials"], known["video_id"])


def own_heads(encoders: Path) -> dict[str, Tensor]:
    """The heads (d, width) that a folder's encoders came with."""
    return {name: load_part(encoders, f"{name}_encoder").head.weight.detach().clone() for name in MODALITIES}


def fresh_heads(widths: Mapping[str, int], dim: int, seed: int) -> dict[str, Tensor]:
    """Untrained heads (dim, width) by modality, as the encoders begin with."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(dim, width, generator=generator) * width**-0.5 for name, width in widths.items()}


def resized_heads(heads: Mapping[str, Tensor], features: Features, dim: int, seed: int) -> dict[str, Tensor]:
    """Heads (dim, width) of another size than (old, width): turned into `dim` dimensions, or cut to principal ones.

    With more dimensions than before all cosines stay; with fewer, the embeddings' principal directions are kept.
    """
    old = next(iter(heads.values())).shape[0]
    if dim >= old:
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(torch.randn(dim, old, generator=generator)).Q
    else:
        embedded = torch.cat(list(embed(heads, features.values).values()))
        turn = torch.linalg.svd(embedded, full_matrices=False).Vh[:dim]
    return {name: turn @ head for name, head in heads.items()}


def embed(heads: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Unit embeddings (N, d) of features by modality."""
    return {name: F.normalize(F.linear(values[name], head), dim=-1) for name, head in heads.items()}


def train_heads(
    loss: Loss,
    parameters: Sequence[torch.nn.Parameter],
    heads: Mapping[str, Tensor],
    train: Features,
    val: Features,
    *,
    seed: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    max_steps: int = 2000,
) -> Trained:
    """Train heads (dim, width) by `loss`, whose own `parameters` train as well, until its validation flattens.

    Batches are drawn from `seed`. Raises ValueError for fewer clips than a batch.
    """
    if len(train) < batch_size:
        raise ValueError(f"{len(train)} clips: fewer than a batch of {batch_size}; render more videos")
    current = {name: head.clone().requires_grad_() for name, head in heads.items()}
    optimizer = torch.optim.Adam([*current.values(), *parameters], lr=lr)
    rng, equal = np.random.default_rng(seed), {part: _equal_others(part.captions) for part in (train, val)}
    best, kept, waited, step = float("inf"), _copied(current), 0, 0
    while step < max_steps and waited < PATIENCE:
        for _ in range(CHECK_EVERY):
            chosen = torch.from_numpy(rng.choice(len(train), batch_size, replace=False))
            found = loss(
                embed(current, {name: train.values[name][chosen] for name in current}), equal[train][chosen][:, chosen]
            )
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            step += 1
        with torch.no_grad():
            value = float(loss(embed(current, val.values), equal[val]))
        if value < best - LEAST_GAIN * abs(best if best < float("inf") else value):
            best, kept, waited = value, _copied(current), 0
        else:
            waited += 1
    return Trained(kept, step, waited >= PATIENCE)


def _copied(heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: head.detach().clone() for name, head in heads.items()}


def _equal_others(captions: Sequence[str]) -> Tensor:
    return equal_pairs(captions) & ~torch.eye(len(captions), dtype=torch.bool)


def num_ahead(scores: Tensor, relevant: Tensor) -> Tensor:
    """How many irrelevant items score at least as high as each query's best relevant one, (Q,) of (Q, G)."""
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    return ((scores >= best) & ~relevant).sum(1)
