import numpy as np
import pytest
import torch

from foleygram.evaluation.condfoleygen import (
    OnsetAgreement,
    _thinned,
    agreement_of,
    onset_agreement,
)
from foleygram.evaluation.metrics import CondFoleyGenOnsets

RATE = 22_050
EVEN = np.linspace(0.1, 0.9, 2 * RATE)
"""Magnitudes that grow: later onsets are louder."""


def strikes(times, rate=RATE, level=0.5):
    audio = 1e-5 * torch.randn(2 * rate, generator=torch.Generator().manual_seed(0))
    t = torch.arange(round(0.1 * rate)) / rate
    tone = level * torch.sin(2 * torch.pi * 900 * t) * torch.exp(-t / 0.02)
    for time in times:
        audio[round(time * rate) :][: len(tone)] += tone[: len(audio) - round(time * rate)]
    return audio


TIMES = [0.3, 0.7, 1.2, 1.7]


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_a_sound_agrees_with_itself(rate):
    sound = strikes(TIMES, rate)
    assert onset_agreement(sound, sound, rate) == (True, 1.0, pytest.approx(1.0))
    assert onset_agreement(0.2 * sound, sound, rate) == (True, 1.0, pytest.approx(1.0))


def test_a_shift_is_forgiven_up_to_100_ms():
    sound = strikes(TIMES)
    assert onset_agreement(strikes([t + 0.06 for t in TIMES]), sound, RATE).accuracy == 1
    assert onset_agreement(strikes([t + 0.16 for t in TIMES]), sound, RATE).accuracy == 0


def test_onsets_that_are_all_wrong_still_have_an_ap_of_a_half_and_silence_of_one():
    sound = strikes(TIMES)
    wrong = onset_agreement(strikes([t + 0.16 for t in TIMES]), sound, RATE)
    assert wrong == (True, 0.0, pytest.approx(0.5))
    assert onset_agreement(torch.zeros(2 * RATE), sound, RATE) == (False, 0.0, pytest.approx(1.0))


def test_where_the_reference_has_no_onset_only_the_count_is_there():
    silence = torch.zeros(2 * RATE)
    assert onset_agreement(strikes(TIMES), silence, RATE) == (False, None, None)
    assert onset_agreement(silence, silence, RATE) == (True, None, None)


def test_the_tolerance_is_outside_and_the_onset_after_a_dropped_one_stays():
    assert [agreement_of([5000 + gap], [5000], EVEN).accuracy for gap in (2204, 2205)] == [1, 0]
    assert _thinned([0, 500, 1000], {0: 0.1, 500: 0.9, 1000: 0.2}) == [500, 1000]


def test_precision_is_averaged_over_onsets_ranked_by_loudness():
    # Ranked: a false one (the latest, so the loudest), a hit, a false one, a hit, then the missed one with the rest.
    onsets, references = [5000, 12_000, 20_000, 30_000], [5100, 20_500, 26_000]
    found = agreement_of(onsets, references, EVEN)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert not found.same_count


def test_references_after_the_last_generated_onset_is_used_do_not_enter_the_ap():
    found = agreement_of([5000], [5000, 20_000, 30_000], EVEN)
    assert found == (False, pytest.approx(1 / 3), pytest.approx(1.0))


def test_each_onset_serves_once_and_the_louder_of_two_first():
    found = agreement_of([10_000, 11_500], [10_800], EVEN)
    assert found.accuracy == 1
    assert found.average_precision == pytest.approx(1.0)  # the later one is louder: the hit ranks first
    found = agreement_of([10_000, 11_500], [10_800], EVEN[::-1])
    assert found.average_precision == pytest.approx(1.0)
    assert agreement_of([10_000], [9900, 10_100], EVEN).accuracy == 0.5


def test_of_close_onsets_the_louder_is_kept():
    # Kept is 11 000 alone: it is within reach of the second reference and not of the first.
    assert agreement_of([10_000, 11_000], [8600, 12_000], EVEN).accuracy == 0.5
    assert agreement_of([10_000, 11_000], [8600], EVEN).accuracy == 0


def test_an_onset_at_the_very_start_is_no_error():
    assert agreement_of([512], [512], EVEN) == (True, 1.0, pytest.approx(1.0))


def test_over_a_data_set_clips_are_averaged():
    metric = CondFoleyGenOnsets()
    assert metric.compute() == (None, None, None)
    for agreement in (
        OnsetAgreement(True, 1.0, 0.5),
        OnsetAgreement(False, 0.5, 1.0),
        OnsetAgreement(True, None, None),
    ):
        metric.update(agreement)
    assert metric.compute() == (pytest.approx(2 / 3), 0.75, 0.75)
