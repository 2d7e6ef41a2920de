"""The envelope of a sound: RMS values with their rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.rms import mu_law, rms_envelope
from foleygram.media.audio import resample

Times = Sequence[float] | np.ndarray
SAMPLE_RATE, FRAME_LENGTH, HOP_LENGTH = 16_000, 512, 128
RISE_SEC = 0.024
"""Stretch over which a rise is measured: most of the RMS window, so that an impact counts whole."""
MIN_GAP_SEC = 0.1
MIN_RISE = 0.1
"""Smallest rise of the mu-law level (0 to 1) that counts as an onset."""
PEAK_SEC = 0.056
"""An onset's peak is looked for this far after its steepest rise."""
HIGHEST_RATE = 48_000.0
"""Most values per second that a file may ask for."""
PULSE_LEVEL = 0.25
"""Height of an onset track's pulses: the RMS level of the loudest hits, which an autoencoder can represent."""


@dataclass(frozen=True)
class Envelope:
    """Linear RMS `values` (n,), float32, value i at i / `rate` seconds; `rate` in values per second.

    Raises ValueError for values that are not one finite, nonnegative row, or a rate that is not positive.
    """

    values: np.ndarray
    rate: float

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):  # values beyond float32 are refused below
            values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"an envelope of shape {values.shape}: give one row of values")
        if not np.isfinite(values).all():
            raise ValueError(f"value {int(np.argmin(np.isfinite(values)))} of the envelope is not a finite number")
        if values.min() < 0:
            raise ValueError(f"value {int(values.argmin())} of the envelope is {values.min():g}: a level is 0 or more")
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"an envelope of {self.rate} values per second: the rate must be positive")
        object.__setattr__(self, "values", values)

    @classmethod
    def from_audio(cls, audio: Tensor | np.ndarray, sample_rate: int) -> "Envelope":
        """Envelope of sound (samples,) or (channels, samples), measured on its mono mix at 16 kHz."""
        mono = torch.as_tensor(audio).float().reshape(-1, audio.shape[-1]).mean(0, keepdim=True)
        mono = resample(mono, sample_rate, SAMPLE_RATE)[0]
        return cls(rms_envelope(mono, FRAME_LENGTH, HOP_LENGTH).numpy(), SAMPLE_RATE / HOP_LENGTH)

    @property
    def seconds(self) -> float:
        """Time from the first value to the last."""
        return (len(self.values) - 1) / self.rate

    def at(self, times_sec: np.ndarray) -> np.ndarray:
        """Values (n,) at `times_sec` (n,) by linear interpolation, float32; 0 outside the envelope."""
        value_times = np.arange(len(self.values)) / self.rate
        # A time computed elsewhere may pass the last value by a rounding error.
        times = np.where(np.abs(times_sec - value_times[-1]) < 1e-6, value_times[-1], times_sec)
        return np.interp(times, value_times, self.values, left=0.0, right=0.0).astype(np.float32)

    def resampled(self, rate: float) -> "Envelope":
        """The same curve with `rate` values per second, by linear interpolation."""
        count = int(self.seconds * rate + 1e-6) + 1
        return Envelope(self.at(np.arange(count) / rate), rate)

    def slice(self, start: float, seconds: float) -> "Envelope":
        """The stretch of `seconds` from `start` on, both ends included; 0 where it leaves the envelope.

        Raises ValueError for a negative length.
        """
        if seconds < 0:
            raise ValueError(f"a stretch of {seconds} seconds: it must not be negative")
        return Envelope(self.at(start + np.arange(round(seconds * self.rate) + 1) / self.rate), self.rate)

    def onsets(self) -> np.ndarray:
        """Times in seconds, ascending, at which the level jumps: where its power is half-way up (n,)."""
        return onset_times(self.values, self.rate)


def onset_times(values: np.ndarray, rate: float) -> np.ndarray:
    """Onsets in seconds of an RMS envelope (n,): steep rises of the mu-law level, at half the rise in power.

    For a ringing object that is the moment of impact, whatever the length of the RMS window.
    """
    level = mu_law(torch.from_numpy(np.asarray(values, np.float32))).numpy()
    reach, gap = max(1, round(RISE_SEC * rate / 2)), max(1, round(MIN_GAP_SEC * rate / 2))
    padded = np.concatenate([np.zeros(reach), level, np.full(reach, level[-1])])
    rise = padded[2 * reach :] - padded[: -2 * reach]
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rise, gap, constant_values=-1.0), 2 * gap + 1)
    steepest = np.flatnonzero((rise >= MIN_RISE) & (rise > around[:, :gap].max(1)) & (rise >= around[:, gap:].max(1)))
    return np.array([_half_rise(values, int(i), rate) for i in steepest]) / rate


def onset_track(envelopes: Tensor, rate: float) -> Tensor:
    """A pulse one value long at every onset of RMS envelopes (B, values), else 0: timing without level or duration.

    The control signal of SyncFusion, on the grid of an RMS envelope.
    """
    track = torch.zeros_like(envelopes)
    for row, envelope in zip(track, envelopes.float().cpu().numpy(), strict=True):
        places = np.round(onset_times(envelope, rate) * rate).astype(int)
        row[torch.from_numpy(places.clip(0, len(envelope) - 1))] = PULSE_LEVEL
    return track


def _half_rise(values: np.ndarray, steepest: int, rate: float) -> float:
    """Index, with a fraction, at which the power around `steepest` is half-way between its valley and its peak."""
    power = np.asarray(values, np.float64) ** 2
    reach = round(PEAK_SEC * rate)
    peak = steepest + int(power[steepest : steepest + max(1, reach // 2) + 1].argmax())
    first = max(0, peak - reach)
    half = (power[first : peak + 1].min() + power[peak]) / 2
    below = np.flatnonzero(power[first:peak] < half)
    if not len(below):
        return float(first)
    above = first + int(below[-1]) + 1  # the last way up: before it may lie the end of another hit
    return above - (power[above] - half) / (power[above] - power[above - 1])


def pair_times(found: Times, true: Times, tolerance_sec: float) -> list[tuple[int, int]]:
    """Indices of as many one-to-one pairs as possible of times at most `tolerance_sec` apart; both lists must ascend.

    Taking the earliest partner is optimal, because windows of equal width are never nested.
    """
    pairs: list[tuple[int, int]] = []
    i, j, limit = 0, 0, tolerance_sec + 1e-9
    while i < len(found) and j < len(true):
        gap = found[i] - true[j]
        if abs(gap) <= limit:
            pairs.append((i, j))
        i, j = i + int(gap <= limit), j + int(gap >= -limit)
    return pairs
