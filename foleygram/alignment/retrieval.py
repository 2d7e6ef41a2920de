"""Retrieval, material agreement and volumes of an aligned space (GRAM, arXiv 2412.11959, sec. 4)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foleygram.alignment.losses import ContrastiveObjective
from foleygram.alignment.volume import volume_matrix

RANKS = (1, 5, 10)
QUERIES_AT_ONCE = 512
"""Rows of a table of scores that are in memory at a time: with 15,000 clips one such part takes 30 MB."""
CLIPS_PER_LOSS = 256
"""Clips that are each other's negatives in `loss_over_blocks`: those of a training batch."""

Scores = Callable[[slice], Tensor]
"""Rows (q, G) of the scores (Q, G) of every query with every item, for a slice of the queries."""


class Embeddings(NamedTuple):
    """Unit embeddings (N, d) of the same clips, row by row."""

    video: Tensor
    text: Tensor
    audio: Tensor

    def rows(self, chosen: slice | Tensor) -> "Embeddings":
        """Those of some clips."""
        return Embeddings(*(part[chosen] for part in self))


def retrieval_report(embeddings: Embeddings, captions: Sequence[str], materials: Sequence[str]) -> dict[str, float]:
    """Every metric of the space on N clips; one that these clips cannot give (too few, all equal) is left out.

    `r1_text_to_video` ...: recall, any clip with an equal caption is right; `material_video_to_audio` ...: the nearest
    neighbour's material, over clips of one material; `cosine_*`: mean over matched pairs; `auc_*`: chance that a
    matched triplet's volume is below a mismatched one's. Memory grows with N, time with its square. Raises ValueError
    when the lengths differ.
    """
    lengths = {*map(len, embeddings), len(captions), len(materials)}
    if len(lengths) != 1:
        raise ValueError(
            f"embeddings, captions and materials have lengths {sorted(lengths)}: one of each per clip is needed"
        )
    embeddings = Embeddings(*(part.detach().float() for part in embeddings))
    codes = name_codes(captions).to(embeddings.text.device)
    report: dict[str, float] = {}
    for direction, scores in _directions(embeddings).items():
        report |= {f"r{k}_{direction}": value for k, value in recall_at(scores, codes).items()}
    single = torch.tensor([bool(name) and "," not in name for name in materials])
    if single.any():
        same = name_codes([name for name, alone in zip(materials, single.tolist(), strict=True) if alone])
        chosen = embeddings.rows(single.to(codes.device))
        for direction, scores in _cosines(chosen).items():
            report[f"material_{direction}"] = recall_at(scores, same.to(codes.device), (1,))[1]
    return report | matched_cosines(embeddings) | mismatch_auc(embeddings, codes)


@torch.no_grad()
def loss_over_blocks(objective: ContrastiveObjective, embeddings: Embeddings, captions: Sequence[str]) -> float:
    """Mean of `objective` over N clips, in blocks of at most `CLIPS_PER_LOSS` of nearly equal size.

    As one batch, thousands of clips would take gigabytes, and their loss would grow with their number.
    """
    codes, total = name_codes(captions).to(embeddings.text.device), 0.0
    for block in torch.arange(len(codes), device=codes.device).tensor_split(-(-len(codes) // CLIPS_PER_LOSS)):
        excluded = codes[block, None] == codes[block] if objective.mask_equal else None
        total += len(block) * objective.loss(*embeddings.rows(block), excluded=excluded).item()
    return total / len(codes)


def name_codes(names: Sequence[str]) -> Tensor:
    """A number (N,) for each name, the same for equal names."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def equal_pairs(names: Sequence[str]) -> Tensor:
    """Mask (N, N), True where two names are equal."""
    codes = name_codes(names)
    return codes[:, None] == codes


def recall_at(scores: Scores, codes: Tensor, ranks: Sequence[int] = RANKS) -> dict[int, float]:
    """Share of queries with an item of an equal code (N,) among their k best scores; ties count against it."""
    ahead = []
    for rows in _slices(len(codes)):
        some, relevant = scores(rows), codes[rows, None] == codes
        best = some.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
        ahead.append(((some >= best) & ~relevant).sum(1))
    return {k: (torch.cat(ahead) < k).float().mean().item() for k in ranks}


def matched_cosines(embeddings: Embeddings) -> dict[str, float]:
    """Mean cosine of each pair of modalities over matched rows; volumes do not depend on its sign."""
    video, text, audio = embeddings
    pairs = {"video_text": (video, text), "video_audio": (video, audio), "text_audio": (text, audio)}
    return {f"cosine_{name}": (a * b).sum(-1).mean().item() for name, (a, b) in pairs.items()}


def mismatch_auc(embeddings: Embeddings, codes: Tensor) -> dict[str, float]:
    """AUC of volume(matched) < volume(mismatched): another text with (video, audio) kept, and all three mixed.

    Clips of equal `codes` (N,), whose captions are equal, never make a mismatch. Mixed triplets are every text with
    every video and one audio drawn for that video (the same draw in every call), of three different captions.
    """
    video, text, audio = embeddings
    drawn = torch.randperm(len(text), generator=torch.Generator().manual_seed(0)).to(text.device)
    # Clones, because a view of the diagonal would keep the whole part in memory.
    matched = [_volumes(embeddings, rows).diagonal(rows.start).clone() for rows in _slices(len(text))]

    def other_text() -> Iterator[Tensor]:
        for rows in _slices(len(text)):
            yield _volumes(embeddings, rows)[codes[rows, None] != codes]

    def all_mixed() -> Iterator[Tensor]:
        mixed, theirs = Embeddings(video, text, audio[drawn]), codes[drawn]
        for rows in _slices(len(text)):
            own = codes[rows, None]
            yield _volumes(mixed, rows)[(own != codes) & (own != theirs) & (codes != theirs)]

    comparisons = {"auc_other_text": other_text(), "auc_all_mixed": all_mixed()}
    areas = {name: _area(torch.cat(matched), parts) for name, parts in comparisons.items()}
    return {name: area for name, area in areas.items() if area is not None}


def separation(low: Tensor, high: Tensor) -> float:
    """Chance that one of `low` (n,) is below one of `high` (m,), ties counting half: the area under the ROC curve.

    Raises ValueError when one of them is empty.
    """
    area = _area(low, [high])
    if area is None:
        raise ValueError(f"{len(low)} and {len(high)} values: at least one of each is needed")
    return area


def _area(low: Tensor, highs: Iterable[Tensor]) -> float | None:
    """`separation` of `low` from all values of `highs`; None without any."""
    ordered = low.sort().values
    twice, count = 0, 0
    for high in highs:
        for right in (False, True):
            twice += int(torch.searchsorted(ordered, high.contiguous(), right=right).sum())
        count += high.numel()
    return twice / (2 * len(ordered) * count) if count and len(ordered) else None


def _slices(count: int) -> list[slice]:
    return [slice(first, min(first + QUERIES_AT_ONCE, count)) for first in range(0, count, QUERIES_AT_ONCE)]


def _volumes(embeddings: Embeddings, texts: slice) -> Tensor:
    """Volumes (q, N) of some texts with every clip's (video, audio)."""
    return volume_matrix(embeddings.text[texts], embeddings.video, embeddings.audio)


def _directions(embeddings: Embeddings) -> dict[str, Scores]:
    video, text, audio = embeddings
    return _cosines(embeddings) | {
        "text_to_pair": lambda texts: -_volumes(embeddings, texts),
        "pair_to_text": lambda pairs: -volume_matrix(text, video[pairs], audio[pairs]).T,
    }


def _cosines(embeddings: Embeddings) -> dict[str, Scores]:
    def between(queries: Tensor, targets: Tensor) -> Scores:
        return lambda rows: queries[rows] @ targets.T

    named = embeddings._asdict()
    return {f"{a}_to_{b}": between(named[a], named[b]) for a in named for b in named if a != b}
