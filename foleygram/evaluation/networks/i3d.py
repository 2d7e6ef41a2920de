"""I3D (Carreira and Zisserman 2017) from its public PyTorch weights: the video half of FAVD."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from foleygram.files import file_hash
from foleygram.weights.state_dict import load_state, read_state

FRAME_RATE, STACK = 25.0, 24
"""Frames per second, and frames per embedding; a stack holds one more, for the motion after its last."""
SHORT_SIDE, CROP = 256, 224
MAX_FLOW = 20.0
"""Pixels per frame, beyond which motion is clipped."""
MIXED = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
BRANCHES = ("branch_0", "branch_1.0", "branch_1.1", "branch_2.0", "branch_2.1", "branch_3.1")
STEM = ("conv3d_1a_7x7", "conv3d_2b_1x1", "conv3d_2c_3x3")
POOLS: dict[str, tuple[str, tuple[int, int, int], int | tuple[int, int, int]]] = {
    "3b": ("3a_3x3", (1, 3, 3), (1, 2, 2)),
    "4b": ("4a_3x3", (3, 3, 3), 2),
    "5b": ("5a_2x2", (2, 2, 2), 2),
}
"""Pools before the blocks of these names."""
STEM_WIDTHS = (64, 64, 192)
MIXED_WIDTHS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
"""Channels of the published networks; for each block, branch by branch."""
CLASSIFIER = "conv3d_0c_1x1."
WHERE = "get i3d_rgb.pt and i3d_flow.pt from models/i3d/checkpoints of v-iashin/video_features on GitHub"


class FlowEstimator(Protocol):
    """Optical flow between consecutive frames."""

    identity: Mapping[str, Any]
    """JSON: name, checkpoint, SHA-256 of the weights and whatever else changes the flow."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Pixels (T, 2, H, W), x before y, by which each of frames (T + 1, 3, H, W), 0 to 255, moves to the next."""
        ...


class Unit(nn.Module):
    """Convolution with TensorFlow's padding, batch norm and ReLU, named as in the public weights."""

    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.margins = _margins((size,) * 3, (stride,) * 3)
        self.conv3d = nn.Conv3d(before, after, size, stride, bias=False)
        self.batch3d = nn.BatchNorm3d(after)

    def forward(self, video: Tensor) -> Tensor:
        """(N, after, T, H, W) of (N, before, T, H, W)."""
        return torch.relu(self.batch3d(self.conv3d(pad(video, self.margins))))


class Pool(nn.MaxPool3d):
    """Maximum over a window, zeros beyond the edge: what comes in is never negative."""

    def __init__(self, size: tuple[int, int, int], stride: int | tuple[int, int, int]) -> None:
        super().__init__(size, stride, ceil_mode=True)
        self.margins = _margins(size, (stride,) * 3 if isinstance(stride, int) else stride)

    def forward(self, input: Tensor) -> Tensor:
        """Pooled (N, C, T, H, W)."""
        return super().forward(pad(input, self.margins))


class Mixed(nn.Module):
    """Four branches side by side (Inception); `widths` are the channels, branch by branch."""

    def __init__(self, before: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.branch_0 = Unit(before, widths[0])
        self.branch_1 = nn.Sequential(Unit(before, widths[1]), Unit(widths[1], widths[2], 3))
        self.branch_2 = nn.Sequential(Unit(before, widths[3]), Unit(widths[3], widths[4], 3))
        self.branch_3 = nn.Sequential(Pool((3, 3, 3), 1), Unit(before, widths[5]))

    def forward(self, video: Tensor) -> Tensor:
        """(N, sum of the branches' last widths, T, H, W)."""
        return torch.cat([self.branch_0(video), self.branch_1(video), self.branch_2(video), self.branch_3(video)], 1)


class I3DNetwork(nn.Sequential):
    """One stream, on frames (3 channels) or optical flow (2), up to its pooled features."""

    def __init__(
        self,
        channels: int = 3,
        stem: Sequence[int] = STEM_WIDTHS,
        mixed: Sequence[Sequence[int]] = MIXED_WIDTHS,
    ) -> None:
        super().__init__()
        self.add_module(STEM[0], Unit(channels, stem[0], 7, 2))
        self.add_module("maxPool3d_2a_3x3", Pool((1, 3, 3), (1, 2, 2)))
        self.add_module(STEM[1], Unit(stem[0], stem[1]))
        self.add_module(STEM[2], Unit(stem[1], stem[2], 3))
        width = stem[2]
        for name, widths in zip(MIXED, mixed, strict=True):
            if name in POOLS:
                place, size, stride = POOLS[name]
                self.add_module(f"maxPool3d_{place}", Pool(size, stride))
            self.add_module(f"mixed_{name}", Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.channels, self.width = channels, width

    def forward(self, input: Tensor) -> Tensor:
        """Features (N, width) of (N, channels, T, H, W) in [-1, 1], T at least 16 and H, W at least 224."""
        return nn.functional.avg_pool3d(super().forward(input), (2, 7, 7), 1).mean((2, 3, 4))


class I3D(nn.Module):
    """Embeddings (N, 1024) of stacks of 25 frames: features of the frames, plus those of optical flow."""

    def __init__(
        self,
        rgb: I3DNetwork,
        identity: Mapping[str, Any],
        *,
        flow: I3DNetwork | None = None,
        estimator: FlowEstimator | None = None,
    ) -> None:
        """Raises ValueError for a network on motion without an estimator of it, or the reverse."""
        super().__init__()
        if (flow is None) != (estimator is None):
            raise ValueError("motion needs both: the network on it (i3d_flow.pt) and an estimator of optical flow")
        self.rgb, self.flow, self.estimator = rgb, flow, estimator
        self.identity = dict(identity) | {"frame_rate": FRAME_RATE, "stack": STACK, "side": [SHORT_SIDE, CROP]}
        self.eval().requires_grad_(False)

    @classmethod
    def from_weights(
        cls, rgb_path: str | Path, *, flow_path: str | Path | None = None, estimator: FlowEstimator | None = None
    ) -> "I3D":
        """From `i3d_rgb.pt` and, for motion as well, `i3d_flow.pt` with an estimator of flow.

        Raises FileNotFoundError with where to get them, ValueError for files that do not fit.
        """
        rgb = _network(rgb_path, 3)
        identity: dict[str, Any] = {"name": "i3d-rgb", "sha256": file_hash(Path(rgb_path))}
        if flow_path is None:
            return cls(rgb, identity, estimator=estimator)
        flow = _network(flow_path, 2)
        if estimator is not None:
            identity |= {"name": f"i3d-rgb+{estimator.identity['name']}", "estimator": dict(estimator.identity)}
        return cls(rgb, identity | {"flow_sha256": file_hash(Path(flow_path))}, flow=flow, estimator=estimator)

    @torch.inference_mode()
    def forward(self, stacks: Tensor) -> Tensor:
        """Embeddings (N, 1024), float32 on the CPU, of stacks (N, 25, 3, H, W), uint8, their short side 256."""
        device = next(self.rgb.parameters()).device
        return torch.stack([self._row(stack.to(device)) for stack in stacks]).cpu()

    def _row(self, stack: Tensor) -> Tensor:
        frames = stack.float()
        features: Tensor = self.rgb(_video(frames[:-1]))
        if self.flow is not None and self.estimator is not None:
            steps = self.estimator(frames).clamp(-MAX_FLOW, MAX_FLOW)
            features = features + self.flow(_video((128 + 255 / (2 * MAX_FLOW) * steps).round()))
        return features[0].float()


def _video(frames: Tensor) -> Tensor:
    """(1, C, T, 224, 224) in [-1, 1] of the middles of (T, C, H, W), 0 to 255."""
    top, left = ((side - CROP) // 2 for side in frames.shape[-2:])
    middle = frames[..., top : top + CROP, left : left + CROP]
    return rearrange(2 * middle / 255 - 1, "t c h w -> 1 c t h w")


def _margins(size: Sequence[int], stride: Sequence[int]) -> tuple[int, ...]:
    """Zeros before and after, the last dimension first, as for inputs that the stride divides."""
    extra = [max(s - t, 0) for s, t in zip(size, stride, strict=True)]
    return tuple(itertools.chain.from_iterable((e // 2, e - e // 2) for e in reversed(extra)))


def _network(path: str | Path, channels: int) -> I3DNetwork:
    """The network of a state dict, as wide as its weights."""
    state = read_state(path, WHERE)
    names = [*STEM, *(f"mixed_{name}.{branch}" for name in MIXED for branch in BRANCHES)]
    needed = [f"{name}.conv3d.weight" for name in names]
    if any(not isinstance(state.get(key), Tensor) for key in needed):
        raise ValueError(f"{path}: not an I3D, whose weights have {needed[0]} to {needed[-1]}; {WHERE}")
    if state[needed[0]].shape[1] != channels:
        kinds = {3: "frames (i3d_rgb.pt)", 2: "motion (i3d_flow.pt)"}
        raise ValueError(f"{path}: an I3D on {state[needed[0]].shape[1]} channels, not the one on {kinds[channels]}")
    widths = [len(state[key]) for key in needed]
    mixed = [widths[i : i + len(BRANCHES)] for i in range(len(STEM), len(widths), len(BRANCHES))]
    network = I3DNetwork(channels, widths[: len(STEM)], mixed)
    counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    weights = {key: value for key, value in state.items() if not key.startswith(CLASSIFIER)}
    load_state(network, counters | weights, str(path))  # the oldest files have no counters
    return network
