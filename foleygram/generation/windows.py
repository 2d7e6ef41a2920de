"""Clips of any length as windows of one length: denoised together, cross-faded at every step, no seam left."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foleygram.generation.sampling import Denoiser

EDGE_FADE = 2
"""Latents over which one region's sound gives way to the next one's."""


class Window(NamedTuple):
    """A stretch of latents seen at once, and how much each of them counts."""

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

    A window that reaches over an edge is seen once per region, each time under that region's conditions.
    """
    starts = window_starts(num_latents, window=window, hop=hop)
    ramp, shares = _fade(window, window - hop), _region_shares(num_latents, edges)
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


class NoiseEndToEnd:
    """Gaussian noise of clips laid one after another, from one CPU generator each: neighbours change nothing."""

    def __init__(self, seeds: Sequence[int], lengths: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.lengths = list(lengths)

    def __call__(self, like: Tensor) -> Tensor:
        """Fresh noise of `like`'s shape (1, C, T), device and dtype; raises ValueError unless the lengths add up."""
        if like.shape[-1] != sum(self.lengths):
            raise ValueError(f"clips of {self.lengths} latents in a batch of {like.shape[-1]}")
        pairs = zip(self.lengths, self.generators, strict=True)
        return torch.cat([torch.randn(like.shape[1], n, generator=g) for n, g in pairs], dim=-1)[None].to(like)


def _region_shares(num_latents: int, edges: Sequence[int]) -> list[Tensor]:
    """Share (num_latents,) of each region in every latent: they add up to 1, and change over within `EDGE_FADE`."""
    position = torch.arange(num_latents) + 0.5
    begun = [torch.ones(num_latents), *(((position - edge) / EDGE_FADE + 0.5).clamp(0, 1) for edge in edges)]
    return [now - later for now, later in zip(begun, [*begun[1:], torch.zeros(num_latents)], strict=True)]


def _fade(window: int, overlap: int) -> Tensor:
    rise = (torch.arange(window) + 1).clamp(max=overlap) / overlap
    return torch.minimum(rise, rise.flip(0))
