"""Shared by training steps: reproducible random generators, learning-rate schedules, compiled blocks."""

import logging
import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

FLOOR = 0.02
"""Share of the learning rate at which a cosine schedule ends."""

log = logging.getLogger(__name__)


def step_generator(seed: int, step: int, place: int) -> torch.Generator:
    """The generator of one batch: every draw derives from (seed, step, place in it), so a resumed run repeats it."""
    # Within 32 bits, because torch's CPU generator reads no more of a seed.
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 4099 + place & 0xFFFFFFFF)


def _check_steps(warmup_steps: int, total_steps: int) -> None:
    """Raise ValueError for steps that make no schedule; a warm-up that never ends, as in a short trial, is logged."""
    if warmup_steps < 0 or total_steps < 1:
        raise ValueError(f"warmup_steps {warmup_steps} of total_steps {total_steps}: give 0 or more, of 1 or more")
    if warmup_steps > total_steps:
        log.warning("warmup_steps %d of total_steps %d: the run ends before its lr", warmup_steps, total_steps)


def linear_schedule(optimizer: torch.optim.Optimizer, *, warmup_steps: int, total_steps: int) -> LambdaLR:
    """Linear warm-up over `warmup_steps`, then linear to 0 at `total_steps`; raises ValueError below 0 and 1."""
    _check_steps(warmup_steps, total_steps)

    def factor(step: int) -> float:
        rise = (step + 1) / max(1, warmup_steps)
        return max(0.0, min(1.0, rise, (total_steps - step) / max(1, total_steps - warmup_steps)))

    return LambdaLR(optimizer, factor)


def cosine_schedule(optimizer: torch.optim.Optimizer, *, warmup_steps: int, total_steps: int) -> LambdaLR:
    """Linear warm-up, then a cosine from 1 to `FLOOR` of the learning rate; raises ValueError below 0 and 1 steps."""
    _check_steps(warmup_steps, total_steps)

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
        return min(1.0, (step + 1) / max(1, warmup_steps)) * (FLOOR + (1 - FLOOR) * cosine)

    return LambdaLR(optimizer, factor)


def compile_blocks(blocks: Iterable[nn.Module]) -> None:
    """Compile each of a network's equal blocks in place: one short compilation serves all, weights keep their names."""
    for block in blocks:
        block.compile()
