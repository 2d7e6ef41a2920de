"""Loudness of sounds whose level is known, and gains that reach a target without clipping."""

import math

import pytest
import torch

from foleygram.media.loudness import PEAK_DB, loudness, loudness_gain


def sine(amplitude, seconds=3.0, rate=48_000, channels=1):
    return (amplitude * torch.sin(torch.arange(round(seconds * rate)) * 2 * math.pi * 997 / rate)).expand(channels, -1)


@pytest.mark.parametrize("decibels", [-40, -20, -3])
def test_a_sine_of_997_hz_measures_as_the_standard_says(decibels):
    """ITU-R BS.1770: 0 dBFS at 997 Hz in one channel is -3.01 LKFS, in two channels 0."""
    amplitude = 10 ** (decibels / 20)
    assert loudness(sine(amplitude), 48_000) == pytest.approx(decibels - 3.01, abs=0.05)
    assert loudness(sine(amplitude, channels=2), 48_000) == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize("seconds", [0.1, 0.4, 3.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_gain_reaches_the_target_at_any_length(seconds, rate):
    audio = sine(0.01, seconds, rate)
    assert loudness(loudness_gain(audio, rate, -30.0) * audio, rate) == pytest.approx(-30, abs=0.05)


def test_no_gain_clips_and_silence_has_none():
    click = torch.zeros(1, 48_000)
    click[0, 1_000] = 0.1
    assert loudness_gain(click, 48_000, -10.0) == pytest.approx(10 ** (PEAK_DB / 20) / 0.1)
    assert loudness_gain(torch.zeros(2, 48_000), 48_000, -23.0) == 1.0
