"""The Oobleck autoencoder: audio and envelopes to latents, latents to audio; on a CPU silence is encoded once."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDiagonalGaussianDistribution
from einops import repeat
from torch import Tensor
from torch.nn import functional

from foleygram.envelope.rms import envelope_curve

DECODED_AT_ONCE = 512
"""Latents per pass of the decoder: a longer sound is decoded in pieces of this length."""
OUTER_REACH, BLOCK_REACH = 3, 39
"""Receptive field to either side, in samples, of Oobleck's outer convolutions and of a block's residual units."""


class AudioLatents(NamedTuple):
    """Mean and standard deviation of the autoencoder's posterior, each (B, C, T)."""

    mean: Tensor
    scale: Tensor


def encode_audio(vae: AutoencoderOobleck, audio: Tensor) -> AudioLatents:
    """Posterior of audio (B, channels, samples); raises ValueError unless samples are a multiple of its hop.

    At inference on a CPU the rows are encoded one after another and their silence once: a batch's activations at the
    audio rate outgrow the caches there, which costs 2.6 times the time (docs/log.md).
    """
    hop = vae.hop_length
    if audio.shape[-1] % hop:
        raise ValueError(f"{audio.shape[-1]} samples are not a multiple of the autoencoder's hop {hop}: pad with zeros")
    if audio.device.type != "cpu" or torch.is_grad_enabled():
        posterior = vae.encode(audio).latent_dist
    else:
        compiled = vae.encoder._compiled_call_impl is not None
        rows = [vae.encoder(row) if compiled else encode_skipping_silence(vae, row) for row in audio.split(1)]
        posterior = OobleckDiagonalGaussianDistribution(torch.cat(rows))
    return AudioLatents(posterior.mean, posterior.std)


def control_latents(vae: AutoencoderOobleck, envelope: Tensor, num_samples: int) -> Tensor:
    """Control latents (B, C, T) of RMS envelopes (B, values) that span `num_samples` audio samples.

    The curve is interpolated to the audio rate, padded with zeros to whole latents and encoded by the frozen
    autoencoder; the posterior's mean is the control (arXiv 2510.05829, sec. III-B).
    """
    curve = functional.pad(envelope_curve(envelope, num_samples), (0, -num_samples % vae.hop_length))
    audio = repeat(curve, "b samples -> b channels samples", channels=vae.config.audio_channels)
    return encode_audio(vae, audio.to(vae.dtype)).mean


def decoder_reach(strides: Sequence[int]) -> int:
    """Latents on either side of its own that a decoded sample may depend on; `strides` from the latents to the audio.

    Followed from the samples of one latent back through the decoder's layers: 18 for strides 4, 4, 2; 11 for
    8, 4, 4, 2; 39 for 2, 2, 2. The smaller the strides of the last blocks, the farther it reaches.
    """
    first, last = -OUTER_REACH, math.prod(strides) - 1 + OUTER_REACH
    for stride in reversed(strides):
        first, last, padding = first - BLOCK_REACH, last + BLOCK_REACH, math.ceil(stride / 2)
        first = math.ceil((first + padding - 2 * stride + 1) / stride)
        last = (last + padding) // stride
    return max(OUTER_REACH - first, last + OUTER_REACH)


def decode_latents(
    vae: AutoencoderOobleck, latents: Tensor, num_samples: int, *, chunk_size: int = DECODED_AT_ONCE
) -> Tensor:
    """Audio (B, channels, num_samples) from latents (B, C, T), trimmed to the exact sample.

    Without gradients one row after another, each in pieces of `chunk_size` latents that see their neighbours, so
    memory depends neither on the batch nor on the length.
    """
    latents = latents.to(vae.dtype)
    if torch.is_grad_enabled():
        return vae.decode(latents).sample[..., :num_samples]
    rows = [
        torch.cat([_decoded_piece(vae, row, start, chunk_size) for start in range(0, row.shape[-1], chunk_size)], -1)
        for row in latents.split(1)
    ]
    return torch.cat(rows)[..., :num_samples]


def _decoded_piece(vae: AutoencoderOobleck, latents: Tensor, start: int, chunk_size: int) -> Tensor:
    """Audio of the latents from `start` on, decoded between their neighbours."""
    reach = decoder_reach(vae.upsampling_ratios)
    before, end = max(0, start - reach), start + chunk_size
    audio = vae.decode(latents[..., before : end + reach]).sample
    first = (start - before) * vae.hop_length
    return audio[..., first : first + min(chunk_size, latents.shape[-1] - start) * vae.hop_length]


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
    """Receptive field of an encoder's block to either side, in columns of its input."""
    units = (block.res_unit1, block.res_unit2, block.res_unit3)
    return int(sum(unit.conv1.padding[0] for unit in units) + block.conv1.kernel_size[0])


def _widened(marks: Tensor, width: int) -> Tensor:
    """Marks (L,), and all that lie within half of an odd `width` of them."""
    return functional.max_pool1d(marks[None].float(), width, 1, width // 2)[0] > 0


def _spans(marks: Tensor, gap: int) -> Iterable[tuple[int, int]]:
    """Starts and ends of the runs of marks (L,); runs that lie at most `gap` apart are one."""
    spans: list[tuple[int, int]] = []
    edges = torch.diff(marks.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero()[:, 0].tolist()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if spans and start - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
