"""The experiments that train, from rendered videos to their JSON, with the least budget there is."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.experiments import training_experiments
from foleygram.experiments.training_experiments import Budget, Setup, compare_controls, compare_objectives
from foleygram.features.writer import cache_dataset
from foleygram.synthetic.drumstick.render import render_dataset

ROOT = Path(__file__).parents[2]
LEAST = Budget(alignment_steps=1, generation_steps=1, clips=2, num_inference_steps=2, batch_size=2)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("experiments")
    render_dataset(folder / "rendered", num_videos=6, seed=5, seconds=(4.0, 4.0), test_share=0.34, num_workers=1)
    for name, split in (("train", "train"), ("test", "test"), ("heldout", "test")):
        cache_dataset(
            folder / "rendered", folder / "media" / name, spec_path=ROOT / "configs/mini/clip.yaml", split=split,
            fields=["frames", "motion", "envelope_audio"], checkpoint=None, num_workers=0,
        )  # fmt: skip
    return Setup(
        ROOT / "checkpoints/mini", folder / "media", folder / "rendered", folder / "rendered", ROOT / "configs/mini"
    )


@pytest.mark.parametrize("name", ["objectives", "control"])
def test_sounds_are_made_and_scored_on_the_device_that_was_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: object, device: object = None, **__: object) -> None:
        raise RuntimeError(f"scored on {device}")

    monkeypatch.setattr(training_experiments, "evaluate", evaluate)
    for step in ("cache_media", "align", "space_metrics", "_feature_caches", "train_generation", "assemble_release"):
        monkeypatch.setattr(training_experiments, step, lambda *_, **__: {})
    folders = ["--rendered", str(tmp_path), "--scored", str(tmp_path), "--out", str(tmp_path / "out")]
    outcome = CliRunner().invoke(app, ["experiment", name, *folders, "--device", "cpu:0"])
    assert "scored on cpu:0" in outcome.output


@pytest.mark.slow
def test_objectives_are_compared_on_space_and_sound_and_a_second_run_repeats_nothing(
    setup: Setup, tmp_path: Path
) -> None:
    found = compare_objectives(tmp_path, setup, LEAST)
    assert list(found["metrics"]) == ["start", "GRAM", "anchor", "all pairs", "Symile"]
    for metrics in found["metrics"].values():
        assert {"volume_matched", "auc_other_text", "avt+true: material_accuracy"} <= metrics.keys()
    losses = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert compare_objectives(tmp_path, setup, LEAST)["metrics"] == found["metrics"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == losses
    assert json.loads((tmp_path / "objectives.json").read_text())["protocol"]["seed"] == 0


@pytest.mark.slow
def test_controls_are_compared_from_fresh_control_networks(setup: Setup, tmp_path: Path) -> None:
    found = compare_controls(tmp_path, setup, LEAST)["metrics"]
    assert list(found) == ["RMS envelope", "onset track"]
    assert "v+onsets: envelope_correlation" in found["onset track"]
    assert "v+true: envelope_correlation" in found["RMS envelope"]
