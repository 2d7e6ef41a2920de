"""`foleygram weights`: hashes are compared, gated and absent weights say what to do. The hub itself is played."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file
from typer.testing import CliRunner

from foleygram import weights
from foleygram.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


class Hub:
    """Answers as the hub does; `raises` instead if given."""

    def __init__(self, content: bytes = b"tensors", claimed: bytes = b"tensors", raises: Exception | None = None):
        self.content, self.claimed, self.raises = content, claimed, raises

    def model_info(self, repo, revision, files_metadata):
        if self.raises:
            raise self.raises
        lfs = SimpleNamespace(sha256=hashlib.sha256(self.claimed).hexdigest())
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename="model.safetensors", lfs=lfs)])

    def download(self, repo, revision, allow_patterns, local_dir: Path):
        assert revision == "c0ffee"  # what is verified is what was asked about
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / "model.safetensors").write_bytes(self.content)

    def answer(self, monkeypatch):
        monkeypatch.setattr(weights, "HfApi", lambda: self)
        monkeypatch.setattr(weights, "snapshot_download", self.download)


def test_check_names_every_part_and_its_size(tiny_release):
    result = run("check", tiny_release)
    assert result.exit_code == 0, result.output
    for fact in ("EnvelopeControlNet", "trained", "frozen", "Apache-2.0", "every hash agrees"):
        assert fact in result.output
    rows = weights.check_release(tiny_release)
    assert {row.name for row in rows if row.trained_in_stage_2} == {"projectors", "controlnet"}
    assert next(row.parameters for row in rows if row.name == "projectors") == 3 * (8 * 8 + 8)


def test_check_refuses_what_is_no_release(tmp_path):
    result = run("check", tmp_path)
    assert result.exit_code == 1 and "model_index.json" in result.output and "Traceback" not in result.output


def test_fetched_files_are_verified(monkeypatch, tmp_path):
    Hub().answer(monkeypatch)
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "bert-base" / "model.safetensors").read_bytes() == b"tensors"


def test_a_damaged_download_is_removed_and_named(monkeypatch, tmp_path):
    Hub(content=b"tens").answer(monkeypatch)
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 1 and "model.safetensors" in result.output and "fetch it again" in result.output
    assert not (tmp_path / "bert-base" / "model.safetensors").exists()


RESPONSE = MagicMock(headers={})


@pytest.mark.parametrize(
    ("name", "raises", "said"),
    [
        ("stable-audio-open", GatedRepoError("gated", response=RESPONSE), "Accept the terms"),
        ("bert-base", RepositoryNotFoundError("absent", response=RESPONSE), "google-bert/bert-base-uncased"),
        ("bert-base", LocalEntryNotFoundError("offline"), "run it again"),
        ("bert-base", ConnectionError("no network"), "run it again"),
        ("beats", None, "unilm"),
        ("mystery", None, "bert-base"),
    ],
)
def test_what_cannot_be_fetched_says_why(monkeypatch, tmp_path, name, raises, said):
    Hub(raises=raises).answer(monkeypatch)
    result = run("fetch", name, "--out", tmp_path)
    assert result.exit_code == 1 and said in " ".join(result.output.split()) and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_goes_to_the_native_form_and_back(tiny_backbone_of_64, tmp_path):
    native, again = tmp_path / "native", tmp_path / "again"
    result = run("convert", tiny_backbone_of_64, native)
    assert result.exit_code == 0 and "diffusers -> stable-audio-tools" in result.output, result.output
    assert sorted(path.name for path in native.iterdir()) == ["model.safetensors", "model_config.json"]
    assert run("convert", native, again).exit_code == 0
    name = "transformer/diffusion_pytorch_model.safetensors"
    before, after = load_file(tiny_backbone_of_64 / name), load_file(again / name)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert "already there" in run("convert", native, again).output


def test_what_cannot_be_converted_leaves_nothing(tmp_path):
    result = run("convert", tmp_path, tmp_path / "out")
    assert result.exit_code == 1 and "no known kind of weights" in result.output
    (tmp_path / "model_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"none")
    result = run("convert", tmp_path, tmp_path / "out")
    assert result.exit_code == 1 and "not the config of a conditioned latent diffusion model" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "model_config.json"]


@pytest.fixture
def tiny_backbone_of_64(tmp_path):
    """A backbone in diffusers' layout whose heads have the 64 values that both forms agree on."""
    StableAudioDiTModel(
        sample_size=24, in_channels=8, out_channels=8, num_layers=2, attention_head_dim=64, num_attention_heads=2,
        num_key_value_attention_heads=1, cross_attention_dim=64, cross_attention_input_dim=64,
        global_states_input_dim=96,
    ).save_pretrained(tmp_path / "diffusers" / "transformer")  # fmt: skip
    AutoencoderOobleck(
        encoder_hidden_size=16, downsampling_ratios=[2, 4], channel_multiples=[1, 2], decoder_channels=16,
        decoder_input_channels=8, audio_channels=1, sampling_rate=16_000,
    ).save_pretrained(tmp_path / "diffusers" / "vae")  # fmt: skip
    StableAudioProjectionModel(64, 64, 0, 512).save_pretrained(tmp_path / "diffusers" / "projection_model")
    return tmp_path / "diffusers"
