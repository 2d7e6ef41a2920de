"""Other looks of the same motion: what the envelope predictor must not care about."""

import torch
from torch import Tensor
from torch.nn import functional as F

SLOWEST_RATE = 12.0
"""Frames are left out down to this many per second."""


def augment_motion(
    motion: Tensor, ages: Tensor, generator: torch.Generator, *, frame_rate: float
) -> tuple[Tensor, Tensor]:
    """Mirror, crop, recolour, add noise and leave out frames, each clip in its own way: motion in [0, 1], and its ages.

    `motion` uint8 (B, N, 3, M, M) on a grid of `frame_rate` Hz with `ages` (B, N) in seconds; every frame of a clip is
    treated alike, so motion stays what it was.
    """
    clips, clip_ages = [], []
    for clip, age in zip(motion, ages, strict=True):
        if _chance(0.3, generator):
            clip, age = leave_out_frames(clip, age, generator, frame_rate=frame_rate)
        picture = _crop(clip, generator)
        picture = picture.flip(-1) if _chance(0.5, generator) else picture
        clips.append(_recolour(picture, generator))
        clip_ages.append(age)
    return torch.stack(clips), torch.stack(clip_ages)


def leave_out_frames(
    clip: Tensor, age: Tensor, generator: torch.Generator, *, frame_rate: float
) -> tuple[Tensor, Tensor]:
    """A clip (N, 3, M, M) as a camera with a lower rate gives it: frames repeat, and ages (N,) grow accordingly."""
    rate = SLOWEST_RATE + (frame_rate - SLOWEST_RATE) * _uniform(generator)
    times = (torch.arange(len(age), device=age.device) + 0.5) / frame_rate
    stamps = times - age
    ticks = torch.floor(stamps * rate + _uniform(generator))
    kept = torch.ones_like(ticks, dtype=torch.bool)
    kept[1:] = ticks.diff() > 0
    index = torch.where(kept, torch.arange(len(age), device=age.device), 0).cummax(0).values
    return clip[index], (times - stamps[index]).to(age.dtype)


def _crop(clip: Tensor, generator: torch.Generator) -> Tensor:
    """A part of the picture, 80 to 100% of each side, at full size again; float, 0 to 255."""
    size = clip.shape[-1]
    height, width = (size - round(0.2 * size * _uniform(generator)) for _ in range(2))
    top, left = (int(_uniform(generator) * (size - side + 1)) for side in (height, width))
    part = clip[..., top : top + height, left : left + width].float()
    return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)


def _recolour(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Another light, contrast, tint and, for some, more noise: 0 to 255 in, [0, 1] out."""
    gain = (0.65 + 0.7 * _uniform(generator)) * (1 + 0.1 * torch.randn(3, generator=generator)).clamp(0.75, 1.25)
    offset = (_uniform(generator) - 0.5) * 0.3
    picture = picture * (gain.to(picture.device)[:, None, None] / 255) + offset
    if _chance(0.25, generator):
        noise = torch.randn(picture.shape, generator=generator).to(picture.device)
        picture = picture + noise * (0.05 * _uniform(generator))
    return picture.clamp_(0, 1)


def _uniform(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator).item()


def _chance(probability: float, generator: torch.Generator) -> bool:
    return _uniform(generator) < probability
