"""Solvers of the probability-flow ODE and SDE in sigma, noise per clip, guidance and denoiser around a network's v."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from foleygram.generation.conditioning import Conditions

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(scaled latents (B, C, T), t (B,)) -> v (B, C, T)."""
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(latents (B, C, T), sigma ()) -> clean latents (B, C, T)."""
Noise = Callable[[Tensor], Tensor]
"""Fresh Gaussian noise like the latents it is given."""


class ClipNoise:
    """Gaussian noise from one CPU generator per clip: a clip's sound depends on its seed alone, not on its batch."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """Fresh noise of `like`'s shape (B, C, T), device and dtype; raises ValueError unless B is the seeds' count."""
        if len(like) != len(self.generators):
            raise ValueError(f"{len(self.generators)} seeds for a batch of {len(like)} clips")
        drawn = [torch.randn(like.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(like)


def exponential_sigmas(num_inference_steps: int, *, sigma_min: float, sigma_max: float) -> Tensor:
    """Noise levels evenly spaced in log sigma from `sigma_max` to `sigma_min`, then 0: (num_inference_steps + 1,).

    Raises ValueError without a step, or for levels that do not fall.
    """
    if num_inference_steps < 1 or not 0 < sigma_min < sigma_max:
        raise ValueError(f"{num_inference_steps} steps between sigmas {sigma_max} and {sigma_min}: nothing to sample")
    levels = torch.logspace(0, 1, num_inference_steps, base=sigma_min / sigma_max, dtype=torch.float64) * sigma_max
    return torch.cat([levels, levels.new_zeros(1)]).float()


def guided(
    velocity: Callable[[Tensor, Tensor, Conditions], Tensor],
    conditions: Conditions,
    null: Conditions,
    guidance_scale: float,
    *,
    rows_at_once: int,
) -> Velocity:
    """v under classifier-free guidance (Ho and Salimans 2022), `rows_at_once` rows at a time; a scale of 1 is none."""

    def guided_velocity(latents: Tensor, timestep: Tensor) -> Tensor:
        rows = []
        for first in range(0, len(latents), rows_at_once):
            span = slice(first, first + rows_at_once)
            some, when, told = latents[span], timestep[span], conditions.rows(span)
            if guidance_scale == 1:
                rows.append(velocity(some, when, told).float())
                continue
            both = Conditions.joined([told, null.rows(span)])
            positive, negative = velocity(torch.cat([some, some]), torch.cat([when, when]), both).float().chunk(2)
            rows.append(negative + guidance_scale * (positive - negative))
        return torch.cat(rows)

    return guided_velocity


def denoiser_from_v(velocity: Velocity) -> Denoiser:
    """Turn v(scaled latents, t (B,)) into a denoiser in sigma: t = 2 atan(sigma) / pi (Karras et al. 2022, c_in)."""

    def denoise(latents: Tensor, sigma: Tensor) -> Tensor:
        scale = (sigma**2 + 1).rsqrt()
        timestep = (sigma.atan() * (2 / torch.pi)).expand(len(latents)).to(latents.device)
        return scale**2 * latents - sigma * scale * velocity(latents * scale, timestep)

    return denoise


def dpmpp_2m(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise | None = None) -> Tensor:
    """DPM-Solver++(2M), deterministic (Lu et al. 2022); `noise` is accepted and not used."""
    return _dpmpp(denoise, latents, sigmas, eta=0.0, noise=None)


def dpmpp_2m_sde(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise, eta: float = 1.0) -> Tensor:
    """DPM-Solver++(2M) SDE, midpoint form (Lu et al. 2022)."""
    return _dpmpp(denoise, latents, sigmas, eta=eta, noise=noise)


def _dpmpp(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, eta: float, noise: Noise | None) -> Tensor:
    previous, last_step = None, None
    for sigma, sigma_next in pairwise(sigmas):
        clean = denoise(latents, sigma)
        if sigma_next == 0:
            return clean
        step = (sigma / sigma_next).log()
        decay = torch.expm1(-(1 + eta) * step).neg()
        latents = (sigma_next / sigma) * torch.exp(-eta * step) * latents + decay * clean
        if previous is not None:
            latents = latents + 0.5 * decay * (step / last_step) * (clean - previous)
        latents = _perturb(latents, sigma_next, step, eta, noise)
        previous, last_step = clean, step
    return latents


def dpmpp_3m_sde(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise, eta: float = 1.0) -> Tensor:
    """DPM-Solver++(3M) SDE (Lu et al. 2022; the solver Stable Audio is published with).

    As published, the curvature counts half of what third order asks for: without noise its error falls with the square
    of the steps, as that of 2M.
    """
    history: list[tuple[Tensor, Tensor]] = []  # (clean, step), newest first
    for sigma, sigma_next in pairwise(sigmas):
        clean = denoise(latents, sigma)
        if sigma_next == 0:
            return clean
        step = (sigma / sigma_next).log()
        scaled = (1 + eta) * step
        latents = torch.exp(-scaled) * latents + torch.expm1(-scaled).neg() * clean
        phi_2 = torch.expm1(-scaled) / scaled + 1
        if len(history) == 1:
            latents = latents + phi_2 * (clean - history[0][0]) * (step / history[0][1])
        elif history:
            (clean_1, step_1), (clean_2, step_2) = history
            ratio_0, ratio_1 = step_1 / step, step_2 / step
            first, second = (clean - clean_1) / ratio_0, (clean_1 - clean_2) / ratio_1
            curvature = (first - second) / (ratio_0 + ratio_1)
            slope = first + (first - second) * ratio_0 / (ratio_0 + ratio_1)
            # As published: the exact integral of the parabola would take its curvature twice.
            latents = latents + phi_2 * slope - (phi_2 / scaled - 0.5) * curvature
        latents = _perturb(latents, sigma_next, step, eta, noise)
        history = [(clean, step), *history[:1]]
    return latents


def _perturb(latents: Tensor, sigma: Tensor, step: Tensor, eta: float, noise: Noise | None) -> Tensor:
    if not eta or noise is None:
        return latents
    return latents + noise(latents) * sigma * torch.expm1(-2 * eta * step).neg().sqrt()


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_3m_sde": dpmpp_3m_sde,
}
