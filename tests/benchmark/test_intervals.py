import numpy as np
import pytest

from foleygram.benchmark.comparison import compare_reports
from foleygram.benchmark.intervals import bootstrap_intervals, difference_intervals
from foleygram.benchmark.report import Report
from foleygram.evaluation.scores import Scores


def rows(values, videos=None):
    videos = range(len(values)) if videos is None else videos
    return [{"video_id": f"{v:03d}", "start": 0.0, "envelope_l1": x} for v, x in zip(videos, values, strict=True)]


def test_the_interval_of_a_mean_is_the_formulas():
    values = np.random.default_rng(0).normal(5, 2, size=200)
    low, high = bootstrap_intervals(rows(values.tolist()), seed=1)["envelope_l1"]
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    assert bootstrap_intervals(rows(values.tolist()), seed=1)["envelope_l1"] == (low, high)


def test_clips_of_one_video_are_drawn_together():
    values = np.random.default_rng(0).normal(size=20).repeat(10)
    videos = np.arange(20).repeat(10)
    apart = bootstrap_intervals(rows(values.tolist()), seed=0)["envelope_l1"]
    together = bootstrap_intervals(rows(values.tolist(), videos.tolist()), seed=0)["envelope_l1"]
    widths = [interval.high - interval.low for interval in (together, apart)]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(10), rel=0.2)


def test_too_few_videos_have_no_interval():
    assert bootstrap_intervals(rows([1.0, 2.0, 3.0, 4.0]), seed=0) == {}
    assert bootstrap_intervals(rows([1.0] * 10, [0] * 10), seed=0) == {}


def test_a_paired_difference_is_sharper_than_either_interval():
    rng = np.random.default_rng(0)
    before = rng.normal(0, 5, size=50)
    now = before + 0.3 + rng.normal(0, 0.1, size=50)
    low, high = difference_intervals(rows(now.tolist()), rows(before.tolist()), seed=0)["envelope_l1"]
    assert 0.2 < low < 0.3 < high < 0.4
    with pytest.raises(ValueError, match="not about the same clips"):
        difference_intervals(rows([1.0]), rows([1.0], [7]), seed=0)


def report(shift=0.0, **protocol):
    values = (np.random.default_rng(3).normal(size=30) + shift).tolist()
    scorer_rows = rows(values)
    scores = {"reference": ([], {}), "v": (scorer_rows, {"num_clips": 30, "envelope_l1": float(np.mean(values))})}
    facts = {"references_sha256": "a", "onsets": {"delta": 0.25}, "checkpoint": "x", "seed": 0} | protocol
    return Report("t", facts, {name: Scores(*value) for name, value in scores.items()})


def test_a_change_has_the_interval_of_its_difference():
    changes = compare_reports(report(0.5, checkpoint="y"), report().content(), seed=0)
    change = changes["v"]["envelope_l1"]
    assert change.now - change.before == pytest.approx(0.5) and change.clear
    assert change.interval == pytest.approx((0.5, 0.5))
    assert "num_clips" not in changes["v"]
    assert not compare_reports(report(), report().content(), seed=0)["v"]["envelope_l1"].clear


def test_reports_scored_in_different_ways_are_not_compared():
    other = report(onsets={"delta": 0.3}, references_sha256="b").content()
    with pytest.raises(ValueError, match=r"onsets.delta \(0.3 there, 0.25 here\).*references_sha256"):
        compare_reports(report(), other, seed=0)
