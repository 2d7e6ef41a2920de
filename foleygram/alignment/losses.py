"""Contrastive objectives over video, text and audio: GRAM and the alternatives it is compared with."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.nn.functional import all_gather

from foleygram.alignment.volume import volume_matrix


def smoothed_cross_entropy(logits: Tensor, *, label_smoothing: float, excluded: Tensor | None = None) -> Tensor:
    """Cross entropy of row i against column i of (B, B) logits, `excluded` columns (B, B) left out of each row.

    The smoothing mass is spread over the columns that are left, so a mask never makes the loss infinite.
    Raises ValueError for logits that are not square, or none.
    """
    if len(logits) == 0 or logits.shape != (len(logits), len(logits)):
        raise ValueError(
            f"logits of shape {tuple(logits.shape)}: row i and column i must be of one clip, of one or more"
        )
    kept = torch.ones_like(logits, dtype=torch.bool) if excluded is None else ~excluded
    kept = kept | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    log_probabilities = logits.masked_fill(~kept, -torch.inf).log_softmax(-1)
    mean_kept = log_probabilities.masked_fill(~kept, 0.0).sum(-1) / kept.sum(-1)
    return -((1 - label_smoothing) * log_probabilities.diagonal() + label_smoothing * mean_kept).mean()


def symmetric_loss(logits: Tensor, *, label_smoothing: float, excluded: Tensor | None = None) -> Tensor:
    """Mean of the cross entropies of (B, B) logits over rows and over columns."""
    forward = smoothed_cross_entropy(logits, label_smoothing=label_smoothing, excluded=excluded)
    backward = smoothed_cross_entropy(
        logits.T, label_smoothing=label_smoothing, excluded=None if excluded is None else excluded.T
    )
    return 0.5 * (forward + backward)


def gram_contrastive_loss(
    anchor: Tensor,
    *others: Tensor,
    temperature: float | Tensor,
    label_smoothing: float = 0.1,
    excluded: Tensor | None = None,
) -> Tensor:
    """GRAM's loss (arXiv 2412.11959, equations 5 to 7): the anchor (text) against the others' rows, both directions.

    Vectors (B, d) of unit length; logits -Vol / temperature; `excluded` (B, B) marks pairs that are no negatives.
    Raises ValueError when the shapes do not fit.
    """
    logits = -volume_matrix(anchor, *others) / temperature
    return symmetric_loss(logits, label_smoothing=label_smoothing, excluded=excluded)


def num_processes() -> int:
    """How many processes train together; 1 outside of distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of every process in rank order, (world x B, ...), gradients flowing back to their owners."""
    if num_processes() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()))


def equal_captions(captions: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Mask (B, B) of pairs of different clips with equal captions, over every process's batch: no negatives."""
    # Eight bytes per caption travel between processes, as one tensor, instead of pickled strings.
    digests = [hashlib.blake2b(caption.encode(), digest_size=8).digest() for caption in captions]
    codes = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], device=device)
    if num_processes() > 1:
        gathered = [torch.empty_like(codes) for _ in range(num_processes())]
        dist.all_gather(gathered, codes)
        codes = torch.cat(gathered)
    return (codes[:, None] == codes) & ~torch.eye(len(codes), dtype=torch.bool, device=device)


class _AtLeast(torch.autograd.Function):
    """max(value, bound) whose gradient passes below the bound too when a step along it leads back above."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bound: float) -> Tensor:
        ctx.below = value < bound
        return value.clamp(min=bound)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].masked_fill(ctx.below & (grads[0] > 0), 0.0), None


class ContrastiveObjective(nn.Module):
    """What the objectives share: a learnable temperature, the global batch, the mask of equal captions."""

    def __init__(
        self,
        temperature: float = 0.07,
        min_temperature: float = 0.01,
        label_smoothing: float = 0.1,
        mask_equal: bool = True,
    ) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor([temperature]).log())  # (1,): a scalar cannot be sharded
        self.min_temperature, self.label_smoothing, self.mask_equal = min_temperature, label_smoothing, mask_equal

    @property
    def temperature(self) -> Tensor:
        """The divisor of the logits, never below its clamp, nor stuck there."""
        return _AtLeast.apply(self.log_temperature[0].exp(), self.min_temperature)

    def forward(self, video: Tensor, text: Tensor, audio: Tensor, captions: Sequence[str]) -> Tensor:
        """Loss (scalar) of unit embeddings (B, d) of one clip per row, over the batches of all processes.

        Every process holds the same value; its gradient is the global loss's, averaged as DDP expects.
        """
        excluded = equal_captions(captions, video.device) if self.mask_equal else None
        with torch.autocast(video.device.type, enabled=False):
            everyone = (gather_with_gradient(part.float()) for part in (video, text, audio))
            return self.loss(*everyone, excluded=excluded)

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """The objective on one whole batch."""
        raise NotImplementedError

    def _cosine_loss(self, a: Tensor, b: Tensor, excluded: Tensor | None) -> Tensor:
        return symmetric_loss(a @ b.T / self.temperature, label_smoothing=self.label_smoothing, excluded=excluded)


class GramLoss(ContrastiveObjective):
    """GRAM: volume of text with the (video, audio) pair."""

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """See `gram_contrastive_loss`."""
        return gram_contrastive_loss(
            text, video, audio, temperature=self.temperature, label_smoothing=self.label_smoothing, excluded=excluded
        )


class AnchorInfoNCE(ContrastiveObjective):
    """Text against video and text against audio, never video against audio (ImageBind, LanguageBind)."""

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean InfoNCE of the two anchored pairs."""
        return 0.5 * (self._cosine_loss(text, video, excluded) + self._cosine_loss(text, audio, excluded))


class PairwiseInfoNCE(ContrastiveObjective):
    """InfoNCE over all three pairs."""

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean InfoNCE of text-video, text-audio and video-audio."""
        pairs = ((text, video), (text, audio), (video, audio))
        return torch.stack([self._cosine_loss(a, b, excluded) for a, b in pairs]).mean()


class Symile(ContrastiveObjective):
    """Multilinear inner product of the three (Saporta et al. 2024), each in turn the anchor.

    As in GRAM's loss the other two stay matched: anchor i meets the pair of clip j, over the whole batch.
    """

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean over anchors of the cross entropy of sqrt(d) <anchor_i, other_j * third_j> / temperature, by rows."""
        scale = video.shape[-1] ** 0.5 / self.temperature
        triples = ((video, text, audio), (text, audio, video), (audio, video, text))
        losses = [
            smoothed_cross_entropy(a @ (b * c).T * scale, label_smoothing=self.label_smoothing, excluded=excluded)
            for a, b, c in triples
        ]
        return torch.stack(losses).mean()
