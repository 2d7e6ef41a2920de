"""Optical flow by RAFT (Teed and Deng 2020), where torchvision is installed: motion for FAVD's profiles with it."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from foleygram.files import file_hash
from foleygram.weights.state_dict import load_state, read_state

MULTIPLE = 8
"""Of pixels, that both sides must be."""
PAIRS_AT_ONCE = 8
WITHOUT = (
    "optical flow by RAFT needs torchvision, in the build that belongs to your torch; without it take a FAVD profile "
    "on pictures alone, which is another figure"
)
WHERE = "get raft_large_C_T_SKHT_V1-0b8c9e55.pth from torchvision's page on Raft_Large_Weights"


def has_torchvision() -> bool:
    """Whether torchvision's networks of optical flow can be imported."""
    try:
        importlib.import_module("torchvision.models.optical_flow")
    except (ImportError, RuntimeError, OSError, AttributeError):  # a build for another torch fails in many ways
        return False
    return True


class Raft(nn.Module):
    """torchvision's large RAFT with given weights, such as those ported from its authors' `raft-sintel.pth`."""

    identity: Mapping[str, Any]

    def __init__(self, network: nn.Module, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.identity = dict(identity)

    @classmethod
    def from_weights(cls, path: str | Path) -> "Raft":
        """From a state dict of torchvision's `raft_large`; raises ImportError where torchvision is missing.

        Raises FileNotFoundError saying where the weights are to be had, ValueError for a file that does not fit.
        """
        if Path(path).is_file() and not has_torchvision():
            raise ImportError(WITHOUT)
        state = read_state(path, WHERE)
        network = importlib.import_module("torchvision.models.optical_flow").raft_large(weights=None, progress=False)
        load_state(network, state, str(path))
        return cls(network, {"name": "raft-large", "checkpoint": Path(path).name, "sha256": file_hash(Path(path))})

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """Pixels (T, 2, H, W) by which frames (T + 1, 3, H, W), 0 to 255, move to the next; their edges repeated."""
        height, width = frames.shape[-2:]
        down, right = -height % MULTIPLE, -width % MULTIPLE
        top, left = down // 2, right // 2
        framed = pad(2 * frames / 255 - 1, (left, right - left, top, down - top), mode="replicate")
        pairs = zip(framed[:-1].split(PAIRS_AT_ONCE), framed[1:].split(PAIRS_AT_ONCE), strict=True)
        flow = torch.cat([self.network(before, after)[-1] for before, after in pairs])
        return flow[..., top : top + height, left : left + width]
