"""The experiments through their command, on a release of random networks; what they must find, on closed forms."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from foleygram.alignment.retrieval import Embeddings
from foleygram.benchmark.alignment import EmbeddedClips
from foleygram.benchmark.intervals import bootstrap_intervals
from foleygram.benchmark.random_projectors import randomly_projected
from foleygram.benchmark.report import Report
from foleygram.benchmark.settings import shifted, shuffled
from foleygram.cli import app
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig
from foleygram.evaluation.scores import Scores
from foleygram.evaluation.statistics import summarise
from foleygram.experiments.conditioning import SCALES, SHIFTS_MS, perturbation, smoothing
from foleygram.experiments.volumes import ALL, volumes_by_material
from foleygram.pipeline.pipeline import FoleyGRAMPipeline


@pytest.fixture(scope="module")
def judged_release(tiny_release, tmp_path_factory):
    release = Path(shutil.copytree(tiny_release, tmp_path_factory.mktemp("judged") / "release"))
    judge = MaterialJudge(MaterialJudgeConfig(materials=["metal", "wood"], num_mel_bins=16, widths=(4,)))
    judge.save_pretrained(release / "judge")
    return release


def run(release, data, out, name, *more):
    places = ["--checkpoint", str(release), "--data", str(data), "--out", str(out), "--device", "cpu"]
    outcome = CliRunner().invoke(app, ["experiment", name, *places, *more])
    assert outcome.exit_code == 0, outcome.output
    return json.loads((out / "report.json").read_text()), outcome.output


FEW = ("--limit", "2", "--steps", "1")


def test_conditioning_scores_every_combination_and_marks_oracles(judged_release, rendered, tmp_path):
    content, printed = run(judged_release, rendered, tmp_path, "conditioning", *FEW)
    names = [name for name in content["summary"] if name != "reference"]
    assert names == ["a", "v", "t", "av", "vt", "at", "avt"]
    assert set(names) - set(content["oracle"]) == {"v", "t", "vt"}
    finding = content["findings"][0]
    assert [row[0] for row in finding["rows"]][:3] == ["a †", "v", "t"]
    assert finding["metrics"]["v"]["onset_f1_50"] == content["summary"]["v"]["onset_f1_50"]
    assert content["protocol"]["num_inference_steps"] == 1 and "Conditioning" in printed
    content, _ = run(judged_release, rendered, tmp_path, "conditioning", *FEW, "--true-envelope")
    assert len(content["oracle"]) == 7 and "as in the paper" in content["findings"][0]["text"]


def test_perturbation_and_projections_run(judged_release, rendered, tmp_path):
    content, _ = run(judged_release, rendered, tmp_path / "p", "perturbation", *FEW)
    assert len(content["summary"]) == 1 + len(SHIFTS_MS) + 2
    assert set(content["oracle"]) == set(content["summary"]) - {"reference"}
    content, _ = run(judged_release, rendered, tmp_path / "q", "projections", *FEW)
    rows = {(row["peak"], row["envelope_l1"]) for name in ("v", "v, random") for row in content["clips"][name]}
    assert len(rows) == 4  # every sound is another one


def test_volumes_of_a_release(judged_release, rendered, tmp_path):
    content, printed = run(judged_release, rendered, tmp_path, "volumes", "--split", "train")
    finding = content["findings"][0]
    assert finding["rows"][0][0] == ALL and int(finding["rows"][0][1]) == content["protocol"]["num_clips"]
    assert content["summary"] == {} and len(content["protocol"]["clips_sha256"]) == 64
    assert "AUC" in printed


def clips(num=12):
    """Two materials in orthogonal directions; captions and sounds of a clip nearly agree."""
    own = torch.nn.functional.one_hot(torch.arange(num) % 2, 8).float()
    rows = [torch.nn.functional.normalize(own + 0.05 * torch.randn(num, 8, generator=g), dim=-1) for g in seeds()]
    kinds = ["wood" if i % 2 else "metal" for i in range(num)]
    return EmbeddedClips(Embeddings(*rows), kinds, kinds)


def seeds():
    return [torch.Generator().manual_seed(seed) for seed in range(3)]


def test_volumes_tell_matched_from_mismatched_by_material():
    found = volumes_by_material(clips())
    assert list(found) == [ALL, "metal", "wood"]
    assert len(found["wood"].matched) == 6 and len(found["wood"].mismatched) == 36
    assert found["wood"].matched.max() < found["wood"].mismatched.min()
    assert all(cosine > 0.9 for cosine in found[ALL].cosines)
    few = clips()
    few = few._replace(materials=["wood", "metal,wood", "glass", "glass", *few.materials[4:]])
    assert "glass" not in volumes_by_material(few)
    with pytest.raises(ValueError, match="one caption"):
        volumes_by_material(few._replace(captions=["same"] * 12))


def test_a_shift_moves_a_curve_by_whole_values_and_a_shuffle_keeps_its_pieces():
    curves = torch.rand(2, 501)
    assert torch.equal(shifted(curves, 0.04, 125)[:, 5:], curves[:, :-5])
    assert torch.equal(shifted(curves, -0.12, 125)[:, :-15], curves[:, 15:])
    assert not shifted(curves, 0.04, 125)[:, :5].any()
    mixed = shuffled(curves, 31)
    assert torch.equal(mixed.sort(-1).values, curves.sort(-1).values)
    pieces = zip(mixed[:, :496].split(31, -1), curves[:, :496].split(31, -1), strict=True)
    assert not any(torch.equal(*pair) for pair in pieces)
    with pytest.raises(ValueError, match="no two pieces"):
        shuffled(curves[:, :40], 31)


def test_random_projectors_keep_only_the_scale(tiny_release):
    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    weights = pipeline.parts.projectors.projectors["video"].weight.clone()
    random = randomly_projected(pipeline, seed=0)
    fresh = random.parts.projectors.projectors["video"].weight
    assert torch.equal(pipeline.parts.projectors.projectors["video"].weight, weights)
    assert fresh.std().item() == pytest.approx(weights.std().item(), rel=0.4)
    assert abs(torch.corrcoef(torch.stack([fresh.flatten(), weights.flatten()]))[0, 1]) < 0.5
    assert torch.equal(randomly_projected(pipeline, seed=0).parts.projectors.projectors["video"].weight, fresh)
    assert random.parts.transformer is pipeline.parts.transformer and not fresh.requires_grad


def obedient(*, conditions):
    """A system that follows any envelope, so that its lag is the shift."""
    scores = {}
    for condition in conditions:
        good = condition.envelope == "true"
        rows = [
            {"video_id": f"v{i}", "start": 0.0, "lag_ms": condition.shift_ms + 0.1 * i, "envelope_l1": 0.1,
             "envelope_correlation": (0.9 - abs(condition.shift_ms) / 200 if good else 0.1) + 0.01 * i}
            for i in range(8)
        ]  # fmt: skip
        summary = {"envelope_correlation": rows[0]["envelope_correlation"], "onset_f1_50": float(good)}
        scores[condition.name] = Scores(rows, summary)
    return Report("t", {"seed": 0}, scores)


def test_perturbation_compares_the_lag_with_the_shift():
    shifts, all_of_them = perturbation(obedient).findings
    assert [row[-1] for row in shifts.rows] == ["yes"] * len(SHIFTS_MS)
    assert "-120 ms, -80 ms, -40 ms, +40 ms, +80 ms, +120 ms, shuffled envelope, flat envelope." in all_of_them.text
    assert shifts.plot.startswith("<svg") and "shift asked for" in shifts.plot

    def deaf(*, conditions):
        return obedient(conditions=[replace(condition, shift_ms=0.0) for condition in conditions])

    assert [row[-1] for row in perturbation(deaf).findings[0].rows].count("no") == len(SHIFTS_MS) - 1


def test_smoothing_names_the_scales_at_which_onsets_are_lost():
    def controlled(*, conditions):
        """Every onset found from a scale of 1 on, half of them below; the envelope follows as far as the scale goes."""
        scores, intervals = {}, {}
        for condition in conditions:
            found = 4 if condition.control_scale >= 1 else 2
            rows = [
                {"video_id": f"v{i}", "start": 0.0, "num_annotated": 4, "num_detected": 4, "matched_50": found,
                 "envelope_correlation": min(condition.control_scale, 1.0) - 0.01 * i}
                for i in range(8)
            ]  # fmt: skip
            scores[condition.name] = Scores(rows, summarise(rows))
            intervals[condition.name] = bootstrap_intervals(rows, seed=0)
        return Report("t", {"seed": 0}, scores, intervals)

    (finding,) = smoothing(controlled).findings
    assert [row[0] for row in finding.rows] == ["0", "0.25", "0.5", "0.75", "1", "1.25", "1.5"]
    assert "onset F1, 50 ms at 0, 0.25, 0.5, 0.75; envelope correlation at 0, 0.25, 0.5, 0.75." in finding.text
    assert finding.metrics["0.75"]["onset_f1_50"] == 0.5 and finding.metrics["1.5"]["onset_f1_50"] == 1.0


def test_smoothing_leaves_the_control_out_at_scale_0(judged_release, rendered, tmp_path):
    content, printed = run(judged_release, rendered, tmp_path, "smoothing", *FEW)
    assert len(content["summary"]) == 1 + len(SCALES) and "Temporal smoothing" in printed
    assert set(content["oracle"]) == {f"control scale {scale:g}" for scale in SCALES if scale}
