"""Contrastive objectives over video, text and audio: GRAM and the alternatives it is compared with."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.nn.functional import all_gather

from foleygram.alignment.volume import DEFAULT_EPS, triangle_areas, volume_matrix


def smoothed_cross_entropy(
    logits: Tensor, *, label_smoothing: float, targets: Tensor | None = None, excluded: Tensor | None = None
) -> Tensor:
    """Mean cross entropy of the rows of (B, C) logits, whose positives are the columns `targets` (B,), else i of row i.

    `excluded` (B, C) marks columns that are not negatives of a row. The smoothing mass is spread over the columns that
    are left, so a mask never makes the loss infinite. Raises ValueError for empty logits, and without `targets` for
    logits that are not square.
    """
    batch = len(logits)
    if batch == 0 or (targets is None and logits.shape != (batch, batch)):
        raise ValueError(f"logits have shape {tuple(logits.shape)}: expected (B, B), row i and column i of one clip")
    targets = torch.arange(batch, device=logits.device) if targets is None else targets
    kept = torch.ones_like(logits, dtype=torch.bool) if excluded is None else ~excluded
    kept = kept.scatter(1, targets[:, None], True)
    log_probabilities = logits.masked_fill(~kept, -torch.inf).log_softmax(-1)
    mean_kept = log_probabilities.masked_fill(~kept, 0.0).sum(-1) / kept.sum(-1)
    positive = log_probabilities.gather(1, targets[:, None])[:, 0]
    return -((1 - label_smoothing) * positive + label_smoothing * mean_kept).mean()


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
    eps: float = DEFAULT_EPS,
) -> Tensor:
    """GRAM's loss (arXiv 2412.11959, eqs. 5 to 7): each anchor (text) against the others of one clip, both directions.

    Unit vectors (B, d); logits -volume / temperature; `excluded` (B, B) marks pairs that are not negatives. `eps` is
    added to the determinant (`gram_volume`): at the default 1e-8 a volume of 1e-3 is 0.5% too large, one of 1e-4 41%,
    and the gradient of a volume V is scaled by V / sqrt(V^2 + eps), which keeps it finite at 0. `eps=0` gives the
    published values. Raises ValueError when the shapes do not fit.
    """
    logits = -volume_matrix(anchor, *others, eps=eps) / temperature
    return symmetric_loss(logits, label_smoothing=label_smoothing, excluded=excluded)


def num_processes() -> int:
    """World size; 1 outside of distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Concatenated batches (world size * B, ...) of all ranks, with gradients back to each."""
    if num_processes() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()))


def equal_captions(captions: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Mask (B, B) of pairs of different clips with equal captions, over the batches of all ranks: no negatives."""
    # Eight bytes per caption are gathered as one tensor, instead of pickled strings.
    digests = [hashlib.blake2b(caption.encode(), digest_size=8).digest() for caption in captions]
    codes = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], device=device)
    if num_processes() > 1:
        gathered = [torch.empty_like(codes) for _ in range(num_processes())]
        dist.all_gather(gathered, codes)
        codes = torch.cat(gathered)
    return (codes[:, None] == codes) & ~torch.eye(len(codes), dtype=torch.bool, device=device)


class _AtLeast(torch.autograd.Function):
    """max(value, bound); below the bound a gradient passes only if descent along it raises the value."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bound: float) -> Tensor:
        ctx.below = value < bound
        return value.clamp(min=bound)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].masked_fill(ctx.below & (grads[0] > 0), 0.0), None


class ContrastiveObjective(nn.Module):
    """Base of the objectives: a learnable temperature, the batches of all processes, the mask of equal captions."""

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
        """Divisor of the logits (scalar), at least `min_temperature`."""
        return _AtLeast.apply(self.log_temperature[0].exp(), self.min_temperature)

    def forward(self, video: Tensor, text: Tensor, audio: Tensor, captions: Sequence[str]) -> Tensor:
        """Loss (scalar) of unit embeddings (B, d), row i of clip i, over the batches of all processes.

        Every process gets the same value; gradients are those of the global loss once DDP has averaged them.
        """
        excluded = equal_captions(captions, video.device) if self.mask_equal else None
        with torch.autocast(video.device.type, enabled=False):
            gathered = (gather_with_gradient(part.float()) for part in (video, text, audio))
            return self.loss(*gathered, excluded=excluded)

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """The objective (scalar) of unit embeddings (B, d) of a batch, without `excluded` (B, B) pairs as negatives.

        Subclasses implement it; raises NotImplementedError here.
        """
        raise NotImplementedError

    def _info_nce(self, pairs: Iterable[tuple[Tensor, Tensor]], excluded: Tensor | None) -> Tensor:
        """Mean over pairs of modalities of the symmetric InfoNCE of their cosines."""
        losses = [
            symmetric_loss(a @ b.T / self.temperature, label_smoothing=self.label_smoothing, excluded=excluded)
            for a, b in pairs
        ]
        return torch.stack(losses).mean()


class GramLoss(ContrastiveObjective):
    """GRAM (arXiv 2412.11959, sec. 3): volume of text with the (video, audio) of one clip."""

    def __init__(self, *, eps: float = DEFAULT_EPS, **options: Any) -> None:
        super().__init__(**options)
        self.eps = eps

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """`gram_contrastive_loss` (scalar) of unit embeddings (B, d), text as the anchor; `excluded` is (B, B)."""
        return gram_contrastive_loss(
            text, video, audio, temperature=self.temperature, label_smoothing=self.label_smoothing, excluded=excluded,
            eps=self.eps,
        )  # fmt: skip


class TriangleLoss(GramLoss):
    """TRIANGLE (arXiv 2509.24734): area of the triangle of text and the (video, audio) of one clip, as GRAM's volume.

    The paper's area is 1/2 sqrt(|u|^2 |v|^2 - (u.v)^2) with u, v the edges from the text. `root=False` leaves out the
    root, as the authors' training code does.
    """

    def __init__(self, *, root: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Symmetric cross entropy (scalar) of -area / temperature of embeddings (B, d); `excluded` is (B, B)."""
        areas = triangle_areas(text, video, audio, eps=self.eps)
        logits = -(areas if self.root else 2 * areas.square()) / self.temperature
        return symmetric_loss(logits, label_smoothing=self.label_smoothing, excluded=excluded)


class AnchorInfoNCE(ContrastiveObjective):
    """InfoNCE of one modality with each of the others, which are never compared.

    `anchor` is video for ImageBind (arXiv 2305.05665), text for LanguageBind (arXiv 2310.01852), or audio. Raises
    ValueError for another anchor.
    """

    def __init__(self, *, anchor: Literal["video", "text", "audio"] = "text", **options: Any) -> None:
        super().__init__(**options)
        if anchor not in ("video", "text", "audio"):
            raise ValueError(f"anchor is {anchor!r}: it must be video, text or audio")
        self.anchor = anchor

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean InfoNCE (scalar) of the two pairs with the anchor, of embeddings (B, d); `excluded` is (B, B)."""
        others = {"video": video, "text": text, "audio": audio}
        anchor = others.pop(self.anchor)
        return self._info_nce([(anchor, other) for other in others.values()], excluded)


class WithinModality(ContrastiveObjective):
    """Supervised contrastive loss in each modality by itself: a start in which no two modalities were ever compared.

    The positives of a clip are the others of its caption (Khosla et al. 2020, arXiv 2004.11362, L_out).
    """

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean over modalities and clips with a positive; 0 where no two captions are equal.

        Raises ValueError without the mask of equal captions (`mask_equal=False`), which here names the positives.
        """
        if excluded is None:
            raise ValueError("WithinModality takes its positives from equal captions; leave mask_equal as it is")
        own = torch.eye(len(video), dtype=torch.bool, device=video.device)
        chosen = excluded.any(1)
        losses = []
        for part in (video, text, audio):
            logits = (part @ part.T / self.temperature).masked_fill(own, -torch.inf)
            log_probabilities = logits.log_softmax(-1).masked_fill(~excluded, 0.0)
            losses.append(-(log_probabilities.sum(1) / excluded.sum(1).clamp(min=1))[chosen].sum())
        return torch.stack(losses).mean() / chosen.sum().clamp(min=1)


class PairwiseInfoNCE(ContrastiveObjective):
    """InfoNCE of all three pairs of modalities."""

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean InfoNCE (scalar) of text-video, text-audio and video-audio (B, d); `excluded` is (B, B)."""
        return self._info_nce([(text, video), (text, audio), (video, audio)], excluded)


class Symile(ContrastiveObjective):
    """Symile (Saporta et al. 2024, arXiv 2411.01053): multilinear inner products of all triples of a batch.

    For each anchor every other combination (j, k) of the two other modalities is a negative, B^2 - 1 in all; triples of
    clips with equal captions are not. Products are scaled by sqrt(d), so unit vectors suit the usual temperatures.
    Memory grows with B^3.
    """

    def loss(self, video: Tensor, text: Tensor, audio: Tensor, *, excluded: Tensor | None) -> Tensor:
        """Mean over the three anchors of the cross entropy of sqrt(d) <a_i, b_j, c_k> / temperature at (i, i, i)."""
        batch, dim = video.shape
        scale = dim**0.5 / self.temperature
        own = torch.arange(batch, device=video.device) * (batch + 1)
        if excluded is not None:
            equal = excluded | torch.eye(batch, dtype=torch.bool, device=video.device)
            excluded = (equal[:, :, None] & equal[:, None]).flatten(1)
        losses = [
            smoothed_cross_entropy(
                a @ (b[:, None] * c).flatten(0, 1).T * scale, label_smoothing=self.label_smoothing, targets=own,
                excluded=excluded,
            )
            for a, b, c in ((video, text, audio), (text, audio, video), (audio, video, text))
        ]  # fmt: skip
        return torch.stack(losses).mean()
