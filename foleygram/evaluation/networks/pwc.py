"""Optical flow by PWC-Net (Sun et al. 2018) from its public PyTorch weights: the motion of FAVD as it was published."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, leaky_relu, pad

from foleygram.files import file_hash
from foleygram.weights.state_dict import load_state, read_state

PYRAMID = (3, 16, 32, 64, 96, 128, 196)
DENSE = (128, 128, 96, 64, 32)
REFINER = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))
"""Channels and dilation of its convolutions."""
NAMES = ("One", "Two", "Thr", "Fou", "Fiv", "Six")
"""Names of levels and of layers in the public weights."""
REACH, SLOPE, SCALE, MULTIPLE = 4, 0.1, 20.0, 64
"""Search radius in pixels, slope of the leaky ReLU, pixels per unit of flow, and the multiple that sides must be."""
PAIRS_AT_ONCE = 8
WHERE = "get pwc_net_sintel.pt from models/pwc/checkpoints of v-iashin/video_features on GitHub"


class Decoder(nn.Module):
    """Flow of one level of the pyramid from the level's features and the coarser level's flow."""

    def __init__(self, width: int, coarser: int | None, units: float, *, align_corners: bool) -> None:
        """`coarser`: channels of the coarser level's features; `units`: this level's pixels per unit of its flow."""
        super().__init__()
        self.units, self.align_corners, compared = units, align_corners, (2 * REACH + 1) ** 2
        if coarser is not None:
            self.moduleUpflow = nn.ConvTranspose2d(2, 2, 4, 2, 1)
            self.moduleUpfeat = nn.ConvTranspose2d(coarser, 2, 4, 2, 1)
        channels = compared if coarser is None else compared + width + 4
        for name, added in zip(NAMES, DENSE, strict=False):
            self.add_module(
                f"module{name}", nn.Sequential(nn.Conv2d(channels, added, 3, padding=1), nn.LeakyReLU(SLOPE))
            )
            channels += added
        self.moduleSix = nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1))
        self.channels = channels

    def forward(self, first: Tensor, second: Tensor, coarser: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Flow (N, 2, H, W) and the features that it was read from."""
        if coarser is None:
            features = leaky_relu(correlation(first, second), SLOPE)
        else:
            flow, hint = self.moduleUpflow(coarser[0]), self.moduleUpfeat(coarser[1])
            moved = warped(second, flow * self.units, align_corners=self.align_corners)
            volume = leaky_relu(correlation(first, moved), SLOPE)
            features = torch.cat([volume, first, flow, hint], 1)
        for name, _ in zip(NAMES, DENSE, strict=False):
            features = torch.cat([self.get_submodule(f"module{name}")(features), features], 1)
        return self.moduleSix(features), features


class PWCNetwork(nn.Module):
    """The network, its modules named as in the public weights; `align_corners` as in `warped`."""

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.moduleExtractor = nn.Module()
        for name, before, after in zip(NAMES, PYRAMID, PYRAMID[1:], strict=False):
            sizes = ((before, after, 2), (after, after, 1), (after, after, 1))
            layers = [(nn.Conv2d(a, b, 3, stride, 1), nn.LeakyReLU(SLOPE)) for a, b, stride in sizes]
            self.moduleExtractor.add_module(
                f"module{name}", nn.Sequential(*(part for layer in layers for part in layer))
            )
        channels: int | None = None
        for level in range(5, 0, -1):
            units = SCALE / 2 ** (level + 1)
            decoder = Decoder(PYRAMID[level + 1], channels, units, align_corners=align_corners)
            self.add_module(f"module{NAMES[level]}", decoder)
            channels = decoder.channels
        layers, before = [], int(channels or 0)
        for after, dilation in REFINER:
            layers += [(nn.Conv2d(before, after, 3, 1, dilation, dilation), nn.LeakyReLU(SLOPE))]
            before = after
        refiner = [*(part for layer in layers for part in layer), nn.Conv2d(before, 2, 3, padding=1)]
        self.moduleRefiner = nn.Module()
        self.moduleRefiner.add_module("moduleMain", nn.Sequential(*refiner))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow (N, 2, H / 4, W / 4) in twentieths of full-size pixels, of BGR images (N, 3, H, W) in [0, 1]."""
        pyramids = self._pyramid(first), self._pyramid(second)
        estimate: tuple[Tensor, Tensor] | None = None
        for level in range(5, 0, -1):
            estimate = self.get_submodule(f"module{NAMES[level]}")(pyramids[0][level], pyramids[1][level], estimate)
        assert estimate is not None
        return estimate[0] + self.moduleRefiner.get_submodule("moduleMain")(estimate[1])

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        levels = []
        for name in NAMES:
            images = self.moduleExtractor.get_submodule(f"module{name}")(images)
            levels.append(images)
        return levels


class PWCNet(nn.Module):
    """PWC-Net as an estimator of flow for I3D.

    The public code samples by `grid_sample` without naming `align_corners`. Its authors trained with torch 0.4, which
    aligned the corners; the published FAVD toolkit runs torch 1.13, which does not. Flows differ by about 0.1 pixels.
    """

    identity: Mapping[str, Any]

    def __init__(self, network: PWCNetwork, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.identity = dict(identity)

    @classmethod
    def from_weights(cls, path: str | Path, *, align_corners: bool = False) -> "PWCNet":
        """From `pwc_net_sintel.pt`, corners aligned or, as in the published FAVD toolkit, not.

        Raises FileNotFoundError with where to get the file, ValueError for another one.
        """
        network = PWCNetwork(align_corners=align_corners)
        load_state(network, read_state(path, WHERE), str(path))
        facts = {"name": "pwc-net", "checkpoint": Path(path).name, "sha256": file_hash(Path(path))}
        return cls(network, facts | {"corners": "aligned" if align_corners else "not aligned"})

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """Pixels (T, 2, H, W) by which frames (T + 1, 3, H, W), RGB, 0 to 255, move to the next."""
        height, width = frames.shape[-2:]
        sides = [MULTIPLE * math.ceil(side / MULTIPLE) for side in (height, width)]
        sized = interpolate(frames.flip(1) / 255, sides, mode="bilinear", align_corners=False)
        pairs = zip(sized[:-1].split(PAIRS_AT_ONCE), sized[1:].split(PAIRS_AT_ONCE), strict=True)
        flow = torch.cat([self.network(first, second) for first, second in pairs])
        flow = SCALE * interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / sides[1], height / sides[0]])[:, None, None]


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean products (N, 81, H, W) of each pixel of `first` with those of `second` up to 4 pixels away, row by row."""
    height, width = first.shape[-2:]
    around = pad(second, (REACH,) * 4)
    steps = range(2 * REACH + 1)
    return torch.stack([(first * around[..., y : y + height, x : x + width]).mean(1) for y in steps for x in steps], 1)


def warped(images: Tensor, flow: Tensor, *, align_corners: bool) -> Tensor:
    """`images` (N, C, H, W) looked up where `flow` (N, 2, H, W) points, in pixels; 0 where it leaves them.

    The grid is computed for aligned corners. Without `align_corners` pixel x of a width W is looked up at
    x W / (W - 1) - 1/2, which is what the public code computes with torch 1.3 and later.
    """
    height, width = images.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = flow + torch.stack([columns, rows]).to(flow)
    spans = flow.new_tensor([max(width - 1, 1), max(height - 1, 1)])[:, None, None]
    grid = (2 * positions / spans - 1).movedim(1, -1)
    whole = torch.cat([images, torch.ones_like(images[:, :1])], 1)
    sampled = grid_sample(whole, grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners)
    return sampled[:, :-1] * (sampled[:, -1:] > 0.999)
