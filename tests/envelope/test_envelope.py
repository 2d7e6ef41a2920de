import librosa
import numpy as np
import pytest
import torch

from foleygram.envelope.envelope import Envelope, onset_times, pair_times
from foleygram.envelope.rms import inverse_mu_law, rms_envelope


def struck(times: list[float], decay: float, seconds: float = 2.0) -> torch.Tensor:
    clock = torch.arange(round(seconds * 16_000)) / 16_000
    tone = torch.sin(2 * torch.pi * 900 * clock)
    return sum(
        (torch.where(clock >= t, 0.3 * torch.exp(-(clock - t).clamp(min=0) / decay), 0.0) * tone for t in times),
        torch.zeros_like(clock),
    )


def test_from_audio_equals_librosa_on_the_mono_mix() -> None:
    audio = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32) * 0.1)
    envelope = Envelope.from_audio(audio, 16_000)
    theirs = librosa.feature.rms(y=audio.mean(0).numpy(), frame_length=512, hop_length=128)[0]
    np.testing.assert_allclose(envelope.values, theirs, rtol=1e-4, atol=1e-6)
    assert envelope.rate == 125
    assert envelope.seconds == 1.0
    np.testing.assert_array_equal(Envelope.from_audio(audio.numpy(), 16_000).values, envelope.values)


def test_from_audio_has_the_same_rate_whatever_the_sound_s() -> None:
    envelope = Envelope.from_audio(torch.zeros(1, 44_100), 44_100)
    assert (envelope.rate, len(envelope.values)) == (125, 126)


@pytest.mark.parametrize(
    ("values", "rate", "complaint"),
    [
        ([], 125.0, "one row"),
        ([[0.1, 0.2]], 125.0, "one row"),
        ([0.1, float("nan")], 125.0, "value 1 .*finite"),
        ([0.1, 0.2, -0.5], 125.0, "value 2 .*-0.5"),
        ([0.1], 0.0, "rate"),
        ([0.1], float("inf"), "rate"),
    ],
)
def test_what_is_no_envelope_is_refused(values: list[float], rate: float, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Envelope(np.array(values), rate)


def test_resampling_keeps_times_and_straight_lines() -> None:
    ramp = Envelope(np.linspace(0, 1, 126), 125.0)
    slow = ramp.resampled(50.0)
    assert slow.seconds == ramp.seconds
    np.testing.assert_allclose(slow.values, np.linspace(0, 1, 51), atol=1e-6)


def test_slices_are_cut_by_time_and_zero_outside() -> None:
    ramp = Envelope(np.linspace(0, 1, 126), 125.0)
    part = ramp.slice(0.5, 0.2)
    np.testing.assert_allclose(part.values, np.linspace(0.5, 0.7, 26), atol=1e-6)
    beyond = ramp.slice(0.8, 0.4)
    assert len(beyond.values) == 51
    assert beyond.values[25] == 1.0
    assert not beyond.values[26:].any()
    with pytest.raises(ValueError, match=r"-0\.1 seconds"):
        ramp.slice(0.5, -0.1)


def test_there_is_silence_around_an_envelope_and_its_last_value_bears_rounding() -> None:
    envelope = Envelope(np.array([0.2, 0.4]), 10.0)
    assert envelope.at(np.array([-0.01, 0.0, 0.05, 0.1 + 5e-7, 0.11])).tolist() == pytest.approx([0, 0.2, 0.3, 0.4, 0])
    assert len(Envelope(np.ones(30), 100.0).resampled(100.0).values) == 30  # 0.29 * 100 is a little less than 29
    assert len(Envelope(np.ones(126), 125.0).resampled(2.6).values) == 3


@pytest.mark.parametrize("decay", [0.02, 0.1, 0.4])
def test_onsets_are_the_moments_of_impact(decay: float) -> None:
    times = [0.3, 0.81, 1.337]
    found = Envelope.from_audio(struck(times, decay), 16_000).onsets()
    assert len(found) == 3
    np.testing.assert_allclose(found, times, atol=0.013)


def steps(*rises: tuple[int, float], count: int = 120) -> np.ndarray:
    """An envelope that jumps at some indices, by so much of the mu-law level."""
    level = sum((np.arange(count) >= at) * by for at, by in rises) + np.zeros(count)
    return inverse_mu_law(torch.from_numpy(level)).numpy()


@pytest.mark.parametrize(
    ("rises", "onsets"),
    [
        ([(50, 0.5)], [49.5]),  # half of the power, between two values; one onset, though four rises are equal
        ([(3, 0.5)], [2.5]),
        ([(0, 0.5)], [0.0]),  # loud from the start
        ([(50, 0.09)], []),
        ([(50, 0.11)], [49.5]),
        ([(0, 0.3), (50, 0.09)], [0.0]),
        ([(50, 0.3), (60, 0.3)], [49.5, 59.5]),
        ([(50, 0.3), (58, 0.3)], [49.5]),  # too near to each other
    ],
)
def test_onsets_of_jumps(rises: list[tuple[int, float]], onsets: list[float]) -> None:
    np.testing.assert_allclose(onset_times(steps(*rises), 125.0) * 125, onsets, atol=1e-5)


def test_an_onset_is_where_the_power_is_half_way_from_its_valley_to_its_peak() -> None:
    power = np.interp(np.arange(100), [50, 53], [0.01, 0.09])
    np.testing.assert_allclose(onset_times(np.sqrt(power), 125.0)[-1] * 125, 51.5, atol=1e-4)


def test_silence_and_a_steady_hum_have_no_onsets() -> None:
    assert len(onset_times(np.zeros(500, np.float32), 125.0)) == 0
    hum = rms_envelope(1e-4 * torch.randn(32_000, generator=torch.Generator().manual_seed(0)))
    assert len(onset_times(hum.numpy(), 125.0)) == 0


def test_matches_are_one_to_one() -> None:
    assert pair_times(np.array([0.1, 0.12, 0.5]), np.array([0.11, 0.58]), 0.05) == [(0, 0)]
    assert pair_times(np.array([0.0, 0.06]), np.array([0.05, 0.1]), 0.05) == [(0, 0), (1, 1)]
