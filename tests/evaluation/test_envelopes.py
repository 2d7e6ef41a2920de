import math

import pytest
import torch

from foleygram.evaluation.envelopes import (
    clip_envelope,
    envelope_correlation,
    envelope_l1,
    envelope_lag,
    leak_db,
    silent_spans,
)

RATE = 16_000


def bursts(shift_sec=0.0, seconds=4.0, level=0.4):
    audio = torch.zeros(round(seconds * RATE))
    t = torch.arange(round(0.12 * RATE)) / RATE
    burst = torch.sin(2 * torch.pi * 700 * t) * torch.exp(-t / 0.025)
    for time, gain in ((0.7, 1.0), (1.35, 0.5), (2.5, 0.8), (3.1, 0.6)):
        start = round((time + shift_sec) * RATE)
        audio[start : start + len(burst)] += level * gain * burst
    return audio


def envelope(audio):
    return clip_envelope(audio, RATE)


def test_a_sound_follows_itself_perfectly():
    curve = envelope(bursts())
    assert envelope_l1(curve, curve) == 0
    assert envelope_correlation(curve, curve) == pytest.approx(1)
    assert envelope_lag(curve, curve) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("milliseconds", [-120, -33, -8, 5, 20, 47, 100, 300])
def test_lag_is_the_shift(milliseconds):
    lag = envelope_lag(envelope(bursts(milliseconds / 1000)), envelope(bursts()))
    assert lag == pytest.approx(milliseconds, abs=1.5)


def test_loudness_alone_changes_neither_correlation_nor_lag():
    loud, soft = envelope(bursts()), envelope(bursts(level=0.04))
    assert envelope_correlation(soft, loud) == pytest.approx(1, abs=1e-5)
    assert envelope_lag(soft, loud) == pytest.approx(0, abs=1e-3)
    assert envelope_l1(soft, loud) == pytest.approx(0.9 * float(loud.mean()), rel=1e-4)


def test_a_silent_generated_clip_correlates_with_nothing_and_has_no_lag():
    silent, reference = envelope(torch.zeros(4 * RATE)), envelope(bursts())
    assert envelope_correlation(silent, reference) == 0
    assert envelope_lag(silent, reference) is None
    assert leak_db(silent, reference) == -120


def test_an_inaudible_reference_gives_none():
    hiss = envelope(2e-5 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(0)))
    assert envelope_correlation(envelope(bursts()), hiss) is None
    assert envelope_lag(envelope(bursts()), hiss) is None
    assert leak_db(envelope(bursts()), hiss) is None


@pytest.mark.parametrize("num_samples", [1, 128, 512, 639])
def test_a_clip_shorter_than_its_windows_gives_none(num_samples):
    short = envelope(torch.full((num_samples,), 0.3))
    assert envelope_l1(short, short) == 0
    assert envelope_correlation(short, short) is envelope_lag(short, short) is leak_db(short, short) is None


def test_a_flat_envelope_correlates_with_nothing():
    reference = envelope(bursts())
    assert envelope_correlation(torch.full_like(reference, 0.1), reference) == 0


def test_noise_that_follows_nothing_has_no_small_lag():
    generator, reference = torch.Generator().manual_seed(0), envelope(bursts())
    noises = [envelope(0.1 * torch.randn(4 * RATE, generator=generator)) for _ in range(9)]
    lags = torch.tensor([envelope_lag(noise, reference) for noise in noises])
    assert lags.abs().median() > 60
    assert abs(torch.tensor([envelope_correlation(noise, reference) for noise in noises]).mean()) < 0.05


def test_leak_is_the_level_of_what_sounds_in_the_silences():
    reference = envelope(bursts())
    noise = 0.01 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(0))
    generated = envelope(bursts() + noise)
    expected = 20 * math.log10(0.01 / float(generated.max()))
    assert leak_db(generated, reference) == pytest.approx(expected, abs=0.3)
    assert leak_db(reference, reference) < -60


def test_silence_is_50_db_below_a_reference_that_is_heard_and_leaks_below_the_sounds_own_peak():
    reference, generated = torch.ones(500), torch.full((500,), 0.5)
    reference[100:200], reference[300:400] = 0.005, 0.0025  # -46 and -52 dB
    assert silent_spans(reference).nonzero().flatten().tolist() == list(range(306, 394))
    assert not silent_spans(5e-5 * reference).any()
    generated[300:350], generated[350:400] = 0.0, 0.005
    assert leak_db(generated, reference) == pytest.approx(20 * math.log10(0.01 / math.sqrt(2)), abs=1e-3)
    generated[300:400] = 1e-9
    assert leak_db(generated, reference) == -120


def test_a_lag_longer_than_half_of_the_clip_is_not_taken_for_an_early_sound():
    late, early = torch.zeros(60), torch.zeros(60)
    early[8], late[48] = 0.3, 0.3
    assert envelope_lag(late, early) == pytest.approx(40 * 8, abs=0.5)
    assert envelope_lag(early, late) == pytest.approx(-40 * 8, abs=0.5)


@pytest.mark.parametrize("shapes", [((50,), (51,)), ((2, 50), (2, 50))])
def test_envelopes_of_other_shapes_are_refused(shapes):
    for figure in (envelope_l1, envelope_correlation, envelope_lag, leak_db):
        with pytest.raises(ValueError, match="one clip each, equally long"):
            figure(*map(torch.zeros, shapes))


def test_silences_shorter_than_200_ms_do_not_count():
    reference = torch.ones(500)
    reference[100:124] = 0  # 192 ms
    assert not silent_spans(reference).any()
    assert leak_db(reference, reference) is None
    reference[300:340] = 0  # 320 ms, 50 ms (6 values) less at each end
    assert silent_spans(reference).nonzero().flatten().tolist() == list(range(306, 334))
    reference[450:] = 0
    assert silent_spans(reference)[456:494].all()


def test_rates_other_than_16_khz_give_the_same_curve():
    t = torch.arange(4 * 44_100) / 44_100
    sine = 0.5 * torch.sin(2 * torch.pi * 440 * t)
    curve = clip_envelope(sine, 44_100)
    assert curve.shape == (501,)
    assert curve[50:450].mean() == pytest.approx(0.5 / math.sqrt(2), rel=1e-3)


def test_envelopes_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        envelope_l1(torch.ones(10), torch.ones(11))
