"""Skipping silence changes no latent beyond rounding, and does skip it."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from diffusers import AutoencoderOobleck

from foleygram.generation.autoencoder import control_latents, encode_audio, encode_skipping_silence

SIZES = {"even": [4, 8], "odd": [3, 5], "one": [16]}


def small_vae(strides: list[int], channels: int = 1) -> AutoencoderOobleck:
    torch.manual_seed(0)
    vae = AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=strides, channel_multiples=[2] * len(strides), decoder_channels=4,
        decoder_input_channels=4, audio_channels=channels, sampling_rate=16_000,
    )  # fmt: skip
    for name, parameter in vae.encoder.named_parameters():
        if name.endswith(("alpha", "beta", "bias")):  # where they are 0, silence would stay 0 in every layer
            torch.nn.init.normal_(parameter, std=0.3)
    return vae.eval().requires_grad_(False)


NETWORKS = {name: small_vae(strides, channels=1 + (name == "odd")) for name, strides in SIZES.items()}


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    network=st.sampled_from(sorted(NETWORKS)),
    num_latents=st.integers(1, 80),
    spans=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), max_size=4),
    seed=st.integers(0, 9),
)
def test_equals_the_encoder_wherever_the_silence_is(network, num_latents, spans, seed):
    vae = NETWORKS[network]
    length = num_latents * vae.hop_length
    audio = torch.zeros(1, vae.config.audio_channels, length)
    for start, share in spans:
        first = round(start * length)
        piece = audio[..., first : first + round(share * length) + 1]
        piece += torch.rand(piece.shape, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        found, expected = encode_skipping_silence(vae, audio), vae.encoder(audio)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_the_miniatures_control_latents_equal_those_of_its_encoder():
    vae = AutoencoderOobleck.from_pretrained(Path("checkpoints/mini/vae")).eval()
    envelope = torch.zeros(2, 501)
    envelope[0, 40:90], envelope[0, 300:310], envelope[1] = 0.1, 0.02, torch.linspace(0.01, 0.2, 501)
    with torch.inference_mode():
        found = control_latents(vae, envelope, 64_000)
    plain = control_latents(vae, envelope, 64_000)  # with gradients: the encoder as it is
    assert plain.requires_grad and not found.requires_grad
    torch.testing.assert_close(found, plain.detach(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("share", "most"), [(0.0, 0.15), (0.1, 0.45), (1.0, 1.2)])
def test_only_what_sounds_passes_the_first_block(share, most):
    vae, seen = small_vae([8, 8]), []
    length = 400 * vae.hop_length
    audio = torch.zeros(1, 1, length)
    audio[..., length // 2 : length // 2 + round(share * length / 2)] = 1.0
    audio[..., : round(share * length / 2)] = 1.0
    vae.encoder.block[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[-1]))
    with torch.inference_mode():
        encode_audio(vae, audio)
    assert sum(seen) <= most * length + 500
