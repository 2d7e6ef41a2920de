"""Where a release's networks lie, and in which precision: all on one device, or each there for its own step alone."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

TOGETHER = frozenset({"transformer", "controlnet"})
"""Parts that take turns within one step, so that offloading keeps both on the device."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions in which a release's networks compute."""
ALWAYS_FLOAT32 = frozenset({"envelope_predictor"})
"""Parts whose output is a figure that people read and edit; small ones, so nothing is won by fewer digits."""


def dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of a part in a release that computes in `dtype`."""
    return torch.float32 if name in ALWAYS_FLOAT32 else dtype


class PlacedParts:
    """Named parts, frozen and in eval mode, as attributes; under offloading, asking for one brings it in."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = dict(parts)
        self.device = torch.device("cpu")
        self._resident: frozenset[str] | None = None  # parts on the device under offloading; None: all of them
        for part in self._networks().values():
            part.requires_grad_(False).eval()

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move every network to `device`; with `dtype`, all but `ALWAYS_FLOAT32` compute in it from now on."""
        self.device, self._resident = torch.device(device), None
        for name, part in self._networks().items():
            if dtype is not None:
                nn.Module.to(part, dtype_of(name, dtype))  # diffusers' own warns of modules to keep in float32
            part.to(self.device)
        return self

    def enable_model_cpu_offload(self, device: str | torch.device = "cuda") -> Self:
        """Keep networks on the CPU, each on `device` for its own step alone: slower, and the largest part must fit."""
        self.to("cpu")
        self.device, self._resident = torch.device(device), frozenset()
        return self

    def _networks(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.parts.items() if isinstance(part, nn.Module)}

    def _bring(self, name: str) -> None:
        wanted = TOGETHER if name in TOGETHER else frozenset({name})
        if wanted != self._resident:
            for other, part in self._networks().items():  # first out, then in: never both
                if other not in wanted:
                    part.to("cpu")
            for other in wanted & self._networks().keys():
                self.parts[other].to(self.device)
            self._resident = wanted

    def __getattr__(self, name: str) -> Any:
        if name != "parts" and name in self.parts:
            if self._resident is not None and isinstance(self.parts[name], nn.Module):
                self._bring(name)
            return self.parts[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")
