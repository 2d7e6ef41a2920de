import pytest
import torch
from torch.nn.functional import normalize

from foleygram.alignment import retrieval
from foleygram.alignment.retrieval import Embeddings, equal_pairs, recall_at, retrieval_report, separation
from foleygram.alignment.volume import gram_volume, volume_matrix


def report(video: torch.Tensor, text: torch.Tensor, audio: torch.Tensor, names: list[str]) -> dict[str, float]:
    return retrieval_report(Embeddings(video, text, audio), names, names)


def test_a_good_space_scores_one_everywhere() -> None:
    # Modalities stand a little apart: were video and audio equal, every text would span no volume with them.
    offsets = 0.5 * torch.eye(15)[12:]
    parts = [normalize(torch.eye(12, 15) + offset, dim=-1) for offset in offsets]
    metrics = report(*parts, [str(n) for n in range(12)])
    assert len([name for name in metrics if name.startswith("r1_")]) == 8
    cosines = {name for name in metrics if name.startswith("cosine_")}
    assert all(metrics[name] == pytest.approx(0.8) for name in cosines)
    assert all(metrics[name] == 1.0 for name in metrics.keys() - cosines), metrics


def test_recalls_and_cosines_equal_a_count_by_hand() -> None:
    generator = torch.Generator().manual_seed(1)
    names = ("video", "text", "audio")
    parts = [normalize(torch.randn(14, 4, generator=generator), dim=-1) for _ in names]
    captions = [str(n % 9) for n in range(14)]
    metrics, clips = report(*parts, captions), dict(zip(names, parts, strict=True))
    video, text, audio = parts
    volumes = torch.tensor(
        [[gram_volume(torch.stack([t, v, a])) for v, a in zip(video, audio, strict=True)] for t in text]
    )
    scores = {f"{a}_to_{b}": clips[a] @ clips[b].T for a in names for b in names if a != b}
    for direction, table in (scores | {"text_to_pair": -volumes, "pair_to_text": -volumes.T}).items():
        ahead = []  # of each clip's best answer, wrong ones that score no less
        for row, caption in zip(table.tolist(), captions, strict=True):
            best = max(score for score, other in zip(row, captions, strict=True) if other == caption)
            ahead.append(sum(s >= best and other != caption for s, other in zip(row, captions, strict=True)))
        for k in (1, 5, 10):
            share = sum(number < k for number in ahead) / 14
            assert metrics[f"r{k}_{direction}"] == pytest.approx(share), (k, direction)
    for pair in ("video_text", "video_audio", "text_audio"):
        a, b = (clips[name] for name in pair.split("_"))
        assert metrics[f"cosine_{pair}"] == pytest.approx(sum(float(x @ y) for x, y in zip(a, b, strict=True)) / 14)


def test_a_shuffled_space_scores_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [normalize(torch.randn(400, 64, generator=generator), dim=-1) for _ in range(3)]
    metrics = report(*parts, [str(n % 8) for n in range(400)])
    assert metrics["material_video_to_audio"] == pytest.approx(1 / 8, abs=0.06)
    assert metrics["auc_other_text"] == pytest.approx(0.5, abs=0.05)
    assert metrics["auc_all_mixed"] == pytest.approx(0.5, abs=0.05)
    assert metrics["cosine_video_audio"] == pytest.approx(0.0, abs=0.02)


def test_a_collapsed_space_gains_nothing_from_ties() -> None:
    same = torch.eye(1, 8).expand(10, -1)
    metrics = report(same, same, same, [str(n) for n in range(10)])
    assert metrics["r1_text_to_video"] == metrics["material_video_to_audio"] == 0.0
    assert metrics["auc_other_text"] == pytest.approx(0.5)


def test_any_clip_with_an_equal_caption_counts_as_right() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.9], [0.0, 0.4, 0.3]])
    assert recall_at(scores.__getitem__, torch.tensor([5, 5, 2]), (1, 2)) == pytest.approx({1: 1 / 3, 2: 1.0})


def test_parts_of_a_table_give_what_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    parts = Embeddings(*(normalize(torch.randn(50, 6, generator=generator), dim=-1) for _ in range(3)))
    captions, materials = [str(n % 20) for n in range(50)], [str(n % 7) if n % 3 else "" for n in range(50)]
    whole = retrieval_report(parts, captions, materials)
    volumes = volume_matrix(parts.text, parts.video, parts.audio)
    differs = ~equal_pairs(captions)
    assert whole["auc_other_text"] == pytest.approx(separation(volumes.diagonal(), volumes[differs]))
    drawn = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    mixed = volume_matrix(parts.text, parts.video, parts.audio[drawn])
    apart = differs & differs[:, drawn] & differs[:, drawn].diagonal()
    assert whole["auc_all_mixed"] == pytest.approx(separation(volumes.diagonal(), mixed[apart]))
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", 7)
    assert retrieval_report(parts, captions, materials) == pytest.approx(whole, abs=1e-6)


def test_material_agreement_leaves_out_clips_of_several_or_no_materials() -> None:
    vectors = torch.eye(4)
    audio = vectors[[0, 1, 3, 2]]  # wrong exactly for the clips that do not count
    names = ["wood", "metal", "wood,metal", ""]
    metrics = retrieval_report(Embeddings(vectors, vectors, audio), ["a", "b", "c", "d"], names)
    assert metrics["material_video_to_audio"] == 1.0
    assert metrics["r1_video_to_audio"] == 0.5


def test_metrics_that_clips_cannot_give_are_left_out() -> None:
    vectors = torch.eye(4)
    metrics = retrieval_report(Embeddings(vectors, vectors, vectors), ["same"] * 4, [""] * 4)
    assert not [name for name in metrics if name.startswith(("material", "auc"))]


def test_separation_is_the_share_of_ordered_pairs() -> None:
    low, high = torch.tensor([0.1, 0.4, 0.8]), torch.tensor([0.4, 0.5])
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in low.tolist() for b in high.tolist()]
    assert separation(low, high) == pytest.approx(sum(pairs) / 6)
    with pytest.raises(ValueError, match="3 and 0 values"):
        separation(low, high[:0])


def test_mixed_triplets_are_of_three_captions() -> None:
    two = torch.eye(2, 8).repeat(10, 1)
    assert "auc_all_mixed" not in report(two, two, two, ["a", "b"] * 10)  # two captions cannot give three
    three = torch.eye(3, 8).repeat(10, 1)
    # Any two parts of one caption would span no volume, and tie with the matched triplets.
    assert report(three, three, three, ["a", "b", "c"] * 10)["auc_all_mixed"] == 1.0


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"lengths \[3, 4\]"):
        retrieval_report(Embeddings(torch.eye(4), torch.eye(4), torch.eye(4)), ["a"] * 3, ["b"] * 4)
