import math
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy, normalize

from foleygram.alignment.losses import (
    AnchorInfoNCE,
    ContrastiveObjective,
    GramLoss,
    PairwiseInfoNCE,
    Symile,
    TriangleLoss,
    WithinModality,
    equal_captions,
    gram_contrastive_loss,
    symmetric_loss,
)

OBJECTIVES = [GramLoss, TriangleLoss, AnchorInfoNCE, PairwiseInfoNCE, Symile]


def clips(batch: int, dim: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [normalize(torch.randn(batch, dim, generator=generator), dim=-1) for _ in range(3)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_random_embeddings_cost_the_log_of_the_number_of_candidates(objective: type[ContrastiveObjective]) -> None:
    batch = 64
    loss = objective(temperature=1.0)(*clips(batch, 4096), [str(n) for n in range(batch)])
    candidates = batch**2 if objective is Symile else batch
    assert loss.item() == pytest.approx(math.log(candidates), abs=0.6 if objective is Symile else 0.02)


@pytest.mark.parametrize("constant", [0, 1, 2])
def test_symile_with_a_constant_modality_costs_log_batch(constant: int) -> None:
    """Triples with another clip's constant are as good as the own one, so each of the B costs the same."""
    batch = 32
    parts = [torch.eye(batch)] * 3  # the others match perfectly
    parts[constant] = torch.full((batch, batch), batch**-0.5)
    loss = Symile(temperature=0.01, label_smoothing=0.0)(*parts, [str(n) for n in range(batch)])
    assert loss.item() == pytest.approx(math.log(32), abs=1e-4)


def test_symile_takes_mismatched_triples_for_negatives() -> None:
    video, text, audio = clips(4, 8)
    every = [(i, j, k) for i in range(4) for j in range(4) for k in range(4)]
    products = torch.tensor([(video[i] * text[j] * audio[k]).sum() for i, j, k in every]).reshape(4, 4, 4)
    logits = products * 8**0.5 / 0.07
    own = torch.arange(4) * 5
    expected = sum(cross_entropy(logits.movedim(axis, 0).flatten(1), own) for axis in range(3)) / 3
    loss = Symile(label_smoothing=0.0)(video, text, audio, list("abcd"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_symile_leaves_out_triples_of_clips_with_equal_captions() -> None:
    video, text, audio = clips(3, 8)
    logits = torch.einsum("id,jd,kd->ijk", video, text, audio) * 8**0.5 / 0.07
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)  # clips 0 and 1
    excluded = same[:, :, None] & same[:, None]
    for clip in range(3):
        excluded[clip, clip, clip] = False
    kept = logits.masked_fill(excluded, -torch.inf)
    own = torch.arange(3) * 4
    expected = sum(cross_entropy(kept.movedim(axis, 0).flatten(1), own) for axis in range(3)) / 3
    loss = Symile(label_smoothing=0.0)(video, text, audio, ["a", "a", "b"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("anchor", ["video", "text", "audio"])
def test_the_anchors_counterparts_are_never_compared(anchor: str) -> None:
    batch = 8
    parts = dict.fromkeys(("video", "text", "audio"), torch.eye(batch, 64)) | {anchor: torch.eye(batch, 64).roll(8, 1)}
    captions = [str(n) for n in range(batch)]
    loss = AnchorInfoNCE(anchor=anchor, label_smoothing=0.0)(*parts.values(), captions)
    assert loss.item() == pytest.approx(math.log(batch))  # the two others match perfectly, which does not count
    matched = AnchorInfoNCE(anchor=anchor, temperature=0.3, label_smoothing=0.0)(*[torch.eye(batch, 64)] * 3, captions)
    assert matched.item() == pytest.approx(math.log(1 + (batch - 1) * math.exp(-1 / 0.3)), rel=1e-5)


def test_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match="anchor is 'image'"):
        AnchorInfoNCE(anchor="image")


def test_triangle_without_its_root_is_the_authors_code() -> None:
    video, text, audio = clips(5, 8)
    edges = [[torch.stack([t - v, t - a]) for v, a in zip(video, audio, strict=True)] for t in text]
    areas = torch.tensor([[torch.linalg.det(e @ e.T) / 2 for e in row] for row in edges]) / 0.07
    expected = sum(cross_entropy(-part, torch.arange(5), label_smoothing=0.1) for part in (areas, areas.T)) / 2
    loss = TriangleLoss(root=False)(video, text, audio, list("abcde"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-4])
def test_eps_reaches_the_volumes_of_the_loss(eps: float) -> None:
    vectors = torch.eye(2, 8)  # matched volumes are 0, and mismatched ones too: every logit is -sqrt(eps) / tau
    objective = GramLoss(eps=eps, label_smoothing=0.0)
    text = vectors.clone().requires_grad_()
    loss = objective(vectors, text, vectors.roll(1, 0), ["a", "b"])
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    loss.backward()
    assert text.grad is not None and text.grad.isfinite().all()
    other = gram_contrastive_loss(vectors, vectors, temperature=1.0, label_smoothing=0.0, eps=eps)
    assert other.item() == pytest.approx(math.log(1 + math.exp(eps**0.5 - (1 + eps) ** 0.5)), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.3])
@pytest.mark.parametrize("batch", [2, 8, 32])
def test_a_perfect_match_costs_the_closed_form(batch: int, temperature: float) -> None:
    vectors = torch.eye(batch, 64)  # matched: equal (volume 0); mismatched: the pair is collapsed too
    text, video, audio = vectors, vectors, vectors.roll(32, 1)  # text in the plane's span only for its own clip
    loss = gram_contrastive_loss(text, video, audio, temperature=temperature)
    expected = math.log(1 + (batch - 1) * math.exp(-1 / temperature)) + 0.1 * (batch - 1) / (batch * temperature)
    assert loss.item() == pytest.approx(expected, abs=2e-4 / temperature)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_text_is_the_anchor_of_one_clips_pair_in_both_directions(smoothing: float) -> None:
    text, video, audio = (part.double().requires_grad_() for part in clips(5, 8))
    rows = [[torch.stack([t, v, a]) for v, a in zip(video, audio, strict=True)] for t in text]
    logits = torch.stack([torch.stack([-torch.linalg.det(m @ m.T).sqrt() / 0.07 for m in row]) for row in rows])
    expected = sum(cross_entropy(part, torch.arange(5), label_smoothing=smoothing) for part in (logits, logits.T)) / 2
    loss = gram_contrastive_loss(text, video, audio, temperature=0.07, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 4), (4, 3), (0, 0)])
def test_unpaired_embeddings_are_refused(sizes: tuple[int, int]) -> None:
    texts, pairs = (torch.zeros(size, 8) for size in sizes)
    with pytest.raises(ValueError, match="row i and column i of one clip"):
        gram_contrastive_loss(texts, pairs, pairs, temperature=0.07)


def test_without_a_mask_it_is_the_usual_smoothed_cross_entropy() -> None:
    logits = torch.randn(9, 9, generator=torch.Generator().manual_seed(0))
    rows, columns = (cross_entropy(part, torch.arange(9), label_smoothing=0.1) for part in (logits, logits.T))
    torch.testing.assert_close(symmetric_loss(logits, label_smoothing=0.1), 0.5 * (rows + columns))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_equal_captions_are_no_negatives(objective: type[ContrastiveObjective]) -> None:
    inputs = [tensor.requires_grad_() for tensor in clips(6)]
    loss = objective()(*inputs, ["a", "b", "a", "c", "a", "d"])
    loss.backward()
    assert loss.isfinite() and all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in inputs)
    same = objective()(*clips(6), ["x"] * 6)
    assert same.item() == pytest.approx(0.0, abs=1e-6)  # no negative is left
    unmasked = objective(mask_equal=False)(*clips(6), ["x"] * 6)
    torch.testing.assert_close(unmasked, objective()(*clips(6), list("abcdef")))


def test_masked_columns_are_as_if_they_were_not_there() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    excluded = torch.zeros(5, 5, dtype=torch.bool)
    excluded[0, 3] = excluded[1, 4] = excluded[2, 2] = True  # a clip is never left out of its own row

    def row(index: int, keep: list[int]) -> torch.Tensor:
        return cross_entropy(logits[None, index, keep], torch.tensor([keep.index(index)]), label_smoothing=0.1)

    def column(index: int, keep: list[int]) -> torch.Tensor:
        return cross_entropy(logits[None, keep, index], torch.tensor([keep.index(index)]), label_smoothing=0.1)

    costs = [
        0.5 * row(clip, [n for n in range(5) if n == clip or not excluded[clip, n]])
        + 0.5 * column(clip, [n for n in range(5) if n == clip or not excluded[n, clip]])
        for clip in range(5)
    ]
    expected = torch.stack(costs).mean()
    torch.testing.assert_close(symmetric_loss(logits, label_smoothing=0.1, excluded=excluded), expected)


def formula(name: str, tau: float, smoothing: float) -> float:
    """Each objective from its paper's formula, clip by clip, with torch's cross entropy."""
    video, text, audio = (part.double() for part in clips(5))

    def rows(score: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
        logits = torch.stack([torch.stack([score(i, j) for j in range(5)]) for i in range(5)]) / tau
        return cross_entropy(logits, torch.arange(5), label_smoothing=smoothing)

    def area(i: int, j: int) -> torch.Tensor:
        """By Heron's formula, from the lengths of the sides."""
        a, b, c = (text[i] - video[j]).norm(), (text[i] - audio[j]).norm(), (video[j] - audio[j]).norm()
        half = (a + b + c) / 2
        return (half * (half - a) * (half - b) * (half - c)).sqrt()

    def volume(i: int, j: int) -> torch.Tensor:
        stacked = torch.stack([text[i], video[j], audio[j]])
        return torch.linalg.det(stacked @ stacked.T).sqrt()

    def info_nce(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (rows(lambda i, j: a[i] @ b[j]) + rows(lambda i, j: b[i] @ a[j])) / 2

    def product(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        logits = torch.einsum("id,jd,kd->ijk", a, b, c).flatten(1) * 8 / tau  # 8: the root of 64 dimensions
        return cross_entropy(logits, torch.arange(5) * 6, label_smoothing=smoothing)

    text_video, text_audio, video_audio = info_nce(text, video), info_nce(text, audio), info_nce(video, audio)
    products = product(video, text, audio) + product(text, video, audio) + product(audio, video, text)
    return {
        "GramLoss": (rows(lambda i, j: -volume(i, j)) + rows(lambda i, j: -volume(j, i))) / 2,
        "TriangleLoss": (rows(lambda i, j: -area(i, j)) + rows(lambda i, j: -area(j, i))) / 2,
        "AnchorInfoNCE": (text_video + text_audio) / 2,
        "PairwiseInfoNCE": (text_video + text_audio + video_audio) / 3,
        "Symile": products / 3,
    }[name].item()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_its_papers_formula(objective: type[ContrastiveObjective]) -> None:
    defaults = objective()(*clips(5), list("abcde"))
    assert defaults.item() == pytest.approx(formula(objective.__name__, 0.07, 0.1), rel=1e-4)
    other = objective(temperature=0.3, label_smoothing=0.25)(*clips(5), list("abcde"))
    assert other.item() == pytest.approx(formula(objective.__name__, 0.3, 0.25), rel=1e-4)


def test_within_modality_pulls_equal_captions_together_and_compares_no_modalities() -> None:
    objective = WithinModality(temperature=0.5)
    parts = [normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(s)), dim=-1) for s in range(3)]
    loss = objective(*parts, ["a", "a", "b", "c"])
    expected = []
    for part in parts:
        logits = part @ part.T / 0.5
        for i, j in ((0, 1), (1, 0)):
            others = [k for k in range(4) if k != i]
            expected.append(-(logits[i, j] - logits[i, others].logsumexp(0)))
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(7))).Q
    assert objective(parts[0] @ turn, *parts[1:], ["a", "a", "b", "c"]).item() == pytest.approx(loss.item(), rel=1e-5)
    assert objective(*parts, ["a", "b", "c", "d"]).item() == 0.0
    with pytest.raises(ValueError, match="leave mask_equal as it is"):
        WithinModality(mask_equal=False)(*parts, ["a", "a", "b", "c"])


def test_equal_captions_mark_pairs_but_not_the_clip_itself() -> None:
    mask = equal_captions(["a", "b", "a"])
    assert mask.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_temperature_holds_its_bound_and_comes_back() -> None:
    objective = GramLoss(temperature=0.005, min_temperature=0.01)
    assert objective.temperature.item() == pytest.approx(0.01)
    objective.temperature.backward()  # descent would lower it further: no step
    assert objective.log_temperature.grad == 0
    (-objective.temperature).backward()  # descent would raise it: the gradient passes
    assert objective.log_temperature.grad is not None and objective.log_temperature.grad < 0


def test_computes_in_single_precision_under_autocast() -> None:
    inputs, captions = clips(8), [str(n) for n in range(8)]
    expected = PairwiseInfoNCE()(*inputs, captions)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(PairwiseInfoNCE()(*inputs, captions), expected)
    short = [part.bfloat16() for part in inputs]
    expected = PairwiseInfoNCE()(*(part.float() for part in short), captions)
    torch.testing.assert_close(PairwiseInfoNCE()(*short, captions), expected)


CAPTIONS = ["a", "b", "c", "a", "d", "b", "e", "f"]


def value_and_gradients(rows: slice) -> dict[str, torch.Tensor]:
    """Loss and gradients of a shared linear network and the temperature on some rows of one global batch."""
    weight = torch.eye(64).requires_grad_()
    objective = GramLoss(temperature=0.2)
    parts = [normalize(part[rows] @ weight, dim=-1) for part in clips(8)]
    loss = objective(*parts, CAPTIONS[rows])
    loss.backward()
    assert weight.grad is not None and objective.log_temperature.grad is not None
    return {"loss": loss.detach(), "weight": weight.grad, "temperature": objective.log_temperature.grad}


def run_process(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results = value_and_gradients(slice(4 * rank, 4 * rank + 4))
    for value in results.values():  # what DistributedDataParallel does with gradients
        dist.all_reduce(value)
        value /= 2
    if rank == 0:
        torch.save(results, out)
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "results.pt"
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), str(port), str(out)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = torch.load(out, weights_only=True)
    for name, expected in value_and_gradients(slice(0, 8)).items():
        torch.testing.assert_close(results[name], expected, atol=1e-5, rtol=1e-5)


if __name__ == "__main__":
    run_process(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
