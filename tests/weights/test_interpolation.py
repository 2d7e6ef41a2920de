"""`foleygram weights interpolate`: between two trainings of one network."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.envelope.predictor import EnvelopePredictor

SMALL = {
    "motion_size": 16, "map_widths": (4, 4, 4), "num_blocks": 1, "num_keypoints": 2, "hidden_size": 8, "lstm_size": 4,
    "head_width": 8,
}  # fmt: skip


@pytest.fixture
def parts(tmp_path):
    """Two predictors with different weights, saved to start/ and trained/."""
    predictors = [EnvelopePredictor.build(**SMALL) for _ in range(2)]
    for predictor, name in zip(predictors, ("start", "trained"), strict=True):
        predictor.save_pretrained(tmp_path / name)
    return predictors


def run(folder, *options):
    paths = [str(folder / name) for name in ("start", "trained", "out")]
    return CliRunner().invoke(app, ["weights", "interpolate", *paths, *options])


def test_weights_lie_between_and_the_config_stays(parts, tmp_path):
    assert run(tmp_path, "--share", "0.25").exit_code == 0
    obtained = EnvelopePredictor.from_pretrained(tmp_path / "out").state_dict()
    for (name, start), trained in zip(parts[0].state_dict().items(), parts[1].state_dict().values(), strict=True):
        expected = 0.75 * start + 0.25 * trained if start.is_floating_point() else trained
        torch.testing.assert_close(obtained[name], expected, rtol=1e-5, atol=1e-6)
    assert (tmp_path / "out/config.json").read_text() == (tmp_path / "start/config.json").read_text()


def test_half_precision_is_interpolated_in_single(parts, tmp_path):
    parts[0].half().save_pretrained(tmp_path / "start")
    assert run(tmp_path, "--share", "1").exit_code == 0
    obtained = load_file(tmp_path / "out/model.safetensors")
    for name, trained in parts[1].state_dict().items():
        torch.testing.assert_close(obtained[name], trained, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "options", "expected"),
    [
        (lambda folder: None, ["--share", "1.5"], "a share of 1.5: it must lie in [0, 1]"),
        (lambda folder: (folder / "out").mkdir(), [], "exists already"),
        (lambda folder: (folder / "trained/model.safetensors").unlink(), [], "0 .safetensors files"),
        (lambda folder: (folder / "start/model.safetensors").write_bytes(b"{}"), [], "not a complete safetensors file"),
        (
            lambda folder: save_file({"other": torch.ones(1)}, folder / "trained/model.safetensors"),
            [], "not the architecture of",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_interpolated_is_named(parts, tmp_path, spoil, options, expected):
    spoil(tmp_path)
    result = run(tmp_path, *options)
    assert result.exit_code == 1 and expected in " ".join(result.stderr.split()), result.output
    assert not (tmp_path / "out/model.safetensors").exists()
