import math

import numpy as np
import pytest
import torch

from foleygram.evaluation.condfoleygen import onset_agreement
from foleygram.evaluation.envelopes import clip_envelope
from foleygram.evaluation.metrics import (
    CondFoleyGenOnsets,
    EnvelopeCorrelation,
    EnvelopeL1,
    EnvelopeLag,
    Leak,
    OnsetF1,
)
from foleygram.evaluation.onsets import detect_onsets, peak
from foleygram.evaluation.scores import ScoredClip, score_clip
from foleygram.evaluation.statistics import STATISTICS, columns_of, summarise

ONCE = np.ones((1, 12), int)


def clips():
    """Twelve rows with holes: clips without annotation, without a lag, without a material."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(12):
        row = {
            "video_id": str(i), "start": 0.0, "lag_ms": rng.normal() if i % 5 else None,
            "leak_db": rng.normal() if i % 3 else None, "envelope_l1": rng.random(),
            "envelope_correlation": rng.random() if i % 4 else None,
            "material": "wood" if i % 2 else None,
            "classified_as": ("wood" if i % 4 == 1 else "metal") if i % 2 else None,
            "condfoleygen_same_count": float(i % 2), "condfoleygen_accuracy": rng.random() if i % 3 else None,
            "condfoleygen_average_precision": rng.random() if i % 3 else None,
        }  # fmt: skip
        if i != 7:  # this clip has no annotation
            row |= {"num_detected": int(rng.integers(4)), "num_annotated": 4, "num_hits": 2, "num_scratches": 1}
            for tolerance in (50, 100):
                matched = int(rng.integers(row["num_detected"] + 1))
                row |= {f"matched_{tolerance}": matched, f"matched_hits_{tolerance}": min(matched, 2),
                        f"matched_scratches_{tolerance}": max(0, matched - 2)}  # fmt: skip
        if i in (2, 9):  # in these clips nothing happens
            row |= {"num_annotated": 0, "num_hits": 0, "num_scratches": 0, "false_onsets": i, "event_free_sec": 4.0}
        rows.append(row)
    return rows


@pytest.mark.parametrize("name", STATISTICS)
def test_a_weight_is_how_often_a_clip_is_there(name):
    rows = clips()
    times = np.random.default_rng(2).integers(4, size=(5, 12))
    found = STATISTICS[name](columns_of(rows), times)
    for value, counts in zip(found, times, strict=True):
        repeated = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        assert value == pytest.approx(summarise(repeated)[name])


def test_summaries_equal_plain_arithmetic():
    rows, summary = clips(), summarise(clips())
    annotated = [row for row in rows if "num_annotated" in row]
    matched, detected, true = (sum(r[k] for r in annotated) for k in ("matched_50", "num_detected", "num_annotated"))
    assert summary["onset_precision_50"] == pytest.approx(matched / detected)
    assert summary["onset_recall_50"] == pytest.approx(matched / true)
    harmonic = 2 / (detected / matched + true / matched)
    assert summary["onset_f1_50"] == pytest.approx(harmonic)
    assert summary["onset_count_ratio"] == pytest.approx(detected / true)
    assert summary["median_absolute_lag_ms"] == pytest.approx(
        np.median([abs(row["lag_ms"]) for row in rows if row["lag_ms"] is not None])
    )
    assert summary["leak_db"] == pytest.approx(np.median([r["leak_db"] for r in rows if r["leak_db"] is not None]))
    assert summary["material_accuracy"] == 0.5
    assert summary["false_onsets_per_minute"] == pytest.approx(11 / (8 / 60))


def test_onsets_of_nothing():
    """Nothing found where nothing is annotated is right; where something is, found or not, it is wrong."""
    names = ("onset_precision_50", "onset_recall_50", "onset_f1_50", "onset_count_ratio")
    for detected, annotated, expected in ((0, 0, (1, None, 1, None)), (3, 0, (0, None, 0, None)), (0, 3, (0, 0, 0, 0))):
        row = {"video_id": "a", "start": 0.0, "matched_50": 0, "num_detected": detected, "num_annotated": annotated}
        assert tuple(summarise([row])[name] for name in names) == expected
    columns = columns_of([row, {"video_id": "b", "start": 0.0}])
    assert math.isnan(STATISTICS["onset_f1_50"](columns, np.array([[0, 1]]))[0])


def test_a_column_that_no_clip_has_gives_no_metric_and_one_without_a_value_none():
    assert summarise([{"video_id": "a", "start": 0.0, "leak_db": None}]) == {"leak_db": None}
    assert summarise([]) == {}


def test_clap_scores_of_any_network_are_means():
    rows = [
        {"video_id": "a", "start": 0.0, "audio_score_x": 0.5},
        {"video_id": "b", "start": 0.0, "audio_score_x": 1.0},
    ]
    assert summarise([*rows, {"video_id": "c", "start": 0.0}]) == {"audio_score_x": 0.75}


def test_torchmetrics_give_the_summary_of_the_same_clips():
    generator, rows = torch.Generator().manual_seed(0), []
    onsets, agreements = {50: OnsetF1(0.05), 100: OnsetF1(0.1)}, CondFoleyGenOnsets()
    curves = {
        "envelope_l1": EnvelopeL1(), "envelope_correlation": EnvelopeCorrelation(),
        "median_absolute_lag_ms": EnvelopeLag(), "leak_db": Leak(),
    }  # fmt: skip
    for number in range(4):
        times = [0.2, 0.7] if number else []
        reference = torch.zeros(16_000)
        for time in times:
            start = round(16_000 * time)
            reference[start : start + 800] += torch.linspace(1, 0, 800) * torch.randn(800, generator=generator)
        generated = torch.roll(reference, 300 * number) + 1e-3 * torch.randn(16_000, generator=generator)
        actions = ["hit", "scratch"][: len(times)]
        clip = ScoredClip(generated, reference, 16_000, times, actions, None, str(number), 0.0)
        rows.append(score_clip(clip, ("onsets", "envelope", "condfoleygen")))
        detected = detect_onsets(generated, 16_000, reference_peak=peak(reference))
        for metric in onsets.values():
            metric.update(detected, times, actions)
        for metric in curves.values():
            metric.update(clip_envelope(generated, 16_000), clip_envelope(reference, 16_000))
        agreements.update(onset_agreement(generated, reference, 16_000))
    summary = summarise(rows)
    for tolerance, metric in onsets.items():
        values = metric.compute()._asdict()
        assert values.pop("count_ratio") == summary["onset_count_ratio"]
        assert {f"onset_{name}_{tolerance}": value for name, value in values.items()}.items() <= summary.items()
    assert {name: float(metric.compute()) for name, metric in curves.items()}.items() <= summary.items()
    named = {f"condfoleygen_{name}": value for name, value in agreements.compute()._asdict().items()}
    assert named.items() <= summary.items()
