"""A cache names every network it was made with, so that a retrained one is never served old features."""

from pathlib import Path

from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.features import FeatureEncoder


def test_identity_covers_every_network(tiny_release):
    encoder = FeatureEncoder(tiny_release, None, ("latents", "control_latents", "embeddings"))
    parts = {name.split("/")[0] for name in encoder.identity}
    assert parts == {"vae", "envelope_predictor", "video_encoder", "text_encoder", "audio_encoder"}


def test_one_process_of_several_says_that_others_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    root = Path(__file__).parents[1]
    spec = root / "configs" / "mini" / "clip.yaml"
    arguments = [
        root / "data" / "examples",
        tmp_path / "cache",
        "--split",
        "test",
        "--spec",
        spec,
        "--fields",
        "envelope_audio",
        "--workers",
        0,
    ]
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    assert result.exit_code == 0 and "when the other processes have theirs" in result.output, result.output
    assert not (tmp_path / "cache" / "manifest.json").exists()
