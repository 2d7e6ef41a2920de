"""What every training step stands on: draws that a resumed run repeats, learning-rate schedules, compiled blocks."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def step_generator(seed: int, step: int, place: int) -> torch.Generator:
    """The generator of one batch: every draw derives from (seed, step, place in it), so a resumed run repeats it."""
    # Within 32 bits, because torch's CPU generator reads no more of a seed.
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 4099 + place & 0xFFFFFFFF)


def linear_schedule(optimizer: torch.optim.Optimizer, *, warmup_steps: int, total_steps: int) -> LambdaLR:
    """Linear warm-up over `warmup_steps`, then linear to 0 at `total_steps`."""

    def factor(step: int) -> float:
        rise = (step + 1) / max(1, warmup_steps)
        return max(0.0, min(1.0, rise, (total_steps - step) / max(1, total_steps - warmup_steps)))

    return LambdaLR(optimizer, factor)


def cosine_schedule(
    optimizer: torch.optim.Optimizer, *, warmup_steps: int, total_steps: int, floor: float = 0.02
) -> LambdaLR:
    """Linear warm-up, then a cosine from 1 to `floor` of the learning rate."""

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
        return min(1.0, (step + 1) / warmup_steps) * (floor + (1 - floor) * cosine)

    return LambdaLR(optimizer, factor)


def compile_blocks(blocks: Iterable[nn.Module]) -> None:
    """Compile each of a network's equal blocks in place: one short compilation serves all, weights keep their names."""
    for block in blocks:
        block.compile()
