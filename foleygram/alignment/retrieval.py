"""Retrieval, material agreement and volumes of an aligned space (GRAM, arXiv 2412.11959, sec. 4)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foleygram.alignment.volume import volume_matrix

RANKS = (1, 5, 10)


class Embeddings(NamedTuple):
    """Unit embeddings (N, d) of the same clips, row by row."""

    video: Tensor
    text: Tensor
    audio: Tensor


def retrieval_report(embeddings: Embeddings, captions: Sequence[str], materials: Sequence[str]) -> dict[str, float]:
    """Every metric of the space on N clips; one that these clips cannot give (too few, all equal) is left out.

    `r1_text_to_video` ...: recall, any clip with an equal caption is right; `material_video_to_audio` ...: the nearest
    neighbour's material, over clips of one material; `cosine_*`: mean over matched pairs; `auc_*`: chance that a
    matched triplet's volume is below a mismatched one's. Raises ValueError when the lengths differ.
    """
    lengths = {*map(len, embeddings), len(captions), len(materials)}
    if len(lengths) != 1:
        raise ValueError(
            f"embeddings, captions and materials have lengths {sorted(lengths)}: one of each per clip is needed"
        )
    embeddings = Embeddings(*(part.detach().float() for part in embeddings))
    relevant = equal_pairs(captions).to(embeddings.text.device)
    report: dict[str, float] = {}
    for direction, scores in _directions(embeddings).items():
        report |= {f"r{k}_{direction}": value for k, value in recall_at(scores, relevant).items()}
    single = torch.tensor([bool(name) and "," not in name for name in materials])
    if single.any():
        same = equal_pairs([name for name, alone in zip(materials, single.tolist(), strict=True) if alone])
        chosen = Embeddings(*(part[single.to(part.device)] for part in embeddings))
        for direction, scores in _cosines(chosen).items():
            report[f"material_{direction}"] = nearest_agreement(scores, same.to(scores.device))
    return report | matched_cosines(embeddings) | mismatch_auc(embeddings, relevant)


def equal_pairs(names: Sequence[str]) -> Tensor:
    """Mask (N, N), True where two names are equal."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = torch.tensor([numbers[name] for name in names])
    return codes[:, None] == codes


def recall_at(scores: Tensor, relevant: Tensor, ranks: Sequence[int] = RANKS) -> dict[int, float]:
    """Share of queries (rows of (Q, G)) with a relevant item among their k best scores; ties count against it."""
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    ahead = ((scores >= best) & ~relevant).sum(1)
    return {k: (ahead < k).float().mean().item() for k in ranks}


def nearest_agreement(scores: Tensor, same: Tensor) -> float:
    """Share of queries (rows of (Q, G)) whose best item is of the same kind; ties count against it."""
    return recall_at(scores, same, (1,))[1]


def matched_cosines(embeddings: Embeddings) -> dict[str, float]:
    """Mean cosine of each pair of modalities over matched rows; volumes do not depend on its sign."""
    video, text, audio = embeddings
    pairs = {"video_text": (video, text), "video_audio": (video, audio), "text_audio": (text, audio)}
    return {f"cosine_{name}": (a * b).sum(-1).mean().item() for name, (a, b) in pairs.items()}


def mismatch_auc(embeddings: Embeddings, equal: Tensor) -> dict[str, float]:
    """AUC of volume(matched) < volume(mismatched): another text with (video, audio) kept, and all three mixed.

    `equal` (N, N) marks clips with equal captions, which never make a mismatch. Mixed triplets are every text with
    every video and one audio drawn for that video (the same draw in every call), of three different captions.
    """
    video, text, audio = embeddings
    volumes = volume_matrix(text, video, audio)
    drawn = torch.randperm(len(text), generator=torch.Generator().manual_seed(0)).to(text.device)
    mixed = volume_matrix(text, video, audio[drawn])
    differs = ~equal
    apart = differs & differs[:, drawn] & differs[:, drawn].diagonal()
    candidates = {"auc_other_text": volumes[differs], "auc_all_mixed": mixed[apart]}
    return {name: separation(volumes.diagonal(), values) for name, values in candidates.items() if len(values)}


def separation(low: Tensor, high: Tensor) -> float:
    """Chance that a value of `low` is below one of `high`, ties counting half (area under the ROC curve)."""
    ordered = high.sort().values
    below = torch.searchsorted(ordered, low.contiguous(), right=False)
    not_above = torch.searchsorted(ordered, low.contiguous(), right=True)
    return 1.0 - 0.5 * (below + not_above).double().mean().item() / len(ordered)


def _directions(embeddings: Embeddings) -> dict[str, Tensor]:
    by_volume = -volume_matrix(embeddings.text, embeddings.video, embeddings.audio)
    return _cosines(embeddings) | {"text_to_pair": by_volume, "pair_to_text": by_volume.T}


def _cosines(embeddings: Embeddings) -> dict[str, Tensor]:
    named = embeddings._asdict()
    return {f"{a}_to_{b}": named[a] @ named[b].T for a in named for b in named if a != b}
