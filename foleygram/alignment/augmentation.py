"""Random changes to frames and sound that leave what is hit recognisable; every draw comes from the generator given."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=generator)).to(like)


def draw_frames(frames: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the frames (B, N, ...) of each clip, in order; all of them when there are no more."""
    scores = torch.rand(frames.shape[:2], generator=generator)
    places = scores.topk(min(count, frames.shape[1]), dim=1).indices.sort(1).values.to(frames.device)
    return frames[torch.arange(len(frames), device=frames.device)[:, None], places]


def augment_frames(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Frames in [0, 1] (B, N, 3, S, S) from uint8 ones: cropped, mirrored and recoloured, each clip in its own way."""
    pixels = jitter_colour(frames.float() / 255, generator)
    return crop_and_flip(pixels, generator)


def jitter_colour(pixels: Tensor, generator: torch.Generator, *, strength: float = 0.3, tint: float = 0.1) -> Tensor:
    """Pixels in [0, 1] (B, N, 3, H, W) with brightness, contrast, saturation (up to `strength`) and tint changed."""
    shape = (len(pixels), 1, 1, 1, 1)
    brightness, contrast, saturation = (
        _uniform(1 - strength, 1 + strength, shape, generator, pixels) for _ in range(3)
    )
    gains = _uniform(1 - tint, 1 + tint, (len(pixels), 1, 3, 1, 1), generator, pixels)
    pixels = pixels * (brightness * gains)
    weights = torch.tensor(LUMA, device=pixels.device)[:, None, None]
    grey = (pixels * weights).sum(2, keepdim=True)
    pixels = grey + saturation * (pixels - grey)
    middle = grey.mean((1, 2, 3, 4), keepdim=True)
    return (middle + contrast * (pixels - middle)).clamp(0, 1)


def crop_and_flip(pixels: Tensor, generator: torch.Generator, *, smallest: float = 0.75) -> Tensor:
    """A random square of `smallest` to 1 of the side, resized to (B, N, 3, H, W), mirrored for half of the clips."""
    batch, num_frames = pixels.shape[:2]
    side = _uniform(smallest, 1.0, (batch,), generator, pixels)
    x, y = (_uniform(-1.0, 1.0, (batch,), generator, pixels) * (1 - side) for _ in range(2))
    mirror = 1 - 2 * _uniform(0.0, 1.0, (batch,), generator, pixels).round()
    zero = torch.zeros_like(side)
    rows = torch.stack([torch.stack([mirror * side, zero, x], -1), torch.stack([zero, side, y], -1)], dim=1)
    flat = rearrange(pixels, "b n c h w -> (b n) c h w")
    grid = functional.affine_grid(rows.repeat_interleave(num_frames, 0), list(flat.shape), align_corners=False)
    sampled = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return rearrange(sampled, "(b n) c h w -> b n c h w", b=batch)


def augment_audio(audio: Tensor, generator: torch.Generator, *, gain_db: float = 6.0) -> Tensor:
    """Sound (B, samples) at up to `gain_db` louder or softer, turned round in time by any share of its length."""
    gains = 10 ** (_uniform(-gain_db, gain_db, (len(audio), 1), generator, audio) / 20)
    shifts = torch.randint(audio.shape[1], (len(audio), 1), generator=generator).to(audio.device)
    places = (torch.arange(audio.shape[1], device=audio.device) + shifts) % audio.shape[1]
    return gains * audio.gather(1, places)
