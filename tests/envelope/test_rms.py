import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.envelope.rms import (
    _shift,
    augment_envelope,
    envelope_curve,
    inverse_mu_law,
    mu_law,
    rms_envelope,
    smooth,
)

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


def test_mu_law_ends_at_silence_and_full_scale() -> None:
    assert mu_law(torch.tensor([-0.5, 0.0, 1.0, 1.5])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("width", [1, 2, 7, 50])
def test_smoothing_keeps_length_level_and_place(width: int) -> None:
    constant = torch.full((2, 100), 0.3)
    torch.testing.assert_close(smooth(constant, width), constant)
    pulse = torch.zeros(201)
    pulse[100] = 1.0
    smoothed = smooth(pulse, width)
    assert smoothed.argmax() == 100
    torch.testing.assert_close(smoothed, smoothed.flip(0))
    assert int((smoothed > 0).sum()) == width // 2 * 2 + 1
    weights = np.hanning((width // 2 * 2 + 1) + 2)[1:-1]
    np.testing.assert_allclose(smoothed[smoothed > 0].numpy(), weights / weights.sum(), rtol=1e-5)


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


def test_a_shift_reads_between_values_and_holds_the_ends() -> None:
    ramp = torch.arange(6.0)
    torch.testing.assert_close(_shift(ramp, 1.25), torch.tensor([0, 0, 0.75, 1.75, 2.75, 3.75]))
    torch.testing.assert_close(_shift(ramp, -2.5), torch.tensor([2.5, 3.5, 4.5, 5, 5, 5]))


def test_augmentation_has_the_documented_strength() -> None:
    """Half are quantised, all moved by up to 10 ms, smoothed over up to 40 ms, uneven, and up to 3 dB off."""
    count, generator = 400, torch.Generator().manual_seed(0)
    pulse = torch.zeros(251)
    pulse[125] = 0.25
    drawn = augment_envelope(pulse.expand(count, -1), generator, rate=RATE)
    places = torch.arange(251) - 125.0
    middle = (drawn @ places) / drawn.sum(-1)
    assert middle.std().item() == pytest.approx(0.02 * RATE / 12**0.5, rel=0.1) and middle.abs().max() < 1.3
    widths = (drawn > 1e-6).sum(-1)
    assert widths.unique().tolist() == [2, 4, 6]  # 1, 3 or 5 values, between two of the grid
    level = augment_envelope(torch.full((count, 251), 0.25), generator, rate=RATE)
    decibels = 20 * level.mean(-1).log10()
    assert decibels.std().item() == pytest.approx(6 / 12**0.5, rel=0.1)
    unevenness = level.std(-1) / level.mean(-1)
    assert 0.02 < unevenness.median() < unevenness.max() < 0.25
    coarse = [augment_envelope(torch.full((count, 251), x), generator, rate=RATE, num_classes=2) for x in (0.05, 0.1)]
    assert (coarse[0] == 0).all(-1).float().mean().item() == pytest.approx(0.5, abs=0.08)  # below half the mu-law range
    assert (coarse[1].mean(-1) > 0.5).float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert augment_envelope(torch.ones(9, 251), generator, rate=RATE).max() == 1
