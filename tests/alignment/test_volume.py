import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from foleygram.alignment.volume import DEFAULT_EPS, ROWS_PER_CHUNK, _root, gram_volume, triangle_areas, volume_matrix


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def with_cosines(a: float, b: float, c: float) -> torch.Tensor:
    gram = torch.tensor([[1, a, b], [a, 1, c], [b, c, 1]], dtype=torch.float64)
    return torch.linalg.cholesky(gram)


@pytest.mark.parametrize("eps", [0.0, DEFAULT_EPS, 0.21])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_orthonormal_vectors_span_one(k: int, eps: float) -> None:
    vectors, expected = torch.eye(8)[:k], torch.tensor(math.sqrt(1 + eps))
    torch.testing.assert_close(gram_volume(vectors, eps), expected)
    if k > 1:
        torch.testing.assert_close(volume_matrix(*vectors[:, None], eps=eps), expected[None, None])


def test_a_determinant_below_zero_is_rounding_and_its_size_where_the_published_value_is_asked_for() -> None:
    below = torch.tensor(-0.09, requires_grad=True)
    for eps, volume in ((0.0, 0.3), (0.16, 0.4)):
        root = _root(below, eps)
        assert root.item() == pytest.approx(volume)
        (gradient,) = torch.autograd.grad(root, below)
        assert gradient == 0


@pytest.mark.parametrize("eps", [1e-6, 1e-8])
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_two_equal_vectors_leave_the_root_of_eps(pair: tuple[int, int], eps: float) -> None:
    vectors = unit(3, 16, dtype=torch.float64).clone()
    vectors[pair[1]] = vectors[pair[0]]
    assert gram_volume(vectors, eps).item() == pytest.approx(math.sqrt(eps), rel=1e-4)
    assert volume_matrix(*vectors[:, None], eps=eps).item() == pytest.approx(math.sqrt(eps), rel=1e-4)


def test_two_vectors_span_the_sine_of_their_angle() -> None:
    angle = torch.linspace(0.01, 3.13, 50)
    vectors = torch.stack(
        [torch.stack([torch.ones(50), torch.zeros(50)], -1), torch.stack([angle.cos(), angle.sin()], -1)], 1
    )
    torch.testing.assert_close(gram_volume(vectors), angle.sin().abs(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("cosine", "volume"), [(0.9, 0.1673), (0.5, 0.7071), (0.0, 1.0), (-0.49999999, 0.0)])
def test_three_vectors_of_one_mutual_cosine(cosine: float, volume: float) -> None:
    assert gram_volume(with_cosines(cosine, cosine, cosine), eps=0).item() == pytest.approx(volume, abs=3e-4)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("noise", [1.0, 0.1])
def test_single_precision_equals_a_float64_determinant(k: int, noise: float) -> None:
    vectors = normalize(unit(200, 1, 32) + noise * unit(200, k, 32, seed=1), dim=-1)
    exact = torch.linalg.det(vectors.double() @ vectors.double().mT).clamp(min=0).sqrt()
    torch.testing.assert_close(gram_volume(vectors, eps=0).double(), exact, atol=2e-6, rtol=1e-4)
    grid = volume_matrix(vectors[:, 0], *vectors[:, 1:].unbind(1), eps=0).diagonal().double()
    torch.testing.assert_close(grid, exact, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("num_others", [2, 3])
def test_others_close_to_each_other_keep_their_digits(num_others: int) -> None:
    anchor, first = unit(4, 16), unit(6, 16, seed=1)
    others = [first, *(first + 1e-3 * unit(6, 16, seed=n) for n in range(2, num_others + 1))]
    exact = volume_matrix(anchor.double(), *(other.double() for other in others), eps=0)
    torch.testing.assert_close(volume_matrix(anchor, *others, eps=0).double(), exact, atol=0, rtol=1e-2)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_order_sign_and_rotation_change_nothing(k: int, seed: int) -> None:
    vectors = unit(k, 8, seed=seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    signs = torch.randint(2, (k, 1), generator=generator) * 2.0 - 1
    changed = signs * vectors[torch.randperm(k, generator=generator)] @ rotation
    torch.testing.assert_close(gram_volume(changed), gram_volume(vectors), atol=1e-7, rtol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.floats(0, 1), st.integers(0, 10_000))
def test_volume_lies_between_zero_and_one(k: int, noise: float, seed: int) -> None:
    volume = gram_volume(normalize(unit(1, 8, seed=seed) + noise * unit(k, 8, seed=seed + 1), dim=-1))
    assert 0 <= volume.item() <= 1 + 1e-6


@pytest.mark.parametrize("num_others", [1, 2, 3])
def test_matrix_equals_one_volume_at_a_time_in_value_and_gradient(num_others: int) -> None:
    rows = ROWS_PER_CHUNK + 2
    anchor = unit(rows, 12, dtype=torch.float64).requires_grad_()
    others = [unit(7, 12, seed=n + 1, dtype=torch.float64).requires_grad_() for n in range(num_others)]
    weights = torch.arange(7.0 * rows, dtype=torch.float64).view(rows, 7).sin()
    grid = volume_matrix(anchor, *others)
    vectors = [anchor[:, None].expand(-1, 7, -1), *(other.expand(rows, -1, -1) for other in others)]
    single = gram_volume(torch.stack(vectors, dim=-2))
    torch.testing.assert_close(grid, single)
    inputs = (anchor, *others)
    ours, expected = (torch.autograd.grad((value * weights).sum(), inputs) for value in (grid, single))
    torch.testing.assert_close(ours, expected)


def test_triplet_gradient_equals_finite_differences() -> None:
    inputs = [unit(3, 6, seed=n, dtype=torch.float64).requires_grad_() for n in range(3)]
    assert torch.autograd.gradcheck(volume_matrix, inputs)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("eps", [0.0, DEFAULT_EPS])
def test_gradient_is_finite_at_collapse(k: int, eps: float) -> None:
    vectors = unit(1, 16).expand(k, -1).clone().requires_grad_()
    gram_volume(vectors, eps).backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()
    if k > 1:
        rows = [vectors.detach()[:1].clone().requires_grad_() for _ in range(k)]
        volume_matrix(*rows, eps=eps).sum().backward()
        assert all(row.grad is not None and row.grad.isfinite().all() for row in rows)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_computes_in_single_precision_under_autocast(precision: torch.dtype) -> None:
    inputs = [unit(4, 64, seed=n) for n in range(3)]
    expected = volume_matrix(*inputs)
    with torch.autocast("cpu", precision):
        torch.testing.assert_close(volume_matrix(*inputs), expected)
        torch.testing.assert_close(gram_volume(torch.stack(inputs, 1)), expected.diagonal(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_short_digits_come_out_as_single_precision(precision: torch.dtype) -> None:
    inputs = [unit(4, 64, seed=n).to(precision) for n in range(3)]
    volumes = volume_matrix(*inputs)
    assert volumes.dtype == torch.float32
    torch.testing.assert_close(volumes, volume_matrix(*(rows.float() for rows in inputs)))
    assert gram_volume(torch.stack(inputs, 1)).dtype == torch.float32


MISFITS = {
    r"\(2, 8\), \(3, 8\), \(4, 8\)": [unit(2, 8), unit(3, 8), unit(4, 8)],
    r"\(8,\), \(3, 8\)": [unit(8), unit(3, 8)],
    r"\(2, 3, 8\), \(4, 3\)": [unit(2, 3, 8), unit(4, 3)],
    "beside the anchor": [unit(2, 8)],
}


@pytest.mark.parametrize(("message", "tensors"), MISFITS.items())
def test_shapes_that_do_not_fit_are_named(message: str, tensors: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=message):
        volume_matrix(*tensors)


@pytest.mark.parametrize("shape", [(0, 8), (8,)])
def test_no_vector_has_no_volume(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="k >= 1"):
        gram_volume(torch.zeros(shape))


def test_triangle_areas_are_half_the_parallelograms() -> None:
    anchor, first, second = (unit(n, 6, seed=seed) for seed, n in enumerate((4, 5, 5)))
    expected = [
        [0.5 * torch.linalg.det(edges @ edges.T).sqrt() for edges in (torch.stack([a - t, b - t]) for a, b in pairs)]
        for t, pairs in ((t, list(zip(first.double(), second.double(), strict=True))) for t in anchor.double())
    ]
    torch.testing.assert_close(triangle_areas(anchor, first, second).double(), torch.tensor(expected).double())


def test_an_equilateral_triangle_has_its_area() -> None:
    corners = torch.eye(3)
    area = triangle_areas(corners[:1], corners[1:2], corners[2:])
    assert area.item() == pytest.approx(math.sqrt(3) / 2)  # sides of sqrt 2
    collapsed = corners[:1].clone().requires_grad_()
    flat = triangle_areas(collapsed, corners[:1], corners[:1])
    flat.backward()
    assert flat.item() == pytest.approx(0.5e-4) and bool(collapsed.grad.isfinite().all())


def test_triangles_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an anchor"):
        triangle_areas(torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(2, 4))
