"""FoleyModel on tiny random networks: conditions, guidance's null branch, velocity, decoding."""

import pytest
import torch

from foleygram.generation.backbone import load_backbone
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.model import FoleyModel
from foleygram.pipeline.release import load_controlnet, load_projectors


@pytest.fixture(scope="module")
def model(tiny_release):
    folder = str(tiny_release)
    return FoleyModel(load_backbone(folder), load_projectors(folder), load_controlnet(folder))


def inputs(count=3, length=12):
    generator = torch.Generator().manual_seed(0)
    embeddings = [torch.randn(count, 8, generator=generator) for _ in range(3)]
    control = torch.randn(count, 4, length, generator=generator)
    return embeddings, control, torch.zeros(count), torch.full((count,), 2.0)


@torch.no_grad()
def test_conditions_join_three_weighted_tokens_and_two_durations(model):
    embeddings, control, start, total = inputs()
    weights = torch.tensor([[1.0, 0.5, 0.0]]).expand(3, -1)
    conditions = model.conditions(embeddings, weights, control, start, total)
    single = [model.projectors.projectors[name](e) for name, e in zip(("video", "text"), embeddings, strict=False)]
    tokens = conditions.cross_tokens
    assert tokens.shape == (3, 5, 8)
    torch.testing.assert_close(tokens[:, :2], torch.stack([single[0], 0.5 * single[1]], 1))
    assert (tokens[:, 2] == 0).all() and torch.equal(conditions.global_states, tokens[:, 3:].flatten(1))
    assert conditions.control_latents is control


@torch.no_grad()
def test_the_null_branch_has_no_token_or_only_the_negative_prompts(model):
    embeddings, control, start, total = inputs()
    conditions = model.conditions(embeddings, torch.ones(3, 3), control, start, total)
    null = model.null(conditions)
    assert (null.cross_tokens == 0).all() and null.cross_tokens.shape == conditions.cross_tokens.shape
    assert null.global_states is conditions.global_states and null.control_latents is control
    negative = model.null(conditions, embeddings[1][:1])
    expected = model.projectors.projectors["text"](embeddings[1][:1])
    torch.testing.assert_close(negative.cross_tokens[:, 1], expected.expand(3, -1))
    assert (negative.cross_tokens[:, [0, 2, 3, 4]] == 0).all()


@torch.no_grad()
def test_velocity_without_control_is_the_backbones_own(model):
    embeddings, control, start, total = inputs()
    conditions = model.conditions(embeddings, torch.ones(3, 3), control, start, total)
    latents, timestep = torch.randn(3, 4, 12), torch.tensor([0.1, 0.5, 0.9])
    plain = controlled_forward(model.backbone.transformer, latents, timestep, *conditions[:2])
    assert torch.equal(model.velocity(latents, timestep, conditions, control_scale=0.0), plain)
    residuals = model.controlnet(latents, timestep, *conditions, conditioning_scale=0.5)
    steered = controlled_forward(model.backbone.transformer, latents, timestep, *conditions[:2], residuals)
    assert torch.equal(model.velocity(latents, timestep, conditions, control_scale=0.5), steered)
    assert not torch.equal(plain, steered)


@torch.no_grad()
def test_decoding_gives_the_autoencoders_samples(model):
    latents = torch.randn(2, 4, 12)
    whole = model.backbone.vae.decode(latents).sample
    torch.testing.assert_close(model.decode(latents, 6000), whole[..., :6000])
