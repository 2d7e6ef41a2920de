"""The autoencoder's encoder at inference on a CPU: silence is encoded once, not wherever it occurs."""

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor
from torch.nn import functional


def encode_skipping_silence(vae: AutoencoderOobleck, audio: Tensor) -> Tensor:
    """The encoder's output (1, 2 C, T) for audio (1, channels, samples), equal to `vae.encoder` up to rounding.

    Where a convolution's whole input is digital silence its output does not depend on time, so it is computed once.
    A predicted envelope is exactly 0 for half of a usual clip.
    """
    encoder = vae.encoder
    sounding = _widened((audio[0] != 0).any(0), encoder.conv1.kernel_size[0])
    hidden = encoder.conv1(audio)
    constant = encoder.conv1(torch.zeros_like(audio[..., : 2 * encoder.conv1.kernel_size[0]]))
    constant = constant[..., constant.shape[-1] // 2, None]
    for block in encoder.block:
        hidden, sounding, constant = _encode_block(block, hidden, sounding, constant)
    return encoder.conv2(encoder.snake1(hidden))


def _encode_block(block: Any, hidden: Tensor, sounding: Tensor, constant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's output (1, C, L / stride), which columns of it differ from its output for silence, and that output.

    `hidden` (1, C, L) equals `constant` (1, C, 1) wherever `sounding` (L,) is false.
    """
    stride, length = block.conv1.stride[0], hidden.shape[-1]
    reach = -(-_block_reach(block) // stride)  # in columns of the output
    span = (2 * reach + 1) * stride
    silent = block(constant.expand(-1, -1, span))[..., reach, None]
    changed = functional.max_pool1d(sounding[None].float(), stride)[0] > 0
    changed = _widened(changed, 2 * reach + 1)
    changed[:reach] = changed[-reach:] = True  # the zeros that pad a layer are not its output for silence
    output = silent.repeat(1, 1, length // stride)
    for start, end in _spans(changed, 2 * reach):
        before, after = max(0, start - reach), min(length // stride, end + reach)
        encoded = block(hidden[..., before * stride : after * stride])
        output[..., start:end] = encoded[..., start - before : end - before]
    return output, changed, silent


def _block_reach(block: Any) -> int:
    """Columns on either side that an output of an encoder's block depends on, at the rate of its input."""
    units = (block.res_unit1, block.res_unit2, block.res_unit3)
    return int(sum(unit.conv1.padding[0] for unit in units) + block.conv1.kernel_size[0])


def _widened(marks: Tensor, width: int) -> Tensor:
    """Marks (L,), and all that lie within half of an odd `width` of them."""
    return functional.max_pool1d(marks[None].float(), width, 1, width // 2)[0] > 0


def _spans(marks: Tensor, gap: int) -> Iterable[tuple[int, int]]:
    """Starts and ends of the runs of marks (L,); runs that lie at most `gap` apart are one."""
    found: list[tuple[int, int]] = []
    edges = torch.diff(marks.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero()[:, 0].tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
