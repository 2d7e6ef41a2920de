"""Perceived loudness of a sound, and the gain to a target."""

import math

from torch import Tensor

PEAK_DB = -1.0
"""No gain lifts a sample's peak above this."""
BLOCK_SEC = 0.4
"""Blocks of ITU-R BS.1770; a shorter sound is one block."""


def loudness(audio: Tensor, sample_rate: int) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of a sound (channels, n); -inf for silence."""
    import pyloudnorm  # imports scipy.signal: not in every process that writes a file

    seconds = audio.shape[-1] / sample_rate
    if not audio.any():
        return -math.inf
    meter = pyloudnorm.Meter(sample_rate, block_size=min(BLOCK_SEC, seconds * 0.999))
    return float(meter.integrated_loudness(audio.T.double().numpy()))


def loudness_gain(audio: Tensor, sample_rate: int, target_lufs: float) -> float:
    """The factor that brings a sound (channels, n) to `target_lufs`, or as near as its peak allows; 1 for silence."""
    now = loudness(audio, sample_rate)
    if not math.isfinite(now):
        return 1.0
    return min(10 ** ((target_lufs - now) / 20), 10 ** (PEAK_DB / 20) / float(audio.abs().max()))
