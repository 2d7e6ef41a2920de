"""From a network's v to clean latents: guidance, windows over clips of any length, noise per clip, solvers in sigma."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

if TYPE_CHECKING:  # processes that read videos plan windows, and do without the networks' packages
    from foleygram.generation.model import Conditions

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(scaled latents (B, C, T), t (B,)) -> v (B, C, T)."""
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(latents (B, C, T), sigma ()) -> clean latents (B, C, T)."""
Noise = Callable[[Tensor], Tensor]
"""(latents (B, C, T)) -> new Gaussian noise of their shape."""
EDGE_FADE = 2
"""Latents over which one region fades into the next."""
PING_PONG_LOG_SNR = (-6.2, 2.0)
"""Range of log(alpha / sigma) over which ping-pong steps are spaced (ARC, arXiv 2505.08175)."""


class ClipNoise:
    """Gaussian noise from one CPU generator per clip: a clip's sound depends only on its seed, not on its batch.

    Clips are the rows of a batch (B, C, T), or with `lengths` stretches of one row (1, C, T), one after another.
    """

    def __init__(self, seeds: Sequence[int], lengths: Sequence[int] | None = None) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.lengths = None if lengths is None else list(lengths)

    def __call__(self, like: Tensor) -> Tensor:
        """Fresh noise of `like`'s shape, device and dtype; raises ValueError unless seeds and lengths fit it."""
        if self.lengths is None:
            if len(like) != len(self.generators):
                raise ValueError(f"{len(self.generators)} seeds for a batch of {len(like)} clips")
            return torch.stack([torch.randn(like.shape[1:], generator=g) for g in self.generators]).to(like)
        if like.shape[-1] != sum(self.lengths):
            raise ValueError(f"clips of {self.lengths} latents in a batch of {like.shape[-1]}")
        pairs = zip(self.lengths, self.generators, strict=True)
        return torch.cat([torch.randn(like.shape[1], n, generator=g) for n, g in pairs], dim=-1)[None].to(like)


def exponential_sigmas(num_inference_steps: int, *, sigma_min: float, sigma_max: float) -> Tensor:
    """Noise levels evenly spaced in log sigma from `sigma_max` to `sigma_min`, then 0: (num_inference_steps + 1,).

    Raises ValueError without a step, or for levels that do not fall.
    """
    if num_inference_steps < 1 or not 0 < sigma_min < sigma_max:
        raise ValueError(f"{num_inference_steps} steps between sigmas {sigma_max} and {sigma_min}: nothing to sample")
    levels = torch.logspace(0, 1, num_inference_steps, base=sigma_min / sigma_max, dtype=torch.float64) * sigma_max
    return torch.cat([levels, levels.new_zeros(1)]).float()


def log_snr_sigmas(
    num_inference_steps: int,
    *,
    sigma_min: float = math.exp(-PING_PONG_LOG_SNR[1]),
    sigma_max: float = math.exp(-PING_PONG_LOG_SNR[0]),
) -> Tensor:
    """Noise levels even in log-SNR, log(1 / sigma), the last, `sigma_min`, replaced by 0: (num_inference_steps + 1,).

    Unlike `exponential_sigmas`, no step is spent at `sigma_min` itself, which counts when there are few (ARC, arXiv
    2505.08175). Raises ValueError as that does.
    """
    levels = exponential_sigmas(num_inference_steps + 1, sigma_min=sigma_min, sigma_max=sigma_max)
    return torch.cat([levels[:num_inference_steps], levels[-1:]])


def guided(
    velocity: Callable[[Tensor, Tensor, "Conditions"], Tensor],
    conditions: "Conditions",
    null: "Conditions",
    guidance_scale: float,
    *,
    rows_at_once: int,
    apg_scale: float = 0.0,
) -> Velocity:
    """v (B, C, T) under classifier-free guidance (arXiv 2207.12598), `rows_at_once` rows at a time; 1 is none.

    `apg_scale` as in `projected_guidance`; 0 is plain guidance.
    """

    def guided_velocity(latents: Tensor, timestep: Tensor) -> Tensor:
        rows = []
        for first in range(0, len(latents), rows_at_once):
            span = slice(first, first + rows_at_once)
            some, times, present = latents[span], timestep[span], conditions.rows(span)
            if guidance_scale == 1:
                rows.append(velocity(some, times, present).float())
                continue
            both = present.joined([present, null.rows(span)])
            positive, negative = velocity(torch.cat([some, some]), torch.cat([times, times]), both).float().chunk(2)
            if apg_scale == 0:
                rows.append(negative + guidance_scale * (positive - negative))
                continue
            angles = (torch.pi / 2 * times.float())[:, None, None]
            clean = angles.cos() * some - angles.sin() * positive
            update = projected_guidance(positive - negative, clean, apg_scale)
            rows.append(positive + (guidance_scale - 1) * update)
        return torch.cat(rows)

    return guided_velocity


def projected_guidance(update: Tensor, clean: Tensor, apg_scale: float) -> Tensor:
    """`update` (B, C, T) less the share `apg_scale` of its component parallel to `clean` (B, C, T), clip by clip.

    The projection of adaptive projected guidance (APG, arXiv 2410.02416, sec. 4; its eta is 1 - apg_scale), as
    stable-audio-tools 0.0.20 has it: the paper's rescaling and momentum are left out. `update` is the conditional
    output minus the unconditional one, of v or of clean latents alike, since the two differ by a factor. Computed in
    float64; where `clean` is zero, nothing is taken away.
    """
    direction, change = clean.double().flatten(1), update.double().flatten(1)
    length = torch.linalg.vecdot(direction, direction).clamp(min=torch.finfo(torch.float64).tiny)
    share = torch.linalg.vecdot(change, direction) / length
    return (update.double() - apg_scale * share[:, None, None] * clean.double()).to(update.dtype)


def denoiser_from_v(velocity: Velocity) -> Denoiser:
    """Turn v(scaled latents, t (B,)) into a denoiser in sigma: t = 2 atan(sigma) / pi (Karras et al. 2022, c_in)."""

    def denoise(latents: Tensor, sigma: Tensor) -> Tensor:
        scale = (sigma**2 + 1).rsqrt()
        timestep = (sigma.atan() * (2 / torch.pi)).expand(len(latents)).to(latents.device)
        return scale**2 * latents - sigma * scale * velocity(latents * scale, timestep)

    return denoise


class Window(NamedTuple):
    """A stretch of latents that is denoised at once, and the weight of each."""

    start: int
    weight: Tensor
    """(window,); 0 where another region is sounding."""
    row: int
    """Which window of its clip's grid it is: the same frames and envelope serve several regions."""
    region: int


def window_starts(num_latents: int, *, window: int, hop: int) -> list[int]:
    """First latents of the windows that cover `num_latents` latents, the last one flush with the end.

    Raises ValueError when windows do not overlap or the clip is shorter than one.
    """
    if not 0 < hop < window:
        raise ValueError(f"a hop of {hop} does not overlap windows of {window} latents")
    if num_latents < window:
        raise ValueError(f"{num_latents} latents are shorter than one window of {window}")
    return [*range(0, num_latents - window, hop), num_latents - window]


def plan_windows(num_latents: int, *, window: int, hop: int, edges: Sequence[int] = ()) -> list[Window]:
    """Windows of one clip; at the latents `edges`, ascending, one region ends and the next begins.

    A window that reaches over an edge is denoised once per region, each time under that region's conditions.
    """
    starts = window_starts(num_latents, window=window, hop=hop)
    rise = (torch.arange(window) + 1).clamp(max=window - hop) / (window - hop)
    ramp, shares = torch.minimum(rise, rise.flip(0)), _region_shares(num_latents, edges)
    return [
        Window(start, weight, row, region)
        for region, share in enumerate(shares)
        for row, start in enumerate(starts)
        if bool((weight := ramp * share[start : start + window]).any())
    ]


def end_to_end(plans: Sequence[Sequence[Window]], lengths: Sequence[int]) -> list[Window]:
    """The windows of clips whose latents are laid one after another on one axis."""
    offsets = [sum(lengths[:clip]) for clip in range(len(lengths))]
    return [
        window._replace(start=offset + window.start)
        for plan, offset in zip(plans, offsets, strict=True)
        for window in plan
    ]


def windowed(denoise: Denoiser, windows: Sequence[Window]) -> Denoiser:
    """Denoise latents (1, C, T) of any length as a batch of overlapping windows, averaged at every step.

    Neighbouring windows agree step by step, so no seam is left (MultiDiffusion, Bar-Tal et al. 2023). `denoise` sees
    (W, C, window), the windows in their given order.
    """
    size = len(windows[0].weight)

    def denoise_whole(latents: Tensor, sigma: Tensor) -> Tensor:
        clean = denoise(torch.stack([latents[0, :, w.start : w.start + size] for w in windows]), sigma)
        total, weight = torch.zeros_like(latents[0]), latents.new_zeros(latents.shape[-1])
        for window, piece in zip(windows, clean, strict=True):
            share = window.weight.to(latents)
            total[:, window.start : window.start + size] += share * piece
            weight[window.start : window.start + size] += share
        return (total / weight)[None]

    return denoise_whole


def _region_shares(num_latents: int, edges: Sequence[int]) -> list[Tensor]:
    """Share (num_latents,) of each region in every latent: they add up to 1, and change over within `EDGE_FADE`."""
    position = torch.arange(num_latents) + 0.5
    begun = [torch.ones(num_latents), *(((position - edge) / EDGE_FADE + 0.5).clamp(0, 1) for edge in edges)]
    return [now - later for now, later in zip(begun, [*begun[1:], torch.zeros(num_latents)], strict=True)]


def dpmpp_2m(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise | None = None) -> Tensor:
    """DPM-Solver++(2M) (arXiv 2211.01095) from latents (B, C, T) over sigmas (steps + 1,); `noise` is not used."""
    return dpmpp_2m_sde(denoise, latents, sigmas, noise=None, eta=0.0)


def dpmpp_2m_sde(
    denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise | None, eta: float = 1.0
) -> Tensor:
    """DPM-Solver++(2M) SDE, midpoint form, from latents (B, C, T) over sigmas (steps + 1,); an `eta` of 0: no noise."""
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
    """DPM-Solver++(3M) SDE, Stable Audio's published solver, from latents (B, C, T) over sigmas (steps + 1,).

    As published, the curvature term has half the weight that third order needs: without noise the error falls with the
    square of the steps, as that of 2M.
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


def ping_pong(denoise: Denoiser, latents: Tensor, sigmas: Tensor, *, noise: Noise) -> Tensor:
    """Denoise latents (B, C, T), add fresh noise of the next of sigmas (steps + 1,), repeat (ARC, arXiv 2505.08175)."""
    for sigma, sigma_next in pairwise(sigmas):
        latents = denoise(latents, sigma)
        if sigma_next > 0:
            latents = latents + sigma_next * noise(latents)
    return latents


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_3m_sde": dpmpp_3m_sde,
    "ping_pong": ping_pong,
}
GRIDS: dict[str, Callable[..., Tensor]] = {"ping_pong": log_snr_sigmas}
"""Noise levels of solvers that have their own; the others use `exponential_sigmas`."""


MOST_STEPS, HIGHEST_GUIDANCE = 1000, 1000
"""Limits far beyond useful values; a larger number is a typing error."""


@dataclass(frozen=True)
class SamplerSettings:
    """Sampler settings of a release, stored in its index; these defaults apply to a release without them.

    Raises ValueError, or TypeError, for a value that no sampler can use.
    """

    num_inference_steps: int = 25
    guidance_scale: float = 5.0
    solver: str = "dpmpp_2m"
    sigma_min: float = 0.05
    sigma_max: float = 80.0
    apg_scale: float = 0.0
    """0 is plain guidance, 1 adaptive projected guidance (`projected_guidance`)."""

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; there are {', '.join(SOLVERS)}")
        steps = self.num_inference_steps
        if isinstance(steps, bool) or steps != int(steps) or not 1 <= steps <= MOST_STEPS:
            raise ValueError(f"{steps} sampling steps: give a whole number from 1 to {MOST_STEPS}")
        if not 0 <= self.guidance_scale <= HIGHEST_GUIDANCE:
            raise ValueError(f"guidance scale {self.guidance_scale:g}: give a number from 0 to {HIGHEST_GUIDANCE}")
        if not 0 <= self.apg_scale <= 1:
            raise ValueError(f"APG scale {self.apg_scale:g}: give a number from 0 (plain guidance) to 1")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"noise levels from {self.sigma_max} down to {self.sigma_min}: give 0 < sigma_min < sigma_max"
            )

    def override(self, **values: Any) -> Self:
        """The same settings with every value of `values` that is not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    def sigmas(self) -> Tensor:
        """Noise levels (num_inference_steps + 1,), the last one 0."""
        grid = GRIDS.get(self.solver, exponential_sigmas)
        return grid(self.num_inference_steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def sample(self, denoise: Denoiser, noise: Noise, like: Tensor) -> Tensor:
        """Latents like `like` (B, C, T), from noise at the first level."""
        sigmas = self.sigmas()
        return SOLVERS[self.solver](denoise, noise(like) * sigmas[0], sigmas, noise=noise)
