"""A sound is compared with its envelope by closed forms; what is outside the tolerances is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.envelope import Envelope
from foleygram.production.comparison import Comparison, compare_sound, deviations, hits_after_end

RATE = 16_000


def noise(envelope, seconds, seed=0):
    """Noise that has an envelope's level at every sample."""
    clock = np.arange(round(seconds * RATE)) / RATE
    sound = envelope.at(clock) * np.random.default_rng(seed).standard_normal(len(clock))
    return torch.from_numpy(sound.astype(np.float32))


def flat(level_db, seconds=4.0):
    return Envelope(np.full(round(seconds * 125) + 1, 10 ** (level_db / 20), np.float32), 125.0)


HITS = draw_hits([Hit(time, 0.1) for time in (0.5, 1.2, 1.9, 2.8)])
GOOD = Comparison(0.001, 0.5, 0.95, 0.5, 0.0, 4, 0, 0, -80.0)


def test_a_sound_that_follows_its_envelope_has_no_deviation():
    comparison = compare_sound(noise(HITS, 4.0), RATE, HITS)
    assert deviations(comparison) == []
    assert (comparison.onsets_asked, comparison.onsets_missing, comparison.onsets_extra) == (4, 0, 0)
    assert comparison.correlation > 0.95 and abs(comparison.level_db) < 0.5


def test_a_flat_envelope_that_comes_out_8_db_lower_with_gaps():
    sound = noise(flat(-34), 4.0)
    sound[20_000:30_000] = 0
    comparison = compare_sound(sound, RATE, flat(-26))
    assert comparison.correlation is None or comparison.correlation == 0
    assert comparison.level_db == pytest.approx(-8 + 10 * np.log10(54 / 64), abs=0.3)
    assert comparison.dropout == pytest.approx(10 / 64, abs=0.02)
    found = " ".join(deviations(comparison))
    assert "dB below the level asked for" in found and "drops out in 15%" in found


def test_silence_that_is_asked_for_and_not_kept():
    silence = Envelope(np.zeros(501, np.float32), 125.0)
    assert deviations(compare_sound(torch.zeros(4 * RATE), RATE, silence)) == []
    assert deviations(compare_sound(noise(flat(-60), 4.0), RATE, silence)) == []
    comparison = compare_sound(noise(HITS, 4.0), RATE, silence)
    assert comparison.relative_l1 is None and comparison.onsets_extra == 4
    assert any("where silence is asked for (at most -50 dBFS)" in line for line in deviations(comparison))


def test_silence_where_hits_are_asked_for():
    found = deviations(compare_sound(torch.zeros(4 * RATE), RATE, HITS))
    assert any("correlates 0.00" in line for line in found) and "4 of 4 onsets are missing" in found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"correlation": 0.67}, "correlates 0.67 with the one asked for"),
        ({"relative_l1": 292.0}, "E-L1 is 292.00 times the mean level"),
        ({"level_db": 12.7}, "12.7 dB above the level"),
        ({"onsets_missing": 3}, "3 of 4 onsets are missing"),
        ({"onsets_extra": 5}, "5 of its 9 onsets were not asked for"),
        ({"silence_dbfs": -23.0}, "reaches -23 dBFS where silence is asked for"),
        ({"dropout": 0.3}, "drops out in 30%"),
    ],
)
def test_each_measure_has_its_own_words(change, words):
    assert deviations(GOOD) == []
    (found,) = deviations(replace(GOOD, **change))
    assert words in found


def test_hits_after_the_end_are_counted_and_named():
    assert hits_after_end(HITS, 4.0) == []
    assert hits_after_end(HITS, 1.5) == ["2 of 4 hits lie after the film's end at 1.50 s (first at 1.90 s)"]
