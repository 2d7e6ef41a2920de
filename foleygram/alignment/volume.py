"""Volume of the parallelotope of k vectors (GRAM, arXiv 2412.11959, sec. 3) and area of a triangle of three."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DEFAULT_EPS = 1e-8
"""Added to the determinant, so that the gradient stays finite: a volume of 1e-3 reads 0.5% too large, 0 reads 1e-4."""
ROWS_PER_CHUNK = 128
"""Anchors processed at a time, so that temporaries fit the CPU cache and do not add to peak memory."""


def gram_volume(vectors: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Volume (...) of unit vectors (..., k, d), any k >= 1: sqrt(det(A A^T) + eps) (GRAM, equation 3).

    Computed in float32 (float64 for float64) under any autocast; the gradient is finite everywhere, and 0 where the
    determinant is not positive. `eps=0` gives the published value. Raises ValueError when there is no vector.
    """
    if vectors.ndim < 2 or vectors.shape[-2] == 0:
        raise ValueError(f"vectors have shape {tuple(vectors.shape)}: expected (..., k, d) with k >= 1")
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = _exact(vectors)
        first = vectors[..., :1, :]
        # Subtracting the first changes no volume, and near collapse the small edges keep the digits that 1 - 1 loses.
        edges = torch.cat([first, vectors[..., 1:, :] - first], dim=-2)
        return _root(_determinant(edges @ edges.mT), eps)


def volume_matrix(anchor: Tensor, *others: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Volumes (A, B) of anchor i with row j of every other: anchor (A, d), others (B, d) each (GRAM, section 3).

    Precision, gradient and `eps` as in `gram_volume`; no (A, B, k, k) tensor is built for up to two others.
    Raises ValueError when the shapes do not fit.
    """
    if not others:
        raise ValueError("volume_matrix needs at least one modality beside the anchor")
    if anchor.ndim != 2 or any(other.shape != (len(others[0]), anchor.shape[1]) for other in others):
        shapes = [tuple(tensor.shape) for tensor in (anchor, *others)]
        raise ValueError(f"shapes {shapes}: expected an anchor (A, d) and others (B, d) with equal B and d")
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, *rest = [_exact(tensor) for tensor in (anchor, *others)]
        if len(rest) == 1:
            return _pair_volumes(anchor, rest[0], eps)
        if len(rest) == 2:
            return _TripletVolumes.apply(anchor, rest[0], rest[1] - rest[0], eps)
        return _root(_determinant(_pairwise_gram(anchor, rest)), eps)


def triangle_areas(anchor: Tensor, first: Tensor, second: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Areas (A, B) of the triangles of anchor i (A, d) with rows j of `first` and `second` (B, d) (arXiv 2509.24734).

    1/2 sqrt(|u|^2 |v|^2 - (u.v)^2 + eps) of two edges u, v; precision and gradient as in `gram_volume`. Raises
    ValueError when the shapes do not fit.
    """
    if anchor.ndim != 2 or first.shape != second.shape or first.shape[1:] != anchor.shape[1:]:
        shapes = [tuple(tensor.shape) for tensor in (anchor, first, second)]
        raise ValueError(f"shapes {shapes}: expected an anchor (A, d) and two others (B, d) with equal B and d")
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, first, second = (_exact(tensor) for tensor in (anchor, first, second))
        side = second - first  # shared by all triangles of row j
        squares = anchor.square().sum(-1)[:, None] - 2 * anchor @ first.mT + first.square().sum(-1)
        products = anchor @ side.mT - (first * side).sum(-1)
        return 0.5 * _root(squares * side.square().sum(-1) - products.square(), eps)


def _exact(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _root(determinant: Tensor, eps: float) -> Tensor:
    """sqrt(max(det, 0) + eps), or sqrt(|det|) as published when eps is 0; the gradient is 0 where det <= 0, not NaN."""
    positive = determinant > 0
    regular = torch.where(positive, determinant, 1.0)
    return torch.where(positive, (regular + eps).sqrt(), _shifted(determinant.detach(), eps).sqrt())


def _shifted(determinant: Tensor, eps: float) -> Tensor:
    """Gram determinants clamped for the square root; values below zero are rounding."""
    return determinant.abs() if eps == 0 else determinant.clamp(min=0) + eps


def _determinant(gram: Tensor) -> Tensor:
    """Determinant (...) of Gram matrices (..., k, k)."""
    k = gram.shape[-1]
    if k == 1:
        return gram[..., 0, 0]
    if k == 2:
        return gram[..., 0, 0] * gram[..., 1, 1] - gram[..., 0, 1].square()
    if k == 3:
        aa, bb, cc = gram.diagonal(dim1=-2, dim2=-1).unbind(-1)
        ab, ac, bc = gram[..., 0, 1], gram[..., 0, 2], gram[..., 1, 2]
        return aa * (bb * cc - bc.square()) - cc * ab.square() - bb * ac.square() + 2 * ab * ac * bc
    return torch.linalg.det(gram)


def _pair_volumes(anchor: Tensor, other: Tensor, eps: float) -> Tensor:
    lengths = anchor.square().sum(-1)[:, None] * other.square().sum(-1)
    return _root(lengths - (anchor @ other.mT).square(), eps)


def _pairwise_gram(anchor: Tensor, others: list[Tensor]) -> Tensor:
    """Gram matrices (A, B, k, k) of anchor i and the others' rows j."""
    others = [others[0], *(other - others[0] for other in others[1:])]
    k, shape = len(others) + 1, (len(anchor), len(others[0]))
    entries: dict[tuple[int, int], Tensor] = {(0, 0): anchor.square().sum(-1)[:, None].expand(shape)}
    for i, left in enumerate(others, start=1):
        entries[0, i] = anchor @ left.mT
        for j, right in enumerate(others[i - 1 :], start=i):
            entries[i, j] = (left * right).sum(-1).expand(shape)
    rows = [torch.stack([entries[min(i, j), max(i, j)] for j in range(k)], dim=-1) for i in range(k)]
    return torch.stack(rows, dim=-2)


class _TripletVolumes(torch.autograd.Function):
    """Volumes of (t_i, x_j, x_j + e_j) from one matrix product, which alone is kept for the gradient.

    The determinant is tt (xx ee - xe^2) - ee tx^2 - xx te^2 + 2 xe tx te; of these only tx and te are matrices.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, x: Tensor, e: Tensor, eps: float) -> Tensor:
        products = t @ torch.cat([x, e]).mT  # (A, 2 B): tx beside te
        ctx.save_for_backward(t, x, e, products)
        ctx.eps = eps
        volumes = products.new_empty(len(t), len(x))
        squares = _squares(t, x, e)
        for rows in _chunks(len(t)):
            determinant = _triplet_determinant(squares, rows, *products[rows].chunk(2, dim=1))
            torch.sqrt(_shifted(determinant, eps), out=volumes[rows])
        return volumes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        t, x, e, products = ctx.saved_tensors
        tt, xx, ee, xe = squares = _squares(t, x, e)
        grad_tt = torch.zeros_like(tt)
        grad_area, grad_xx, grad_ee, grad_xe = (torch.zeros_like(xx) for _ in range(4))
        grad_products = torch.empty_like(products)
        with torch.autocast(t.device.type, enabled=False):
            area = xx * ee - xe.square()
            for rows in _chunks(len(t)):
                tx, te = products[rows].chunk(2, dim=1)
                weight = _triplet_determinant(squares, rows, tx, te)  # becomes the gradient of the determinant
                singular = weight <= 0
                weight.add_(ctx.eps).rsqrt_().mul_(grads[0][rows]).mul_(0.5).masked_fill_(singular, 0.0)
                grad_tt[rows] = weight @ area
                grad_area += tt[rows] @ weight
                by_tx, by_te = weight * tx, weight.mul_(te)
                grad_xx -= torch.linalg.vecdot(by_te, te, dim=0)
                grad_ee -= torch.linalg.vecdot(by_tx, tx, dim=0)
                grad_xe += 2 * torch.linalg.vecdot(by_tx, te, dim=0)
                grad_tx, grad_te = grad_products[rows].chunk(2, dim=1)
                torch.mul(by_te, 2 * xe, out=grad_tx).addcmul_(by_tx, ee, value=-2)
                torch.mul(by_tx, 2 * xe, out=grad_te).addcmul_(by_te, xx, value=-2)
            grad_t = (grad_products @ torch.cat([x, e])).addcmul_(grad_tt[:, None], t, value=2)
            grad_x, grad_e = (grad_products.mT @ t).chunk(2)
            grad_xx += grad_area * ee
            grad_ee += grad_area * xx
            grad_xe -= 2 * grad_area * xe
            grad_x += 2 * grad_xx[:, None] * x + grad_xe[:, None] * e
            grad_e += 2 * grad_ee[:, None] * e + grad_xe[:, None] * x
        return grad_t, grad_x, grad_e, None


def _squares(t: Tensor, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return t.square().sum(-1), x.square().sum(-1), e.square().sum(-1), (x * e).sum(-1)


def _chunks(num_rows: int) -> list[slice]:
    return [slice(start, start + ROWS_PER_CHUNK) for start in range(0, num_rows, ROWS_PER_CHUNK)]


def _triplet_determinant(squares: tuple[Tensor, ...], rows: slice, tx: Tensor, te: Tensor) -> Tensor:
    tt, xx, ee, xe = squares
    determinant = tt[rows, None] * (xx * ee - xe.square())
    determinant.addcmul_(tx, ee * tx - 2 * xe * te, value=-1)
    return determinant.addcmul_(te, xx * te, value=-1)
