"""The controlled DiT: equal to diffusers' at initialisation, gradients where they belong."""

import pytest
import torch
from diffusers import StableAudioDiTModel

from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward, rotary_embedding


@pytest.fixture
def dit() -> StableAudioDiTModel:
    torch.manual_seed(0)
    return StableAudioDiTModel(
        sample_size=20, in_channels=8, out_channels=8, num_layers=4, attention_head_dim=64, num_attention_heads=2,
        num_key_value_attention_heads=1, cross_attention_dim=32, time_proj_dim=64, global_states_input_dim=48,
        cross_attention_input_dim=24,
    ).eval()  # fmt: skip


def inputs(length: int = 20, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 8, length), (2, 5, 24), (2, 48), (2, 8, length)]
    latents, tokens, global_states, control = (torch.randn(s, generator=generator).to(dtype) for s in shapes)
    return [latents, torch.tensor([0.3, 0.9]), tokens, global_states, control]


def diffusers_forward(dit: StableAudioDiTModel, latents, timestep, tokens, global_states, control):
    rotary = rotary_embedding(64, latents.shape[-1], latents.device)
    return dit(latents, timestep, tokens, global_states[:, None], rotary_embedding=rotary).sample


@pytest.mark.parametrize("length", [20, 33])
def test_without_residuals_equals_diffusers_bit_for_bit(dit, length):
    arguments = inputs(length)
    assert torch.equal(controlled_forward(dit, *arguments[:4]), diffusers_forward(dit, *arguments))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_at_initialisation_the_dit_is_unchanged_bit_for_bit(dit, dtype):
    dit = dit.to(dtype)
    arguments = inputs(dtype=dtype)
    residuals = EnvelopeControlNet.from_transformer(dit, 0.5)(*arguments)
    assert len(residuals) == 2 and residuals[0].shape == (2, 21, 128)
    assert torch.equal(controlled_forward(dit, *arguments[:4], residuals), controlled_forward(dit, *arguments[:4]))


@pytest.mark.parametrize(("factor", "blocks"), [(0.2, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_depth_factor_counts_blocks(dit, factor, blocks):
    assert len(EnvelopeControlNet.from_transformer(dit, factor).transformer_blocks) == blocks


def test_first_gradient_reaches_only_the_output_convolutions(dit):
    dit.requires_grad_(False)
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    arguments = inputs()
    controlled_forward(dit, *arguments[:4], controlnet(*arguments)).square().mean().backward()
    moved = {name for name, p in controlnet.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {f"control_out.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")}
    assert all(p.grad is None for p in dit.parameters())


def test_the_copy_is_its_own(dit):
    before = [p.clone() for p in dit.parameters()]
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    with torch.no_grad():
        for parameter in controlnet.parameters():
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, dit.parameters(), strict=True))


def test_conditioning_scale_scales_the_residuals(dit):
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    torch.nn.init.normal_(controlnet.control_out[0].weight)
    whole, half = controlnet(*inputs()), controlnet(*inputs(), conditioning_scale=0.5)
    torch.testing.assert_close(half[0], 0.5 * whole[0])


def test_save_and_load(dit, tmp_path):
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5).eval()
    torch.nn.init.normal_(controlnet.control_in.weight)
    torch.nn.init.normal_(controlnet.control_out[1].weight)
    controlnet.save_pretrained(tmp_path)
    again = EnvelopeControlNet.from_pretrained(tmp_path)
    assert torch.equal(again(*inputs())[1], controlnet(*inputs())[1])


def test_too_many_residuals_are_refused(dit):
    arguments = inputs()
    with pytest.raises(ValueError, match="5 residuals for 4"):
        controlled_forward(dit, *arguments[:4], [torch.zeros(2, 21, 128)] * 5)


@pytest.mark.parametrize("factor", [0.0, 1.5])
def test_impossible_depth_is_refused(dit, factor):
    with pytest.raises(ValueError, match="depth_factor"):
        EnvelopeControlNet.from_transformer(dit, factor)


@pytest.mark.parametrize("autocast", [True, False])
def test_times_that_bfloat16_cannot_tell_apart_stay_distinct(dit, autocast):
    near, far = torch.tensor([0.9001, 0.9001]), torch.tensor([0.9003, 0.9003])
    assert torch.equal(near.bfloat16(), far.bfloat16())
    dit.time_proj.weight.data *= 50  # features that turn quickly, as a trained model's do
    net = dit if autocast else dit.to(torch.bfloat16)
    latents, _, tokens, global_states, _ = inputs(dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        first, second = (controlled_forward(net, latents, t, tokens, global_states) for t in (near, far))
    assert not torch.equal(first, second)
