"""Augmentation of motion frames for training the envelope predictor: rate, camera, colour, noise and still clips."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from foleygram.envelope.rms import smooth

SLOWEST_RATE = 10.0
"""Frames are dropped down to this many per second."""
STILL_SHARE = 0.06
"""Share of clips that become one frame seen by a moving camera: motion without contact, whose envelope is zero."""


def augment_motion(
    motion: Tensor, ages: Tensor, generator: torch.Generator, *, frame_rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment each clip on its own: motion (B, N, 3, M, M) in [0, 1], ages (B, N) in seconds, and which are still (B,).

    `motion` uint8 (B, N, 3, M, M) on a grid of `frame_rate` Hz with `ages` (B, N) in seconds. A still clip shows one of
    its frames throughout; the sound that belongs to it is silence.
    """
    clips, clip_ages, still = [], [], []
    for clip, age in zip(motion, ages, strict=True):
        still.append(_chance(STILL_SHARE, generator))
        if still[-1]:
            clip = clip[int(_uniform(generator) * len(clip))].expand_as(clip)
        frames = _recolour(move_camera(clip.float(), generator), generator)
        if _chance(0.6, generator):
            frames, age = drop_frames(frames, age, generator, frame_rate=frame_rate)
        clips.append(frames)
        clip_ages.append(age)
    return torch.stack(clips), torch.stack(clip_ages), torch.tensor(still, device=motion.device)


def drop_frames(clip: Tensor, age: Tensor, generator: torch.Generator, *, frame_rate: float) -> tuple[Tensor, Tensor]:
    """Resample a clip (N, 3, M, M) to a lower, for some clips irregular, frame rate: frames repeat, ages (N,) grow."""
    rate = SLOWEST_RATE + (frame_rate - SLOWEST_RATE) * _uniform(generator)
    if _chance(0.5, generator):
        rate = frame_rate / 2
    times = (torch.arange(len(age), device=age.device) + 0.5) / frame_rate
    stamps = times - age
    ticks = torch.floor(stamps * rate + _uniform(generator))
    kept = torch.ones_like(ticks, dtype=torch.bool)
    kept[1:] = ticks.diff() > 0
    if _chance(0.3, generator):
        kept[1:] &= (torch.rand(len(age) - 1, generator=generator) > 0.3 * _uniform(generator)).to(kept.device)
    index = torch.where(kept, torch.arange(len(age), device=age.device), 0).cummax(0).values
    return clip[index], (times - stamps[index]).to(age.dtype)


def move_camera(clip: Tensor, generator: torch.Generator) -> Tensor:
    """See a clip (N, 3, M, M) from another camera: turned, scaled, mirrored, shifted, and for most clips hand-held.

    Shake is low-passed noise in position, angle and zoom. Outside the frame the image is reflected.
    """
    angle = (2 * math.pi if _chance(0.4, generator) else 0.5) * (_uniform(generator) - 0.5)
    scale = 2 ** (1.1 * _uniform(generator) - 0.8)  # below 1: closer
    stretch = 2 ** (0.6 * (_uniform(generator) - 0.5))
    shift = 0.5 * (torch.rand(2, generator=generator) - 0.5)
    shake = torch.zeros(4, len(clip))
    if _chance(0.7, generator):
        width = 3 + int(20 * _uniform(generator))
        shake = smooth(torch.randn(4, len(clip), generator=generator), width) * math.sqrt(width)
        shake = shake * _uniform(generator) ** 2 * torch.tensor([0.06, 0.06, 0.04, 0.04])[:, None]
    turned, zoom = angle + shake[2], scale * (1 + shake[3])
    mirror = -1.0 if _chance(0.5, generator) else 1.0
    cos, sin = zoom * torch.cos(turned), zoom * torch.sin(turned)
    across = torch.stack([mirror * stretch * cos, -sin, shift[0] + shake[0]], dim=-1)
    down = torch.stack([mirror * sin, cos / stretch, shift[1] + shake[1]], dim=-1)
    grid = F.affine_grid(torch.stack([across, down], dim=1).to(clip), list(clip.shape), align_corners=False)
    return F.grid_sample(clip, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _recolour(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Change light, contrast and tint, for some clips also flicker, focus and noise: 0 to 255 in, [0, 1] out."""
    gain = (0.5 + 0.9 * _uniform(generator)) * (1 + 0.1 * torch.randn(3, generator=generator)).clamp(0.75, 1.25)
    offset = (_uniform(generator) - 0.5) * 0.4
    frames = frames * (gain.to(frames.device)[:, None, None] / 255) + offset
    if _chance(0.3, generator):
        still = frames[int(_uniform(generator) * len(frames))].flip(-1)  # texture behind and before the motion
        frames = torch.lerp(frames, still[None], 0.6 * _uniform(generator))
    if _chance(0.3, generator):
        flicker = smooth(torch.randn(len(frames), generator=generator), 1 + int(15 * _uniform(generator)))
        frames = frames * (1 + 0.1 * _uniform(generator) * flicker.to(frames))[:, None, None, None]
    if _chance(0.3, generator):
        factor = 0.4 + 0.5 * _uniform(generator)
        size = frames.shape[-1]
        small = F.interpolate(frames, scale_factor=factor, mode="bilinear", antialias=True)
        frames = F.interpolate(small, size=(size, size), mode="bilinear")
    if _chance(0.4, generator):
        noise = torch.randn(frames.shape, generator=generator).to(frames.device)
        frames = frames + noise * (0.04 * _uniform(generator))
    return frames.clamp_(0, 1)


def _uniform(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator).item()


def _chance(probability: float, generator: torch.Generator) -> bool:
    return _uniform(generator) < probability
