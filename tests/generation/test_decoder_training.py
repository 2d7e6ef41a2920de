"""A decoder trained alone: its latents stay, its losses share the gradient, its shipped config runs."""

from pathlib import Path

import lightning
import numpy as np
import pytest
import soundfile
import torch
from diffusers import AutoencoderOobleck
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.backbone import load_autoencoder
from foleygram.generation.decoder_training import DecoderTraining, balanced_gradient, with_new_decoder
from foleygram.generation.discriminator import SpectralDiscriminator
from foleygram.generation.oobleck import AsymmetricOobleck
from foleygram.pipeline.release import load_part
from tests.synthetic.test_recordings import in_split, knock, row, write_index

WEIGHTS = {"spectral": 1.0, "bins": 0.5, "level": 0.5, "generator": 1.0, "features": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A full-band autoencoder's folder, as small as can be."""
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 8, "decoder_channels": 2, "decoder_input_channels": 4, "audio_channels": 1}
    AutoencoderOobleck(**sizes, downsampling_ratios=[8, 12, 16], channel_multiples=[1, 1, 1]).save_pretrained(tmp_path)
    return tmp_path


def test_each_loss_gets_its_share_of_the_gradient_whatever_its_scale() -> None:
    output = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = {"loud": 1e4 * output[:, :, :25].sum(), "quiet": 1e-4 * output[:, :, 25:].sum()}
    gradient = balanced_gradient(losses, {"loud": 1.0, "quiet": 0.5}, output)
    expected = torch.cat([torch.full((3, 1, 25), 1 / 15), torch.full((3, 1, 25), 0.5 / 15)], -1)
    torch.testing.assert_close(gradient, expected)  # 25 equal values of norm 1, or 0.5, over three items


def test_an_item_of_a_steep_gradient_counts_no_more_than_the_median_one() -> None:
    output = torch.zeros(3, 1, 4, requires_grad=True)
    slopes = torch.tensor([1.0, 2.0, 1000.0])[:, None, None]
    norms = balanced_gradient({"a": (slopes * output).sum()}, {"a": 1.0}, output).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([0.5, 1.0, 1.0]) / 3)


def test_the_encoder_and_so_the_latents_stay_as_they_are(tiny_release: Path, tmp_path: Path) -> None:
    vae = load_part(tiny_release, "vae")
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    adversary = SpectralDiscriminator((256, 128), width=4)
    module = DecoderTraining(
        vae.train(), adversary, out=str(tmp_path), weights=WEIGHTS, total_steps=2, windows=[128, 512]
    )
    audio = 0.1 * torch.randn(
        2, vae.config.audio_channels, 8 * vae.hop_length, generator=torch.Generator().manual_seed(0)
    )
    data = DataLoader([{"audio": one} for one in audio], batch_size=2)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    lightning.Trainer(accelerator="cpu", max_steps=2, **options).fit(module, data)
    after = load_part(tmp_path, "vae").state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_other_weights_than_those_of_its_losses_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="they must be of spectral, bins"):
        DecoderTraining(load_autoencoder(str(folder)), SpectralDiscriminator((256,)), out="", weights={"spectral": 1.0})


def test_a_new_decoder_is_quiet_and_its_encoder_the_old_one(folder: Path) -> None:
    vae = with_new_decoder(str(folder), decoder_channels=4, decoder_ratios=[12, 8, 16], decoder_multiples=[1, 2, 4])
    audio = 0.04 * torch.randn(1, 1, 20 * 1536, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = encode_audio(load_autoencoder(str(folder)), audio).mean
        assert torch.equal(encode_audio(vae.eval(), audio).mean, latents)
        assert vae.decode(torch.randn(latents.shape)).sample.std() < 0.2


def test_the_shipped_config_trains_on_recordings(folder: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    names = in_split("train", 2) + in_split("val", 2)
    for name in names:
        soundfile.write(sounds / name, knock().astype(np.float32), 44_100)
    write_index(sounds, [row(name) for name in names])
    model, data = "--model.init_args", "--data.init_args"
    small = {
        f"{model}.autoencoder.init_args.folder": folder,
        f"{model}.autoencoder.init_args.decoder_channels": 2,
        f"{model}.autoencoder.init_args.decoder_multiples": "[1,2,2,2,2]",
        f"{model}.out": tmp_path / "out",
        f"{model}.compile": "false",
        f"{data}.batch_size": 2,
        **{f"{data}.{part}.init_args.recordings": sounds for part in ("train", "val")},
        f"{data}.train.init_args.num_samples": 8 * 1536,
        f"{data}.val.init_args.num_samples": 8 * 1536,
        f"{data}.val.init_args.num_items": 2,
        "--trainer.max_steps": 1,
        "--trainer.val_check_interval": 1,
        "--trainer.precision": "32-true",
        "--trainer.default_root_dir": tmp_path / "logs",
    }
    command = ["train", "fit", "--config", "configs/full_band/decoder.yaml", *(f"{k}={v}" for k, v in small.items())]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    trained = load_autoencoder(str(tmp_path / "out" / "vae"))
    assert type(trained) is AsymmetricOobleck and trained.config.decoder_ratios == [12, 8, 4, 2, 2]
