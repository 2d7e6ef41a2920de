"""The controlled DiT: equal to diffusers' at initialisation, gradients where they belong."""

import pytest
import torch
from diffusers import StableAudioDiTModel

from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward, embed_time, rotary_embedding


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_at_initialisation_the_dit_is_unchanged_bit_for_bit(dit, dtype):
    dit = dit.to(dtype)
    arguments = inputs(dtype=dtype)
    residuals = EnvelopeControlNet.from_transformer(dit, 0.5)(*arguments)
    assert len(residuals) == 2 and residuals[0].shape == (2, 21, 128)
    assert torch.equal(controlled_forward(dit, *arguments[:4], residuals), controlled_forward(dit, *arguments[:4]))


@pytest.mark.parametrize(("factor", "blocks"), [(0.2, 1), (0.5, 2), (0.7, 2), (0.75, 3), (1.0, 4)])
def test_depth_factor_counts_blocks(dit, factor, blocks):
    assert len(EnvelopeControlNet.from_transformer(dit, factor).transformer_blocks) == blocks


def test_weights_of_the_blocks_it_uses_are_copied_and_no_others(dit, monkeypatch):
    """A deep copy of the whole DiT would take 4 GB at Stable Audio Open's size, of which 0.8 are used."""
    read, load = set(), torch.nn.Module.load_state_dict
    monkeypatch.setattr(torch.nn.Module, "__deepcopy__", lambda *_: pytest.fail("copies a whole module"), raising=False)
    monkeypatch.setattr(
        torch.nn.Module,
        "load_state_dict",
        lambda self, state, **options: read.update(state) or load(self, state, **options),
    )
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    theirs, ours = dit.state_dict(), controlnet.state_dict()
    assert read == {name for name in ours if not name.startswith("control_")}
    assert all(torch.equal(ours[name], theirs[name]) for name in read)
    assert not {p.data_ptr() for p in controlnet.parameters()} & {p.data_ptr() for p in dit.parameters()}


def test_first_gradient_reaches_only_the_output_convolutions(dit):
    dit.requires_grad_(False)
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    assert all(p.requires_grad for p in controlnet.parameters())
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


@pytest.mark.parametrize("how", ["autocast", "bfloat16", "float16"])
def test_time_is_embedded_in_single_precision(dit, how):
    timestep = torch.linspace(0.97, 0.99, 5)
    angles = 2 * torch.pi * timestep[:, None] * dit.time_proj.weight[None]
    expected = dit.timestep_proj(torch.cat([angles.cos(), angles.sin()], -1))
    net = dit if how == "autocast" else dit.to(getattr(torch, how))
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = embed_time(net, timestep)
    assert found.dtype == torch.float32
    if how == "autocast":
        assert torch.equal(found, expected)
    steps, true_steps = found.diff(dim=0), expected.diff(dim=0)
    cosine = torch.nn.functional.cosine_similarity(steps, true_steps)
    assert (cosine > 0.9).all(), "rounded times would move in steps of their own"


def test_residuals_are_what_diffusers_own_blocks_give(dit):
    """With the outputs' convolutions at identity, residuals are the states behind the DiT's first blocks."""
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    for convolution in controlnet.control_out:
        torch.nn.init.dirac_(convolution.weight)
    seen = []
    hooks = [b.register_forward_hook(lambda _, __, out: seen.append(out)) for b in dit.transformer_blocks[:2]]
    diffusers_forward(dit, *inputs())
    for hook in hooks:
        hook.remove()
    for found, expected in zip(controlnet(*inputs()), seen, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_residuals_enter_before_diffusers_own_blocks(dit):
    residuals = list(torch.randn(2, 2, 21, 128, generator=torch.Generator().manual_seed(2)))

    def add(more):
        return lambda _, args, given: (args, given | {"hidden_states": given["hidden_states"] + more})

    pairs = zip(dit.transformer_blocks, residuals, strict=False)
    hooks = [block.register_forward_pre_hook(add(more), with_kwargs=True) for block, more in pairs]
    expected = diffusers_forward(dit, *inputs())
    for hook in hooks:
        hook.remove()
    found = controlled_forward(dit, *inputs()[:4], residuals)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_control_enters_as_a_convolution_of_its_own(dit):
    """A control convolution of weight w on latents c is a DiT on latents moved by what its input makes of w c."""
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    torch.nn.init.dirac_(controlnet.control_out[0].weight)
    torch.nn.init.normal_(controlnet.control_in.weight)
    latents, timestep, tokens, states, control = inputs()
    added = torch.einsum("oc,bct->bot", controlnet.control_in.weight[..., 0], control)
    seen = []
    hook = dit.proj_in.register_forward_pre_hook(lambda _, args: (args[0] + added.transpose(1, 2),))
    other = dit.transformer_blocks[0].register_forward_hook(lambda _, __, out: seen.append(out))
    diffusers_forward(dit, latents, timestep, tokens, states, control)
    hook.remove(), other.remove()
    torch.testing.assert_close(controlnet(latents, timestep, tokens, states, control)[0], seen[0], atol=1e-5, rtol=1e-5)


def test_checkpointed_blocks_keep_less_and_give_the_same_gradients(dit):
    controlnet = EnvelopeControlNet.from_transformer(dit, 0.5)
    for convolution in controlnet.control_out:
        torch.nn.init.normal_(convolution.weight, std=0.1)
    gradients, kept = [], []
    for checkpointing in (False, True):
        for network in (dit, controlnet):
            network.enable_gradient_checkpointing() if checkpointing else network.disable_gradient_checkpointing()
        controlnet.zero_grad()
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            controlled_forward(dit, *inputs()[:4], controlnet(*inputs())).square().mean().backward()
        kept.append(sum(saved))
        gradients.append({name: p.grad for name, p in controlnet.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
    assert kept[1] < 0.5 * kept[0]


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
