"""The v-objective and its noise levels (Salimans and Ho 2022, arXiv 2202.00512)."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

TimestepDistribution = Literal["uniform", "logit_normal", "mixed"]


class Noised(NamedTuple):
    """Noised latents and the v the network must predict, both (B, C, T)."""

    latents: Tensor
    target: Tensor


def alpha_sigma(timestep: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise weights cos(pi t / 2), sin(pi t / 2) for t (B,) in [0, 1], shaped (B, 1, 1)."""
    angle = timestep.float()[:, None, None] * (math.pi / 2)
    return angle.cos(), angle.sin()


def add_noise(clean: Tensor, noise: Tensor, timestep: Tensor) -> Noised:
    """z_t = alpha x + sigma e, and v = alpha e - sigma x, for clean latents and noise (B, C, T), t (B,)."""
    alpha, sigma = alpha_sigma(timestep)
    return Noised(alpha * clean + sigma * noise, alpha * noise - sigma * clean)


def sample_timesteps(
    batch_size: int, distribution: TimestepDistribution, *, generator: torch.Generator, uniform_share: float = 0.5
) -> Tensor:
    """Timesteps (batch_size,) in (0, 1): stratified uniform, sigmoid(N(0, 1)), or a mixture of both per item.

    Raises ValueError for another `distribution`.
    """
    strata = torch.randperm(batch_size, generator=generator) + torch.rand(batch_size, generator=generator)
    uniform = strata / batch_size
    if distribution == "uniform":
        return uniform
    logit_normal = torch.randn(batch_size, generator=generator).sigmoid()
    if distribution == "logit_normal":
        return logit_normal
    if distribution == "mixed":
        return torch.where(torch.rand(batch_size, generator=generator) < uniform_share, uniform, logit_normal)
    raise ValueError(f"unknown timestep distribution {distribution!r}: use uniform, logit_normal or mixed")
