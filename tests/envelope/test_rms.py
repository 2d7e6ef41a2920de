import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.envelope.rms import augment_envelope, envelope_curve, inverse_mu_law, mu_law, rms_envelope, smooth

RATE = 125.0


def test_sine_of_amplitude_a_reads_a_over_root_two() -> None:
    audio = 0.6 * torch.sin(2 * math.pi * 500 * torch.arange(16_000) / 16_000)
    inner = rms_envelope(audio)[4:-4]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.6 / math.sqrt(2)), rtol=1e-4, atol=0)


def test_silence_is_zero() -> None:
    assert rms_envelope(torch.zeros(2, 5000)).abs().max() == 0


def test_click_peaks_where_it_is() -> None:
    audio = torch.zeros(16_000)
    audio[8000 - 64] = 1.0
    loud = torch.nonzero(rms_envelope(audio)).squeeze(1) * 128
    assert (loud - (8000 - 64)).abs().max() <= 256
    assert abs(float(loud.float().mean()) - (8000 - 64)) <= 64


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4000), st.sampled_from([(512, 128), (2048, 512), (256, 100)]), st.integers(0, 2**31))
def test_equals_librosa(num_samples: int, sizes: tuple[int, int], seed: int) -> None:
    audio = np.random.default_rng(seed).standard_normal((2, num_samples)).astype(np.float32)
    ours = rms_envelope(torch.from_numpy(audio), *sizes).numpy()
    theirs = librosa.feature.rms(y=audio, frame_length=sizes[0], hop_length=sizes[1], center=True)[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rms_envelope(audio, *sizes).numpy(), ours)  # as librosa's users hold it


def test_empty_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        rms_envelope(torch.zeros(1, 0))


def test_curve_of_a_ramp_is_the_ramp() -> None:
    curve = envelope_curve(torch.linspace(0, 1, 11).expand(2, 3, 11), 101)
    torch.testing.assert_close(curve, torch.linspace(0, 1, 101).expand(2, 3, 101))


@given(st.floats(0, 1))
def test_mu_law_inverts(level: float) -> None:
    value = torch.tensor(level, dtype=torch.float64)
    assert 0 <= float(mu_law(value)) <= 1
    torch.testing.assert_close(inverse_mu_law(mu_law(value)), value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 7, 50])
def test_smoothing_keeps_length_level_and_place(width: int) -> None:
    constant = torch.full((2, 100), 0.3)
    torch.testing.assert_close(smooth(constant, width), constant)
    pulse = torch.zeros(201)
    pulse[100] = 1.0
    smoothed = smooth(pulse, width)
    assert smoothed.argmax() == 100
    torch.testing.assert_close(smoothed, smoothed.flip(0))


def bursts() -> torch.Tensor:
    times = torch.arange(501) / RATE
    rows = [torch.where(times >= at, 0.3 * torch.exp(-(times - at) / 0.08), 0.0) * (times < 3.0) for at in (0.5, 1.2)]
    return torch.stack(rows)


def test_augmentation_follows_its_generator_alone() -> None:
    first, again, other = (augment_envelope(bursts(), torch.Generator().manual_seed(s), rate=RATE) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_keeps_silence_and_stays_within_its_bounds() -> None:
    true = bursts()
    for seed in range(20):
        curve = augment_envelope(true, torch.Generator().manual_seed(seed), rate=RATE)
        assert curve.shape == true.shape
        assert curve.min() >= 0 and curve.max() <= 1
        assert curve[:, -100:].abs().max() == 0
        ratio = curve.sum(-1) / true.sum(-1)
        assert ((ratio > 0.5) & (ratio < 2)).all()
        # Half of the total comes at the same time, to 10 ms of shift and 20 ms of smoothing.
        middles = [(row.cumsum(-1) < row.sum(-1, keepdim=True) / 2).sum(-1) / RATE for row in (curve, true)]
        assert (middles[0] - middles[1]).abs().max() <= 0.04
