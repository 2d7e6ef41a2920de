"""The shipped evaluations: complete, of known keys, and run by the command with fewer clips and steps."""

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from foleygram.benchmark.scoring import choose_metrics
from foleygram.benchmark.settings import choose_conditions
from foleygram.cli import app
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*/evaluation.yaml"))


def options():
    command = typer.main.get_command(app).commands["evaluate"]
    return {parameter.name for parameter in command.params} - {"config", "help", "quiet", "as_json"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_config_holds_every_option_correctly(path):
    content = yaml.safe_load(path.read_text())
    assert content.keys() == options()
    assert choose_metrics(content["metrics"], alignment=True)
    assert choose_conditions(content["conditions"], controls=content["controls"])


def test_both_sizes_are_there():
    assert [path.parent.name for path in CONFIGS] == ["greatest_hits", "mini"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_config_runs_and_the_command_line_wins(path, tiny_release, rendered, tmp_path):
    judge = MaterialJudge(MaterialJudgeConfig(materials=["metal", "wood"], num_mel_bins=16, widths=(4,)))
    judge.save_pretrained(tmp_path / "judge")
    out = tmp_path / "out"
    changes = {
        "--checkpoint": tiny_release, "--data": rendered, "--steps": 1, "--limit": 1, "--out": out, "--device": "cpu",
        "--judge": tmp_path / "judge", "--weights": tmp_path / "none", "--cache": tmp_path / "features",
        "--conditions": "v,t+true", "--report-clips": 1, "--dtype": "bfloat16",
    }  # fmt: skip
    words = [str(word) for pair in changes.items() for word in pair]
    outcome = CliRunner().invoke(app, ["evaluate", "--config", str(path), "--no-controls", *words])
    assert outcome.exit_code == 0, outcome.output
    content, given = json.loads((out / "report.json").read_text()), yaml.safe_load(path.read_text())
    assert list(content["summary"]) == ["reference", "v", "t+true"] and content["oracle"] == ["t+true"]
    assert content["protocol"]["guidance_scale"] == given["guidance"]
    assert content["protocol"]["num_inference_steps"] == 1 and content["protocol"]["dtype"] == "bfloat16"
    assert "foleygram-audio" in content["protocol"]["embedders"] and "laion-clap" in content["left_out"]
    assert (out / "report.html").read_text().count("<article") == 1
