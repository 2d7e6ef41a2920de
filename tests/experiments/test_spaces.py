"""Heads on frozen features: what their training, metrics and intervals must give, on planted spaces."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F
from typer.testing import CliRunner

from foleygram.alignment.losses import GramLoss
from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.cli import app
from foleygram.experiments.frozen_heads import (
    Features,
    embed,
    fresh_heads,
    own_heads,
    resized_heads,
    train_heads,
)
from foleygram.experiments.granularity import granularity, level_masks, nearest_of_others
from foleygram.experiments.modalities import vary_modalities, volume_metrics
from foleygram.experiments.spaces import OBJECTIVES, NestedBootstrap, clip_metrics, compare_spaces
from foleygram.experiments.volume_success import rank_correlation, success
from foleygram.synthetic.drumstick.render import render_dataset

MINI = Path(__file__).parents[2] / "checkpoints" / "mini"


def planted(num: int, seed: int, *, noise: float = 0.1) -> Features:
    """Twelve kinds of sound; each modality shows a clip's kind in a basis of its own."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(num) % 12
    bases = torch.Generator().manual_seed(99)
    values = {}
    for name, width in (("video", 20), ("text", 12), ("audio", 16)):
        basis = torch.linalg.qr(torch.randn(width, width, generator=bases)).Q[:12]
        values[name] = basis[kinds] + noise * torch.randn(num, width, generator=generator)
    names = [f"kind {kind}" for kind in kinds.tolist()]
    captions = [f"A person hits {name}." for name in names]
    return Features(values, captions, names, [f"video {i // 2}" for i in range(num)])


def test_heads_learn_a_planted_alignment_and_stop_when_validation_is_flat() -> None:
    train, val, scored = planted(96, 0), planted(48, 1), planted(48, 2)
    begin = fresh_heads({name: part.shape[1] for name, part in train.values.items()}, 16, seed=3)
    objective = GramLoss()
    trained = train_heads(
        lambda parts, excluded: objective.loss(**parts, excluded=excluded), list(objective.parameters()), begin,
        train, val, seed=0, lr=1e-2, batch_size=48, max_steps=1500,
    )  # fmt: skip
    before = np.mean(clip_metrics(embed(begin, scored.values), scored)["auc"])
    after = np.mean(clip_metrics(embed(trained.heads, scored.values), scored)["auc"])
    assert before < 0.7 and after > 0.95
    assert trained.flattened and trained.steps < 1500
    assert all(not head.requires_grad for head in trained.heads.values())
    with pytest.raises(ValueError, match="96 clips: fewer than a batch of 128"):
        train_heads(lambda parts, _: parts["text"].sum(), [], begin, train, val, seed=0, batch_size=128)


def test_clip_metrics_average_to_the_retrieval_report() -> None:
    scored = planted(30, 0, noise=0.5)
    heads = fresh_heads({name: part.shape[1] for name, part in scored.values.items()}, 8, seed=0)
    embedded = embed(heads, scored.values)
    report = retrieval_report(Embeddings(**embedded), scored.captions, scored.materials)
    metrics = {name: np.nanmean(values) for name, values in clip_metrics(embedded, scored).items()}
    for name in ("r1_video_to_audio", "r5_text_to_video", "r1_text_to_pair", "r1_pair_to_text",
                 "material_video_to_audio", "cosine_text_audio"):  # fmt: skip
        assert metrics[name] == pytest.approx(report[name], abs=1e-6), name
    by_volume = {name: np.nanmean(values) for name, values in volume_metrics(embedded, scored).items()}
    assert by_volume["r1_text_to_rest"] == pytest.approx(report["r1_text_to_pair"], abs=1e-6)
    moved = embedded | {"audio": F.normalize(embedded["audio"] + 3 * torch.ones(8), dim=-1)}
    gaps = [clip_metrics(one, scored)["gap_video_audio"].mean() for one in (embedded, moved)]
    assert gaps[1] > gaps[0] + 0.3  # one modality moved away as a whole


def test_heads_of_more_dimensions_keep_all_cosines_and_of_fewer_the_principal_ones() -> None:
    part = planted(40, 0, noise=0.3)
    heads = fresh_heads({name: values.shape[1] for name, values in part.values.items()}, 10, seed=0)
    wider, same = (embed(resized_heads(heads, part, dim, seed=1), part.values) for dim in (25, 10))
    old = embed(heads, part.values)
    for new in (wider, same):
        torch.testing.assert_close(new["video"] @ new["audio"].T, old["video"] @ old["audio"].T, atol=1e-5, rtol=0)
    flat = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    lying = {
        name: torch.randn(3, h.shape[1], generator=torch.Generator().manual_seed(1)).T @ flat
        for name, h in heads.items()
    }
    lying = {name: value.T for name, value in lying.items()}  # heads whose image has three dimensions
    cut = embed(resized_heads(lying, part, 3, seed=0), part.values)
    whole = embed(lying, part.values)
    torch.testing.assert_close(cut["text"] @ cut["video"].T, whole["text"] @ whole["video"].T, atol=1e-4, rtol=0)


def test_nested_intervals_widen_with_the_spread_of_seeds_and_of_videos() -> None:
    videos = [f"v{i // 3}" for i in range(60)]
    interval = NestedBootstrap(videos).interval
    calm = np.full((3, 60), 0.5)
    assert interval(calm) == (0.5, 0.5)
    seeds = calm + np.array([[-0.2], [0.0], [0.2]])
    low, high = interval(seeds)
    assert low == pytest.approx(0.3, abs=0.03) and high == pytest.approx(0.7, abs=0.03)
    coin = np.tile((np.arange(60) // 3 % 2).astype(float), (3, 1))
    low, high = interval(coin)
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.25 / 20), rel=0.15)
    coin[:, ::2] = np.nan
    assert interval(coin)[0] > 0


def test_granularity_leaves_out_the_own_clip_and_what_has_no_partner() -> None:
    same, known = level_masks(["wood", "wood", "metal", "", "wood"])
    assert not same.diagonal().any() and not known[3].any() and not known[:, 3].any()
    scores = torch.tensor([[9.0, 1, 2, 8, 0], [9, 9, 1, 9, 8], [5, 5, 5, 5, 5], [1, 1, 1, 1, 1], [0, 0, 1, 0, 9]])
    found = nearest_of_others(scores, same, known)
    np.testing.assert_array_equal(found, [0, 1, np.nan, np.nan, 0])


def test_rank_correlation_equals_scipys_with_an_interval_over_videos() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(60)
    y = -x + rng.standard_normal(60)
    videos = [f"v{i // 2}" for i in range(60)]
    value, interval = rank_correlation(x, y, videos)
    assert value == pytest.approx(spearmanr(x, y).statistic) and interval is not None
    assert interval.low < value < interval.high < 0
    assert rank_correlation(x, np.ones(60), videos) == (None, None)
    assert rank_correlation(x[:6], y[:6], videos[:6])[1] is None
    row = {
        "material": "wood",
        "classified_as": "metal",
        "num_detected": 2,
        "num_annotated": 4,
        "matched_50": 2,
        "lag_ms": None,
    }
    assert success(row, "material right") == 0.0 and success(row, "onset F1, 50 ms") == pytest.approx(2 / 3)
    assert success(row | {"material": None}, "material right") is None and success(row, "envelope correlation") is None


def test_every_objective_and_every_variant_has_a_row_with_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in {"ALIGNED_DIMS": (16, 160), "SIZES": (4,), "NOISE": (1.0,)}.items():
        monkeypatch.setattr(f"foleygram.experiments.modalities.{name}", few)
    sets = [as_wide_as_the_miniatures(planted(24, seed)) for seed in range(3)]
    varied = vary_modalities(MINI, *sets, seeds=[0], max_steps=25, batch_size=12)
    assert [len(finding.rows) for finding in varied.findings] == [4, 4, 2, 4]
    before = {name: values["volume"]["value"] for name, values in varied.findings[3].metrics.items()}
    assert before["160, as it is"] != before["16, as it is"]
    report = compare_spaces({"mini": (MINI, *sets)}, seeds=[0, 1], max_steps=25, batch_size=12)
    names = [row[0] for row in report.findings[0].rows]
    assert names == ["mini: as it is", *(f"mini: {name}" for name in OBJECTIVES)]
    assert report.protocol["steps"]["mini: GRAM"] == [25, 25] and "had not flattened after 25 steps" in report.notes[0]
    gap = report.findings[1].metrics["mini: GRAM"]["gap_video_audio"]
    assert gap["interval"][0] <= gap["value"] <= gap["interval"][1]
    (found,) = granularity(MINI, sets[2]).findings
    assert [row[0] for row in found.rows] == ["material", "object", "action"]
    assert [row[1] for row in found.rows] == [f"{1 / 23:.3f}", f"{1 / 23:.3f}", "1.000"]  # pairs of clips, all of hits


def as_wide_as_the_miniatures(part: Features) -> Features:
    """The same clips with as many features as the miniature's heads read, and an envelope."""
    widths = {name: head.shape[1] for name, head in own_heads(MINI).items()}
    values = {name: F.pad(value, (0, widths[name] - value.shape[1])) for name, value in part.values.items()}
    return Features(values | {"envelope": part.values["audio"][:, :9]}, part.captions, part.materials, part.video_ids)


@pytest.mark.slow
def test_the_experiments_on_frozen_networks_run(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    render_dataset(videos, num_videos=8, seed=5, seconds=(8.0, 8.0), test_share=0.5, num_workers=1, progress=False)
    folders = ["--rendered", str(videos), "--scored", str(videos), "--media", str(tmp_path / "media")]
    least = ["--seeds", "1", "--max-steps", "25", "--batch-size", "4"]
    for name, more in (("granularity", []), ("modalities", least), ("spaces", [*least, "--start", f"own={MINI}"])):
        outcome = CliRunner().invoke(app, ["experiment", name, *folders, "--out", str(tmp_path / name), *more])
        assert outcome.exit_code == 0, outcome.output
        assert json.loads((tmp_path / name / "report.json").read_text())["findings"]
    out = ["--out", str(tmp_path), "--start", "checkpoints"]
    refused = CliRunner().invoke(app, ["experiment", "spaces", *folders, *out])
    assert refused.exit_code == 1 and "write NAME=FOLDER" in refused.output


def test_volumes_are_compared_with_the_scores_of_a_report_s_sounds(
    tiny_release: Path, rendered: Path, tmp_path: Path
) -> None:
    places = ["--checkpoint", str(tiny_release), "--data", str(rendered)]
    made = ["evaluate", *places, "--conditions", "v,avt+true", "--no-controls", "--silent-seeds", "0", "--steps", "1"]
    made += ["--out", str(tmp_path / "e")]
    assert CliRunner().invoke(app, [*made, "--metrics", "onsets,envelope"]).exit_code == 0
    command = ["experiment", "volume-success", *places, "--report", str(tmp_path / "e"), "--out", str(tmp_path / "s")]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, outcome.output
    (finding,) = json.loads((tmp_path / "s" / "report.json").read_text())["findings"]
    scored = json.loads((tmp_path / "e" / "report.json").read_text())["clips"]
    assert [row[0] for row in finding["rows"]] == ["all conditions", "v", "avt+true"]
    assert finding["metrics"]["v"]["num_sounds"] == len(scored["v"])
    assert finding["metrics"]["all conditions"]["material right"]["value"] is None  # nothing judged it
