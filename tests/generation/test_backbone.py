"""The frozen parts: encoding, decoding, prompts; the autoencoder's latents at unit variance."""

import math
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel

from foleygram.envelope.rms import envelope_curve, rms_envelope
from foleygram.generation.autoencoder import control_latents, decode_latents, decoder_reach, encode_audio
from foleygram.generation.autoencoder_training import fold_latent_statistics
from foleygram.generation.backbone import PromptTokens, encode_prompts, freeze, load_backbone
from foleygram.generation.model import Conditions, SemanticProjectors, duration_conditions
from foleygram.generation.oobleck import AsymmetricOobleck
from foleygram.generation.pretraining import build_prompt_encoder
from foleygram.generation.spectral import MultiResolutionSpectra
from foleygram.media.audio import fit_length, read_audio
from foleygram.pipeline.release import load_part


def build() -> AutoencoderOobleck:
    torch.manual_seed(0)
    return AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[4, 4], channel_multiples=[1, 2], decoder_channels=8,
        decoder_input_channels=4, audio_channels=1, sampling_rate=16000,
    ).eval()  # fmt: skip


@pytest.fixture
def vae() -> AutoencoderOobleck:
    return build()


@torch.no_grad()
def test_folding_gives_unit_variance_and_leaves_the_sound_alone(vae):
    audio = 0.1 * torch.randn(3, 1, 16 * 128, generator=torch.Generator().manual_seed(0))
    before = encode_audio(vae, audio)
    folded = build()
    mean, std = before.mean.mean((0, 2)), before.mean.std((0, 2), correction=0)
    fold_latent_statistics(folded, mean, std)
    after = encode_audio(folded, audio).mean
    torch.testing.assert_close(after.mean((0, 2)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.std((0, 2), correction=0), torch.ones(4), atol=1e-3, rtol=0)
    inner = slice(16 * 40, -16 * 40)  # beyond the decoder's reach from the ends
    whole, again = decode_latents(vae, before.mean, 2048), decode_latents(folded, after, 2048)
    torch.testing.assert_close(again[..., inner], whole[..., inner], atol=1e-5, rtol=1e-4)


def test_odd_lengths_are_refused_with_the_way_out(vae):
    with pytest.raises(ValueError, match="17 samples are not a multiple of the autoencoder's hop 16: pad"):
        encode_audio(vae, torch.zeros(1, 1, 17))


def test_frozen_parts_stay_frozen_and_in_eval(vae):
    part = build().train()
    freeze(part, None)
    assert not part.training
    holder = torch.nn.Sequential(part)
    holder.train()
    assert not part.training and not any(p.requires_grad for p in part.parameters())


def test_load_backbone_names_the_missing_part(tmp_path, vae):
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(FileNotFoundError, match="transformer"):
        load_backbone(str(tmp_path))
    sizes = {"num_layers": 1, "num_attention_heads": 1, "num_key_value_attention_heads": 1, "cross_attention_dim": 8}
    widths = {"in_channels": 4, "out_channels": 4, "global_states_input_dim": 16, "cross_attention_input_dim": 8}
    StableAudioDiTModel(**sizes, **widths).save_pretrained(tmp_path / "transformer")
    StableAudioProjectionModel(8, 8, 0, 10).save_pretrained(tmp_path / "projection_model")
    backbone = load_backbone(str(tmp_path))
    assert backbone.prompt_encoder is None and not any(p.requires_grad for p in backbone.transformer.parameters())


def test_absent_modalities_are_exactly_zero_and_keep_a_gradient():
    projectors = SemanticProjectors(embedding_dim=6, cross_attention_input_dim=5)
    present = torch.tensor([[True, False, False], [False, True, True]])
    embeddings = torch.randn(3, 2, 6)
    pairs = zip(("video", "text", "audio"), embeddings, strict=True)
    whole = [projectors.projectors[name](part) for name, part in pairs]
    tokens = projectors(*embeddings, present)
    assert torch.equal(tokens[present], torch.stack(whole, 1)[present])
    assert tokens.shape == (2, 3, 5)
    assert torch.equal(tokens.abs().sum(-1) > 0, present)
    tokens.sum().backward()
    assert all(p.grad is not None for p in projectors.parameters())


def test_fresh_tokens_have_the_deviation_asked_for(tmp_path):
    embeddings = torch.nn.functional.normalize(torch.randn(3, 64, 96), dim=-1)
    projectors = SemanticProjectors(96, 128, token_std=0.9)
    tokens = projectors(*embeddings, torch.ones(64, 3, dtype=torch.bool))
    assert tokens.std().item() == pytest.approx(0.9, rel=0.05)
    assert not any(projector.bias.any() for projector in projectors.projectors.values())
    projectors.save_pretrained(tmp_path)
    again = SemanticProjectors.from_pretrained(tmp_path)
    assert torch.equal(again(*embeddings, torch.ones(64, 3, dtype=torch.bool)), tokens)


def test_durations_are_tokens_and_their_concatenation():
    model = StableAudioProjectionModel(8, 8, 0, 10)
    start, total = torch.tensor([0.0, 1.0]), torch.tensor([4.0, 5.0])
    tokens, global_states = duration_conditions(model, start, total)
    assert torch.equal(tokens[:, :1], model(start_seconds=start).seconds_start_hidden_states)
    assert torch.equal(tokens[:, 1:], model(end_seconds=total).seconds_end_hidden_states)
    assert torch.equal(global_states, tokens.flatten(1))


@torch.no_grad()
def test_padding_of_a_prompt_changes_no_token_and_is_zero():
    torch.manual_seed(0)
    encoder, projection = build_prompt_encoder(20, 8, 16, 1, 2).eval(), StableAudioProjectionModel(8, 6, 0, 10)
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    padded = [PromptTokens(torch.tensor([[3, 4, 5, other, other]]), mask) for other in (0, 9)]
    first, second = (encode_prompts(encoder, projection, prompts) for prompts in padded)
    assert first.shape == (1, 5, 6) and first[:, :3].all() and not first[:, 3:].any()
    torch.testing.assert_close(first, second)


def test_without_guidance_the_tokens_are_zero_and_all_else_is_kept():
    given = Conditions(torch.randn(2, 5, 8), torch.randn(2, 16), torch.randn(2, 4, 9))
    null = given.null()
    assert not null.cross_tokens.any() and null.cross_tokens.shape == given.cross_tokens.shape
    assert torch.equal(null.global_states, given.global_states)
    assert torch.equal(null.control_latents, given.control_latents)


@torch.no_grad()
def test_control_latents_are_the_curves_mean_padded_at_its_end(vae):
    found = control_latents(vae, torch.tensor([[0.0, 0.8], [0.3, 0.3]]), 1000)
    curves = torch.stack([torch.linspace(0, 0.8, 1000), torch.full((1000,), 0.3)])
    expected = encode_audio(vae, torch.cat([curves, torch.zeros(2, 8)], 1)[:, None]).mean
    assert found.shape == (2, 4, 63)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_shipped_autoencoder_encodes_slow_curves():
    """Before a ControlNet is trained a linear probe must reach R^2 0.95."""
    vae, count = load_part(Path("checkpoints/mini"), "vae"), 64_000
    wavs = sorted(Path("data/examples").glob("*.wav"))
    sounds = torch.stack([fit_length(read_audio(wav, sample_rate=16_000)[0], count) for wav in wavs])
    envelopes = rms_envelope(sounds)
    with torch.inference_mode():
        controls = control_latents(vae, envelopes, count).mT.double()  # (clips, T, C)
    levels = envelope_curve(envelopes, count).unflatten(-1, (-1, vae.hop_length)).mean(-1).double()
    rows = torch.cat([controls, torch.ones_like(controls[..., :1])], dim=-1)
    errors = []
    for clip in range(len(rows)):
        others = torch.arange(len(rows)) != clip
        weights = torch.linalg.lstsq(rows[others].flatten(0, 1), levels[others].flatten()[:, None]).solution
        errors.append(rows[clip] @ weights[:, 0] - levels[clip])
    assert 1 - torch.stack(errors).var(correction=0) / levels.var(correction=0) > 0.95


def test_spectral_distance_is_zero_only_for_equal_spectra():
    distance, audio = MultiResolutionSpectra(sample_rate=16000), 0.1 * torch.randn(1, 1, 4096)
    assert distance(audio, audio).item() < 1e-4
    click = audio.clone()
    click[0, 0, 2000] += 0.5
    assert distance(click, audio).item() > 0.01


@pytest.mark.parametrize(("strides", "reach"), [([4, 4, 2], 18), ([4, 4, 4], 17), ([8, 4, 4, 2], 11), ([2, 2, 2], 39)])
def test_the_decoders_reach_is_where_its_gradient_ends(strides, reach):
    torch.manual_seed(0)
    vae = AsymmetricOobleck(
        encoder_hidden_size=16, downsampling_ratios=[math.prod(strides)], channel_multiples=[1], decoder_channels=4,
        decoder_input_channels=8, audio_channels=1, sampling_rate=16_000, decoder_ratios=strides[::-1],
        decoder_multiples=[1] * len(strides),
    ).eval().double()  # fmt: skip
    for name, value in vae.decoder.named_parameters():
        torch.nn.init.ones_(value) if name.endswith(("weight_g", "weight_v")) else torch.nn.init.zeros_(value)
    latents, middle = torch.zeros(1, 8, 2 * reach + 11, dtype=torch.float64, requires_grad=True), reach + 5
    audio = vae.decode(latents).sample
    audio[..., middle * vae.hop_length : (middle + 1) * vae.hop_length].sum().backward()
    touched = latents.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert decoder_reach(strides) == reach == max(middle - int(touched[0]), int(touched[-1]) - middle)


@pytest.mark.parametrize("strides", [[2, 2, 2], [4, 4, 4], [2, 4, 4], [8, 8, 8], [2, 4, 4, 8, 8]])
def test_pieces_equal_the_whole_and_a_batch_its_rows(strides):
    torch.manual_seed(0)
    vae = AutoencoderOobleck(
        encoder_hidden_size=16, downsampling_ratios=strides, channel_multiples=[1] * len(strides), decoder_channels=8,
        decoder_input_channels=8, audio_channels=1, sampling_rate=16_000,
    ).eval()  # fmt: skip
    latents = torch.randn(2, 8, 44)
    whole = vae.decode(latents).sample.detach()
    with torch.inference_mode():
        pieces = decode_latents(vae, latents, whole.shape[-1] - 5, chunk_size=14)
    assert torch.equal(decode_latents(vae, latents.double(), whole.shape[-1] - 5), whole[..., :-5])  # with gradients
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(pieces, whole[..., :-5], atol=1e-5 * whole.abs().max().item(), rtol=1e-4)
