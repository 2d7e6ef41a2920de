"""The volume spanned by embeddings (GRAM, arXiv 2412.11959, equation 3): small where modalities agree."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DEFAULT_EPS = 1e-8
"""Added to the determinant, so equal vectors have volume 1e-4 and a finite gradient."""


class _SafeRoot(torch.autograd.Function):
    """sqrt(det + eps); with eps = 0, sqrt(|det|) as published, with gradient 0 where det <= 0."""

    @staticmethod
    def forward(ctx: Any, determinant: Tensor, eps: float) -> Tensor:
        shifted = determinant.abs() if eps == 0 else determinant.clamp(min=0) + eps
        volume = shifted.sqrt()
        ctx.save_for_backward(volume, determinant)
        return volume

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        volume, determinant = ctx.saved_tensors
        return torch.where(determinant > 0, 0.5 * grad / volume.clamp(min=1e-30), 0.0), None


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def gram_volume(vectors: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Volume (...) of the parallelotope of unit vectors (..., k, d): sqrt(det(V V^T) + eps), k >= 1.

    Closed form up to k = 3; float32 or better under any autocast; gradient finite everywhere, 0 where det <= 0.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        v = _precise(vectors)
        gram = v @ v.transpose(-1, -2)
        return _SafeRoot.apply(_determinant(gram), eps)


def _determinant(gram: Tensor) -> Tensor:
    size = gram.shape[-1]
    if size == 1:
        return gram[..., 0, 0]
    if size == 2:
        return gram[..., 0, 0] * gram[..., 1, 1] - gram[..., 0, 1] * gram[..., 1, 0]
    if size == 3:
        a, b, c = gram[..., 0, 1], gram[..., 0, 2], gram[..., 1, 2]
        x, y, z = gram[..., 0, 0], gram[..., 1, 1], gram[..., 2, 2]
        return x * y * z + 2 * a * b * c - x * c * c - y * b * b - z * a * a
    return torch.linalg.det(gram)


class _TripleVolumes(torch.autograd.Function):
    """Volumes (A, B) of unit triples from cosines, keeping one matrix for the backward pass."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, second: Tensor, third: Tensor, eps: float) -> Tensor:
        a, b = anchor @ second.T, anchor @ third.T  # (A, B)
        c = (second * third).sum(-1)  # (B,)
        norms = [(v * v).sum(-1) for v in (anchor, second, third)]
        determinant = _triple_determinant(a, b, c, *norms)
        volume = determinant.abs_().sqrt_() if eps == 0 else determinant.clamp_(min=0).add_(eps).sqrt_()
        ctx.eps = eps
        ctx.save_for_backward(anchor, second, third)
        return volume

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        anchor, second, third = ctx.saved_tensors
        a, b = anchor @ second.T, anchor @ third.T
        c = (second * third).sum(-1)
        x, y, z = ((v * v).sum(-1) for v in (anchor, second, third))
        # d vol = d det / (2 vol); the determinant's sign decides where the gradient is zero.
        weight = _triple_determinant(a, b, c, x, y, z)
        weight = torch.where(weight > 0, (weight + ctx.eps).rsqrt_(), 0.0).mul_(grad)  # 2 d(loss)/d(det)
        grad_x = 0.5 * (weight @ (y * z - c * c))
        wa, wb = weight * a, weight * b
        grad_c = (wa * b).sum(0) - c * (x @ weight)
        grad_y = 0.5 * (z * (x @ weight) - (wb * b).sum(0))
        grad_z = 0.5 * (y * (x @ weight) - (wa * a).sum(0))
        grad_a, grad_b = (wb * c).sub_(wa * z), (wa * c).sub_(wb * y)
        grad_anchor = grad_a @ second + grad_b @ third + 2 * grad_x[:, None] * anchor
        grad_second = grad_a.T @ anchor + grad_c[:, None] * third + 2 * grad_y[:, None] * second
        grad_third = grad_b.T @ anchor + grad_c[:, None] * second + 2 * grad_z[:, None] * third
        return grad_anchor, grad_second, grad_third, None


def _triple_determinant(a: Tensor, b: Tensor, c: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """det of the Gram matrices of anchor i (norm x) with second j (y) and third j (z), in few (A, B) temporaries."""
    determinant = torch.addcmul((x[:, None] * (y * z - c * c)), a * b, (2 * c).expand_as(a))
    determinant.addcmul_(a * a, z.expand_as(a), value=-1)
    return determinant.addcmul_(b * b, y.expand_as(b), value=-1)


def volume_matrix(anchor: Tensor, *others: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Volume (A, B) of anchor i (A, d) with row j of every other modality (B, d) (GRAM, equation 5).

    Raises ValueError when the others have different numbers of rows.
    """
    if len({len(other) for other in others}) != 1:
        raise ValueError(f"others must have one number of rows, got {[len(other) for other in others]}")
    with torch.autocast(anchor.device.type, enabled=False):
        vectors = [_precise(v) for v in (anchor, *others)]
        if len(others) == 2:
            return _TripleVolumes.apply(*vectors, eps)
        return _SafeRoot.apply(_determinant(_gram_grid(vectors[0], vectors[1:])), eps)


def _gram_grid(anchor: Tensor, others: list[Tensor]) -> Tensor:
    """Gram matrices (A, B, k, k) of anchor i with the others' row j."""
    rows = torch.stack(others, dim=1)  # (B, k - 1, d)
    shape = (len(anchor), len(rows))
    inner = (rows @ rows.transpose(1, 2)).expand(*shape, -1, -1)
    cross = torch.einsum("ad,bkd->abk", anchor, rows)
    own = (anchor * anchor).sum(-1)[:, None, None, None].expand(*shape, 1, 1)
    top = torch.cat([own, cross[:, :, None]], dim=-1)
    return torch.cat([top, torch.cat([cross[..., None], inner], dim=-1)], dim=-2)
