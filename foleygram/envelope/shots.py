"""Encodes each distinct frame of a video, with its neighbours, once: what moves and where."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAME_FRAME = 0.25 / 255
"""Mean difference of pixel values below which two frames are one frame, repeated."""


class Shots(NamedTuple):
    """The distinct frames of a batch, one after another, and when each is on screen on the time grid."""

    frames: Tensor
    """(S, 3, M, M) in [0, 1]."""
    previous: Tensor
    """(S,) index of the frame before, in the same clip; the frame itself where there is none."""
    following: Tensor
    """(S,) index of the frame after, likewise."""
    clip: Tensor
    """(S,) clip of each frame."""
    shown: Tensor
    """(B, N) which frame is on screen at each time of the grid."""
    stamps: Tensor
    """(B, N) its time stamp, in grid steps."""


def distinct_shots(motion: Tensor, ages: Tensor, frame_rate: float) -> Shots:
    """Find the distinct frames of motion (B, N, 3, M, M), uint8 or in [0, 1], by their ages (B, N) in seconds.

    A video of 15 to 30 frames per second repeats frames on the grid; each is looked at once, and its neighbours are the
    frames before and after it in the video, at any rate.
    """
    count = motion.shape[1]
    stamps = torch.arange(count, device=ages.device) + 0.5 - ages.float() * frame_rate
    is_new = torch.ones(stamps.shape, dtype=torch.bool, device=ages.device)
    is_new[:, 1:] = (stamps.diff(dim=1) > 0.25) & frames_differ(motion)
    stamps = torch.where(is_new, stamps, -torch.inf).cummax(dim=1).values
    shown = is_new.flatten().long().cumsum(0).reshape(stamps.shape) - 1
    clip = torch.nonzero(is_new)[:, 0]
    index = torch.arange(len(clip), device=ages.device)
    starts, ends = is_new.new_ones(len(clip)), is_new.new_ones(len(clip))
    starts[1:] = ends[:-1] = clip.diff() > 0
    frames = motion[is_new]
    frames = frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()
    return Shots(frames, index - (~starts).long(), index + (~ends).long(), clip, shown, stamps)


def frames_differ(motion: Tensor) -> Tensor:
    """Whether each frame of motion (B, N, 3, M, M) differs from the one before it: (B, N - 1).

    Files at 24, 30 or 60 frames per second often repeat the frames of a slower camera.
    """
    frames = motion.float() / 255 if motion.dtype == torch.uint8 else motion.float()
    return (frames[:, 1:] - frames[:, :-1]).abs().mean((2, 3, 4)) > SAME_FRAME


class _Block(nn.Module):
    """A residual convolution that sees one third of its channels a frame earlier and one third a frame later."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.share = width // 3
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor, shots: Shots) -> Tensor:
        before, after, now = maps.split([self.share, self.share, maps.shape[1] - 2 * self.share], dim=1)
        moved = torch.cat([before[shots.previous], after[shots.following], now], dim=1)
        return F.relu(maps + self.norm(self.conv(moved)))


class ShotEncoder(nn.Module):
    """Distinct frames to one vector each: what moves and where, by maps that share channels with their neighbours."""

    def __init__(self, map_widths: Sequence[int], *, num_blocks: int, num_keypoints: int, value_width: int) -> None:
        super().__init__()
        half, quarter, eighth = map_widths
        self.stem = nn.Sequential(
            nn.Conv2d(6, half, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList([_Block(quarter) for _ in range(num_blocks)])
        self.heatmaps = nn.Conv2d(quarter, num_keypoints, 1)
        self.values = nn.Conv2d(quarter, value_width, 1)
        self.deep = nn.Sequential(
            nn.Conv2d(quarter, eighth, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(eighth), nn.ReLU()
        )
        self.deep_block = _Block(eighth)
        self.num_features = num_keypoints * (4 + value_width) + 2 * eighth

    def forward(self, shots: Shots) -> Tensor:
        """Features (S, num_features) of S distinct frames."""
        maps = self.stem(_inputs(shots))
        for block in self.blocks:
            maps = block(maps, shots)
        deep = self.deep_block(self.deep(maps), shots)
        pooled = torch.cat([deep.mean((2, 3)), deep.amax((2, 3))], dim=1)
        return torch.cat([_keypoints(self.heatmaps(maps), self.values(maps)), pooled], dim=1)


def _inputs(shots: Shots) -> Tensor:
    """Colour, change since the last and until the next frame, difference from the clip's mean: (S, 6, M, M)."""
    frames = shots.frames
    light = frames.mean(1)
    sums = light.new_zeros(len(shots.shown), *light.shape[1:]).index_add_(0, shots.clip, light)
    mean = sums / torch.bincount(shots.clip, minlength=len(sums))[:, None, None]
    changes = [light - light[shots.previous], light[shots.following] - light, light - mean[shots.clip]]
    # Channels last in memory: convolutions on a CPU take half the time.
    return torch.stack([*(frames - 0.5).unbind(1), *(4 * change for change in changes)], dim=-1).permute(0, 3, 1, 2)


def _keypoints(logits: Tensor, values: Tensor) -> Tensor:
    """Soft-argmax position, spread and strength of heatmaps (S, K, H, W), and values under them: (S, K * (4 + V))."""
    height, width = logits.shape[2:]
    weights = logits.flatten(2).float().softmax(-1).to(logits.dtype)
    y = torch.linspace(-1, 1, height, device=logits.device, dtype=logits.dtype)
    x = torch.linspace(-1, 1, width, device=logits.device, dtype=logits.dtype)
    positions = torch.stack([y[:, None].expand(height, width), x.expand(height, width)]).flatten(1)  # (2, H * W)
    positions = torch.cat([positions, (positions**2).sum(0, keepdim=True)])
    found = weights @ positions.T  # (S, K, 3)
    spread = found[..., 2:] - (found[..., :2] ** 2).sum(-1, keepdim=True)
    strength = 0.1 * logits.flatten(2).amax(-1, keepdim=True)
    under = weights @ values.flatten(2).transpose(1, 2)  # (S, K, V)
    return torch.cat([2 * found[..., :2], 4 * spread, strength, under], dim=-1).flatten(1)
