"""An Oobleck autoencoder whose decoder has strides and widths of its own."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderOobleck

from foleygram.generation.autoencoder import decode_latents
from foleygram.generation.backbone import load_autoencoder
from foleygram.generation.native_folders import load_native, save_native
from foleygram.generation.oobleck import AsymmetricOobleck
from foleygram.pipeline.release import class_path, load_part
from tests.published import write_native

SIZES = {
    "encoder_hidden_size": 8, "downsampling_ratios": [4, 6], "channel_multiples": [1, 2], "decoder_channels": 4,
    "decoder_input_channels": 4, "audio_channels": 1, "sampling_rate": 16_000,
}  # fmt: skip
PATH = "foleygram.generation.oobleck.AsymmetricOobleck"


@pytest.fixture
def vae() -> AsymmetricOobleck:
    torch.manual_seed(0)
    return AsymmetricOobleck(**SIZES, decoder_ratios=[6, 2, 2], decoder_multiples=[1, 4, 8]).eval()


def test_widths_and_strides_are_those_of_the_config(vae: AsymmetricOobleck) -> None:
    widths = [(block.conv_t1.in_channels, block.conv_t1.out_channels) for block in vae.decoder.block]
    assert widths == [(32, 16), (16, 4), (4, 4)]
    assert [block.conv_t1.stride[0] for block in vae.decoder.block] == [2, 2, 6]
    assert [block.conv1.stride[0] for block in vae.encoder.block] == [4, 6] and vae.hop_length == 24


def test_with_the_encoders_strides_it_is_diffusers_own_class(vae: AsymmetricOobleck) -> None:
    plain = AutoencoderOobleck(**SIZES).eval()
    same = AsymmetricOobleck(**SIZES, decoder_ratios=[4, 6], decoder_multiples=[1, 2]).eval()
    same.load_state_dict(plain.state_dict())
    audio = torch.randn(1, 1, 240)
    assert torch.equal(same(audio, sample_posterior=False).sample, plain(audio, sample_posterior=False).sample)


def test_a_folder_loads_as_the_class_that_its_config_names(vae: AsymmetricOobleck, tmp_path: Path) -> None:
    AutoencoderOobleck(**SIZES).save_pretrained(tmp_path / "plain" / "vae")
    vae.save_pretrained(tmp_path / "vae")
    for loaded in (load_autoencoder(str(tmp_path / "vae")), load_part(tmp_path, "vae")):
        assert type(loaded) is AsymmetricOobleck and loaded.config.decoder_ratios == [6, 2, 2]
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in vae.state_dict().items())
    assert type(load_autoencoder(str(tmp_path / "plain" / "vae"))) is AutoencoderOobleck
    assert class_path("vae", tmp_path / "vae") == PATH
    assert class_path("vae", tmp_path / "plain" / "vae") == "diffusers.AutoencoderOobleck"


def test_pieces_equal_the_whole(vae: AsymmetricOobleck) -> None:
    latents = torch.randn(2, 4, 150)
    with torch.no_grad():
        whole = vae.decode(latents).sample
        pieces = decode_latents(vae, latents, 150 * 24, chunk_size=20)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-4)


def test_stable_audio_tools_form_keeps_both_halves(tmp_path: Path) -> None:
    parts = load_native(write_native(tmp_path / "first"))
    config = dict(parts["vae"].config)
    names = ("encoder_hidden_size", "decoder_channels", "decoder_input_channels", "audio_channels", "sampling_rate")
    ratios, multiples = config["downsampling_ratios"], config["channel_multiples"]
    own = {"decoder_ratios": ratios[::-1], "decoder_multiples": [2 * value for value in multiples]}
    sizes = {name: config[name] for name in names}
    parts["vae"] = AsymmetricOobleck(**sizes, downsampling_ratios=ratios, channel_multiples=multiples, **own).eval()
    save_native(tmp_path / "second", **parts)  # type: ignore[arg-type]
    again = load_native(tmp_path / "second")["vae"]
    assert type(again) is AsymmetricOobleck
    assert again.config.decoder_ratios == own["decoder_ratios"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in parts["vae"].state_dict().items())


@pytest.mark.parametrize("ratios", [[6, 2], [6, 2, 4]])
def test_another_hop_or_number_of_blocks_is_refused(ratios: list[int]) -> None:
    with pytest.raises(ValueError, match="product 24"):
        AsymmetricOobleck(**SIZES, decoder_ratios=ratios, decoder_multiples=[1, 4, 8])
