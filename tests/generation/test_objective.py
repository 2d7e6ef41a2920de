"""The v-objective's algebra and its noise levels."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foleygram.generation.objective import add_noise, clean_from_v, sample_timesteps


@given(st.floats(0, 1))
def test_noised_and_target_invert_to_clean(t):
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, generator=generator)
    timestep = torch.full((3,), t)
    noised, target = add_noise(clean, noise, timestep)
    torch.testing.assert_close(clean_from_v(noised, target, timestep), clean, atol=1e-5, rtol=1e-5)


def test_ends_of_the_schedule():
    clean, noise = torch.randn(2, 1, 2, 3)
    assert torch.equal(add_noise(clean, noise, torch.zeros(1)).latents, clean)
    torch.testing.assert_close(add_noise(clean, noise, torch.ones(1)).latents, noise, atol=1e-6, rtol=0)
    torch.testing.assert_close(add_noise(clean, noise, torch.ones(1)).target, -clean, atol=1e-6, rtol=0)


def test_uniform_timesteps_are_stratified():
    timestep = sample_timesteps(100, "uniform", generator=torch.Generator().manual_seed(0))
    assert sorted((timestep * 100).long().tolist()) == list(range(100))


def test_mixture_covers_the_sampler_where_logit_normal_does_not():
    share = {}
    for name in ("logit_normal", "mixed"):
        timestep = sample_timesteps(50_000, name, generator=torch.Generator().manual_seed(0))
        share[name] = (timestep > 0.98).float().mean().item()
    assert share["logit_normal"] < 2e-4 < share["mixed"]
    assert math.isclose(share["mixed"], 0.01, rel_tol=0.2)


def test_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        sample_timesteps(2, "cosine", generator=torch.Generator())
