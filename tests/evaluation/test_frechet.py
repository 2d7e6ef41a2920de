import numpy as np
import pytest
import scipy.linalg
import torch

from foleygram.evaluation.frechet import frechet_distance


def sqrtm_distance(x, y):
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(c1 @ c2))
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)


@pytest.mark.parametrize("shape", [(200, 16), (12, 64), (17, 16), (2, 5)])
def test_a_set_is_at_no_distance_from_itself(shape):
    x = np.random.default_rng(0).standard_normal(shape) * 10.0 ** np.linspace(-4, 2, shape[1])
    assert abs(frechet_distance(x, x)) <= 1e-9 * np.cov(x, rowvar=False).trace()


@pytest.mark.parametrize("rows", [300, 9])
def test_a_shift_costs_its_squared_length(rows):
    rng = np.random.default_rng(1)
    x, v = rng.standard_normal((rows, 16)), rng.standard_normal(16)
    assert frechet_distance(x, x + v) == pytest.approx(v @ v, rel=1e-9)


def test_diagonal_covariances_follow_the_formula():
    rng = np.random.default_rng(2)
    q, _ = np.linalg.qr(np.column_stack([np.ones(400), rng.standard_normal((400, 6))]))
    white = q[:, 1:] * np.sqrt(399)  # mean 0, covariance I, exactly
    s1, s2 = rng.uniform(0.1, 3, 6), rng.uniform(0.1, 3, 6)
    assert frechet_distance(white * s1, white * s2) == pytest.approx(((s1 - s2) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("decades", [0, 1, 2, 2.9, 3.1, 5, 8])
def test_either_way_to_the_root_is_exact_whatever_the_spread(decades):
    rng = np.random.default_rng(6)
    q, _ = np.linalg.qr(np.column_stack([np.ones(300), rng.standard_normal((300, 40))]))
    turned = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    white = q[:, 1:] * np.sqrt(299)
    s1, s2 = 10.0 ** -rng.uniform(0, decades, 40), 10.0 ** -rng.uniform(0, decades, 40)
    x, y = (white * s1) @ turned, (white * s2) @ turned
    total = (s1**2 + s2**2).sum()
    assert frechet_distance(x, y) == pytest.approx(((s1 - s2) ** 2).sum(), abs=1e-9 * total)
    assert abs(frechet_distance(x, x)) <= 1e-9 * (s1**2).sum()


def test_the_fast_way_is_taken_where_it_is_exact(monkeypatch):
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((300, 30)), rng.standard_normal((200, 30)) @ np.diag(np.linspace(0.1, 1, 30))
    expected = frechet_distance(x, y)
    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "svd", None)
        patch.setattr(np.linalg, "qr", None)
        assert frechet_distance(x, y) == expected
    monkeypatch.setattr("foleygram.evaluation.frechet.SMALLEST_DIRECTION", 2.0)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_equals_the_matrix_square_root_at_full_rank():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 20)) @ rng.standard_normal((20, 20))
    y = rng.standard_normal((350, 20)) @ rng.standard_normal((20, 20)) + 1
    assert frechet_distance(x, y) == pytest.approx(sqrtm_distance(x, y), rel=1e-8)


def test_rank_deficient_sets_in_orthogonal_planes_share_nothing():
    rng = np.random.default_rng(4)
    x, y = np.zeros((10, 40)), np.zeros((15, 40))
    x[:, :20], y[:, 20:] = rng.standard_normal((10, 20)), rng.standard_normal((15, 20))
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_one_full_and_one_deficient_set_is_symmetric_and_finite():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((5, 30)), rng.standard_normal((90, 30))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)
    assert 0 < frechet_distance(x, y) < 1000


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "two embeddings"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "3 values"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_what_has_no_distance_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(x, y)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_are_taken_as_a_network_gives_them(kind):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, 3, generator=generator).to(kind).requires_grad_() for _ in range(2))
    expected = frechet_distance(*(rows.detach().double().numpy() for rows in (x, y)))
    assert frechet_distance(x, y) == expected
