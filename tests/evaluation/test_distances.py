import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from foleygram.evaluation.distances import FrechetAudioDistance, FrechetAudioVisualDistance, KernelAudioDistance
from foleygram.evaluation.frechet import frechet_distance, frechet_infinity
from foleygram.evaluation.kernel import kernel_distance, median_distance
from foleygram.evaluation.metrics import ClapScore, clap_score

DIM = 6


def clip_rows(index, num_rows=10, shift=0.0):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(num_rows, DIM, generator=generator) + shift


def feed(indices, shares=((False, 0.0), (True, 0.3))):
    metrics = FrechetAudioDistance(), KernelAudioDistance(), ClapScore(), FrechetAudioVisualDistance("p")
    for index in indices:
        for real, shift in shares:
            rows = clip_rows(2 * index + real, 10 + index % 3, shift)
            for metric in metrics[:2]:
                metric.update(rows, real=real, clip=f"clip {index}")
            metrics[3].update(clip_rows(900 + index, 11), rows, real=real, clip=f"clip {index}")
        metrics[2].update(clip_rows(2 * index), clip_rows(2 * index + 1, 4, 0.3))
    return metrics


def results(metrics):
    frechet, kernel, clap, favd = (metric.compute() for metric in metrics)
    values = {"fad": frechet.value, "infinity": frechet.infinity, "kad": kernel.value, "favd": favd.value}
    return values | {"clap": float(clap)}


def test_a_metric_equals_its_function_on_the_rows():
    found = results(feed(range(120)))
    generated = torch.cat([clip_rows(2 * i, 10 + i % 3) for i in range(120)])
    reference = torch.cat([clip_rows(2 * i + 1, 10 + i % 3, 0.3) for i in range(120)])
    assert found["fad"] == pytest.approx(frechet_distance(generated, reference), rel=1e-9)
    assert found["kad"] == pytest.approx(kernel_distance(generated, reference), rel=1e-9)
    scores = [clap_score(clip_rows(2 * i), clip_rows(2 * i + 1, 4, 0.3)) for i in range(120)]
    assert found["clap"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_the_order_of_clips_changes_nothing():
    order = np.random.default_rng(0).permutation(120).tolist()
    assert results(feed(order)) == pytest.approx(results(feed(range(120))), rel=1e-9)


def worker(rank, address, shares, out):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(results(feed(shares[rank])), f"{out}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("shares", [(range(0, 120, 2), range(1, 120, 2)), ([], range(120))])
def test_two_processes_give_one_process_value(tmp_path, shares):
    mp.start_processes(worker, (f"file://{tmp_path}/meet", shares, str(tmp_path)), nprocs=2, start_method="fork")
    expected = results(feed(range(120)))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself():
    metric = FrechetAudioDistance()
    for index in range(4):
        for real in (False, True):
            metric.update(clip_rows(index), real=real, clip=str(index))
    assert abs(metric.compute().value) < 1e-9
    assert clap_score(clip_rows(0), clip_rows(0)) == pytest.approx(1)


def test_too_few_embeddings_give_none_and_a_note():
    metric = FrechetAudioDistance()
    metric.update(clip_rows(0, 100), real=True, clip="a")
    metric.update(clip_rows(1, DIM), real=False, clip="a")
    found = metric.compute()
    assert found.value is found.infinity is None
    assert (found.num_generated, found.num_reference, found.dim) == (DIM, 100, DIM)
    assert f"{DIM} embeddings in {DIM} dimensions" in found.notes[0]
    allowed = FrechetAudioDistance(min_embeddings=2)
    allowed.update(clip_rows(0, 100), real=True, clip="a")
    allowed.update(clip_rows(1, DIM), real=False, clip="a")
    assert allowed.compute().value == pytest.approx(frechet_distance(clip_rows(1, DIM), clip_rows(0, 100)))
    assert any("biased" in note for note in allowed.compute().notes)
    assert any("FAD-infinity" in note for note in allowed.compute().notes)


def test_the_minimum_number_of_embeddings_gives_a_distance():
    generated, reference = clip_rows(0, 1000), clip_rows(1, 1200)
    for count, infinity in ((DIM + 1, None), (999, None), (1000, frechet_infinity(generated, reference, seed=3))):
        metric = FrechetAudioDistance(seed=3)
        metric.update(generated[:count], real=False, clip="a")
        metric.update(reference, real=True, clip="a")
        found = metric.compute()
        assert found.value == pytest.approx(frechet_distance(generated[:count], reference), rel=1e-9)
        assert found.infinity == (None if infinity is None else pytest.approx(infinity, rel=1e-9))
    kernel = KernelAudioDistance()
    kernel.update(reference, real=True, clip="a")
    kernel.update(generated[:1], real=False, clip="b")
    assert kernel.compute().value is None and "1 embeddings: a distance needs two" in kernel.compute().notes[0]
    kernel.update(generated[1:2], real=False, clip="c")
    assert kernel.compute().value == pytest.approx(kernel_distance(generated[:2], reference), rel=1e-9)


@pytest.mark.parametrize(("count", "noted"), [(99, True), (100, False)])
def test_a_kernel_distance_of_few_embeddings_has_a_note(count, noted):
    metric = KernelAudioDistance()
    metric.update(clip_rows(0, 200), real=True, clip="a")
    metric.update(clip_rows(1, count), real=False, clip="a")
    assert metric.compute().value is not None
    assert any("99 embeddings: it scatters" in note for note in metric.compute().notes) == noted


def test_without_embeddings_the_distance_is_none():
    assert FrechetAudioDistance().compute().value is None
    assert "0 embeddings" in KernelAudioDistance().compute().notes[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.full((2, DIM), float("nan")), "finite"),
        (torch.zeros(0, DIM), "not empty"),
        (torch.zeros(DIM), r"\(N, d\)"),
        (torch.zeros(3, DIM + 1), "use one embedder"),
    ],
)
def test_rows_that_are_none_are_refused_with_the_clips_name(rows, message):
    metric = FrechetAudioDistance()
    metric.update(clip_rows(0), real=True, clip="first")
    with pytest.raises(ValueError, match=f"second.*{message}"):
        metric.update(rows, real=False, clip="second")


def test_frechet_infinity_removes_the_bias_of_few_embeddings():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((20_000, 20))
    generated = rng.standard_normal((1500, 20))
    plain, infinity = frechet_distance(generated, reference), frechet_infinity(generated, reference, seed=0)
    assert plain > 0.08
    assert abs(infinity) < plain / 3
    assert infinity == frechet_infinity(generated, reference, seed=0)
    assert infinity != frechet_infinity(generated, reference, seed=1)


def test_infinity_starts_above_the_dimensions_where_the_bias_is_a_line():
    rng, dim = np.random.default_rng(2), 600
    metric = FrechetAudioDistance()
    reference = torch.from_numpy(rng.standard_normal((4 * dim, dim)))
    metric.update(reference, real=True, clip="a")
    metric.update(torch.from_numpy(rng.standard_normal((2 * dim + 1, dim))), real=False, clip="a")
    found = metric.compute()
    assert found.infinity is None and any("FAD-infinity, which needs 1202" in note for note in found.notes)
    with pytest.raises(ValueError, match="1202"):
        frechet_infinity(reference[:1201], reference, seed=0)


def test_the_bias_has_the_documented_size():
    rng, dim = np.random.default_rng(1), 100
    for multiple, expected in ((1, 0.52), (2, 0.26), (8, 0.065)):
        sets = rng.standard_normal((8, multiple * dim, dim))
        found = np.mean([frechet_distance(a, b) for a, b in zip(sets[::2], sets[1::2], strict=True)]) / dim
        assert found == pytest.approx(expected, rel=0.05)


def test_infinity_needs_a_lever():
    rows = np.zeros((999, 3))
    with pytest.raises(ValueError, match="1000"):
        frechet_infinity(rows, rows, seed=0)


def double_loop(x, y, bandwidth):
    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return 100 * (sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y]))


@pytest.mark.parametrize("count", [31, 32])  # an odd and an even number of pairs
def test_kad_equals_the_double_loop(monkeypatch, count):
    monkeypatch.setattr("foleygram.evaluation.kernel.CHUNK", 7)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5)) + 100, 2 * rng.standard_normal((count, 5)) + 101
    distances = [np.linalg.norm(a - b) for i, a in enumerate(y) for b in y[i + 1 :]]
    assert median_distance(y) == pytest.approx(np.median(distances), rel=1e-9)
    assert kernel_distance(x, y) == pytest.approx(double_loop(x, y, np.median(distances)), rel=1e-9)


def test_kad_is_unbiased():
    values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values.append(kernel_distance(rng.standard_normal((30, 4)), rng.standard_normal((30, 4)), bandwidth=2.0))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    shifted = kernel_distance(np.random.default_rng(0).standard_normal((30, 4)) + 1, rng.standard_normal((30, 4)))
    assert shifted > 10 * np.std(values) / 2


def test_kad_of_equal_references_has_no_width():
    with pytest.raises(ValueError, match="no width"):
        kernel_distance(np.random.default_rng(0).standard_normal((5, 3)), np.ones((5, 3)))


def test_clap_score_is_the_plain_cosine_of_mean_unit_vectors():
    first = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    assert clap_score(first, torch.tensor([[1.0, 0.0]])) == pytest.approx(2**-0.5)
    assert clap_score(first, -first) == pytest.approx(-1)
    with pytest.raises(ValueError, match="from one network"):
        clap_score(first, torch.ones(1, 3))
    with pytest.raises(ValueError, match="finite"):
        clap_score(first, torch.tensor([[float("inf"), 0.0]]))
