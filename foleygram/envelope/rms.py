"""The RMS envelope: measured, drawn at the audio rate, quantised (mu-law), augmented."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def rms_envelope(audio: Tensor | np.ndarray, frame_length: int = 512, hop_length: int = 128) -> Tensor:
    """Centred RMS of audio (..., samples) as (..., samples // hop_length + 1); equals librosa.feature.rms(center=True).

    Value i belongs to sample i * hop_length; a sine of amplitude A reads A / sqrt 2. Raises ValueError for empty audio.
    """
    if audio.shape[-1] == 0:
        raise ValueError("an empty signal has no envelope")
    half = frame_length // 2
    power = F.pad(torch.as_tensor(audio).float() ** 2, (half, half))
    frames = power.unfold(-1, frame_length, hop_length)
    return frames.mean(-1).sqrt()


def envelope_curve(envelope: Tensor, num_samples: int) -> Tensor:
    """An envelope (..., values) drawn at the audio rate by linear interpolation: (..., num_samples).

    The first value lies at the first sample and the last one hop before or at the end, as `rms_envelope` places them
    when `num_samples` spans the same time.
    """
    flat = envelope.reshape(-1, 1, envelope.shape[-1])
    curve = F.interpolate(flat, size=num_samples, mode="linear", align_corners=True)
    return curve.reshape(*envelope.shape[:-1], num_samples)


def mu_law(level: Tensor, mu: float = 255.0) -> Tensor:
    """Companded levels (...) in [0, 1] of linear levels (...) in [0, 1]."""
    return torch.log1p(mu * level.clamp(0, 1)) / torch.log1p(torch.tensor(mu))


def inverse_mu_law(companded: Tensor, mu: float = 255.0) -> Tensor:
    """Linear levels (...) of companded ones (...): the inverse of `mu_law`."""
    return torch.expm1(companded * torch.log1p(torch.tensor(mu))) / mu


def smooth(envelope: Tensor, width: int) -> Tensor:
    """Moving Hann average of `width` values of envelopes (..., values), same shape; an even width is widened by one."""
    if width <= 1:
        return envelope
    kernel = torch.hann_window(width // 2 * 2 + 3, periodic=False, device=envelope.device)[1:-1]
    flat = envelope.reshape(-1, 1, envelope.shape[-1])
    padded = F.pad(flat, (len(kernel) // 2, len(kernel) // 2), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None]).reshape(envelope.shape)


def augment_envelope(envelope: Tensor, generator: torch.Generator, *, rate: float, num_classes: int = 64) -> Tensor:
    """True envelopes (B, values) made as imperfect as predicted ones: training conditions for the ControlNet.

    Quantised, smoothed, moved by up to 10 ms, uneven in level; each clip draws its own imperfections. `rate` in values
    per second.
    """
    clips = []
    for clip in envelope:
        coins = torch.rand(5, generator=generator)
        if coins[0] < 0.5:
            clip = inverse_mu_law((mu_law(clip) * (num_classes - 1)).round() / (num_classes - 1))
        clip = smooth(clip, int(coins[1] * 0.04 * rate) + 1)
        clip = _shift(clip, (coins[2].item() - 0.5) * 0.02 * rate)
        wobble = smooth(torch.randn(clip.shape, generator=generator), int(0.2 * rate)) * 0.25 * coins[3]
        clips.append(clip * (1 + wobble) * 10 ** ((coins[4] - 0.5) * 0.3))
    return torch.stack(clips).clamp(0, 1)


def _shift(clip: Tensor, values: float) -> Tensor:
    position = (torch.arange(len(clip)) - values).clamp(0, len(clip) - 1)
    low = position.floor().long().clamp(max=len(clip) - 2)
    fraction = position - low
    return clip[low] * (1 - fraction) + clip[low + 1] * fraction
