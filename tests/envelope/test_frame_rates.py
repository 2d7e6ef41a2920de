"""Predicted hits of the shipped miniature are on time at every frame rate; `benchmarks/frame_rates.py` prints them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.frame_rates import RATES, SECONDS, SEED, load_predictor, measure_lags
from foleygram.synthetic.drumstick.render import plan_video


def median_lag(rate, videos, folder):
    predictor, spec = load_predictor(Path("checkpoints/mini"))
    plans = [plan_video(SEED, index, seconds=SECONDS) for index in range(videos)]
    lags, num_found, num_hits = measure_lags(predictor, spec, plans, Fraction(rate), folder)
    assert len(lags) > 0.85 * max(num_found, num_hits)
    return float(np.median(lags))


def test_hits_are_on_time_at_60_frames_per_second(tmp_path):
    assert abs(median_lag(60, 3, tmp_path)) < 0.008  # 18 ms early if every frame is read


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_the_median_lag_is_within_5_ms(tmp_path, rate):
    assert abs(median_lag(rate, 12, tmp_path)) <= 0.005
