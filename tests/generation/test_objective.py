"""The v-objective's algebra and its noise levels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foleygram.generation.objective import add_noise, alpha_sigma, sample_timesteps


@given(st.floats(0, 1))
def test_noised_and_target_invert_to_clean(t):
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, generator=generator)
    timestep = torch.full((3,), t)
    noised, target = add_noise(clean, noise, timestep)
    alpha, sigma = alpha_sigma(timestep)
    torch.testing.assert_close(alpha * noised - sigma * target, clean, atol=1e-5, rtol=1e-5)


def test_ends_of_the_schedule():
    clean, noise = torch.randn(2, 1, 2, 3)
    assert torch.equal(add_noise(clean, noise, torch.zeros(1)).latents, clean)
    torch.testing.assert_close(add_noise(clean, noise, torch.ones(1)).latents, noise, atol=1e-6, rtol=0)
    torch.testing.assert_close(add_noise(clean, noise, torch.ones(1)).target, -clean, atol=1e-6, rtol=0)


def test_uniform_timesteps_are_stratified_in_any_order_at_any_place():
    timestep = 100 * sample_timesteps(100, "uniform", generator=torch.Generator().manual_seed(0))
    strata = timestep.long().tolist()
    assert sorted(strata) == list(range(100)) != strata
    assert (timestep % 1).std().item() == pytest.approx(12**-0.5, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"uniform_share": 0.2}])
def test_mixture_covers_the_sampler_where_logit_normal_does_not(options):
    share = {}
    for name in ("logit_normal", "mixed"):
        timestep = sample_timesteps(200_000, name, generator=torch.Generator().manual_seed(0), **options)
        share[name] = (timestep > 0.98).float().mean().item()
    assert share["logit_normal"] < 2e-4 < share["mixed"]
    assert share["mixed"] == pytest.approx(0.02 * options.get("uniform_share", 0.5), rel=0.1)


def test_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        sample_timesteps(2, "cosine", generator=torch.Generator())
