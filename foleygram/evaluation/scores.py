"""Every figure of a set of generated clips, clip by clip and over the set (paper notes, section 6)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from foleygram.evaluation import envelopes
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.metrics import EnvelopeCorrelation, EnvelopeL1, EnvelopeLag, Leak, MaterialAccuracy, OnsetF1
from foleygram.evaluation.onsets import TOLERANCES_SEC, detect_onsets, pair_onsets, peak

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class ScoredClip:
    """Mono sounds (samples,), equally long, of one clip; event times in seconds from its start, ascending.

    `material` is None where the clip has several or none: the judge is not asked then.
    """

    generated: Tensor
    reference: Tensor
    sample_rate: int
    event_times: list[float]
    event_actions: list[str]
    material: str | None
    video_id: str
    start: float


class Scores(NamedTuple):
    """One row per clip, and the figures over all of them; None where there is nothing to say."""

    rows: list[Row]
    summary: dict[str, float | int | None]


class ClipScorer:
    """Scores clips one after another; `scores` may be asked for at any time."""

    def __init__(self, judge: MaterialJudge) -> None:
        self.judge = judge
        self.rows: list[Row] = []
        self.onsets = {_milliseconds(tolerance): OnsetF1(tolerance) for tolerance in TOLERANCES_SEC}
        self.curves: dict[str, Metric] = {
            "envelope_l1": EnvelopeL1(),
            "envelope_correlation": EnvelopeCorrelation(),
            "median_absolute_lag_ms": EnvelopeLag(),
            "leak_db": Leak(),
        }
        self.material = MaterialAccuracy()

    def add(self, clip: ScoredClip) -> Row:
        """Score a clip; returns its row. Raises ValueError for sounds that are not mono, equally long and finite."""
        _check(clip)
        detected = detect_onsets(clip.generated, clip.sample_rate, reference_peak=peak(clip.reference))
        for onset_metric in self.onsets.values():
            onset_metric.update(detected, clip.event_times, clip.event_actions)
        curves = [envelopes.clip_envelope(sound, clip.sample_rate) for sound in (clip.generated, clip.reference)]
        for metric in self.curves.values():
            metric.update(*curves)
        heard = self.judge.hear(clip.generated[None], clip.sample_rate)[0] if clip.material else None
        if clip.material:
            self.material.update([heard], [clip.material])
        matched: Row = {
            f"matched_{_milliseconds(tolerance)}": len(pair_onsets(detected, clip.event_times, tolerance).detected)
            for tolerance in TOLERANCES_SEC
        }
        row: Row = {
            "video_id": clip.video_id,
            "start": clip.start,
            "material": clip.material,
            "heard": heard,
            "num_detected": len(detected),
            "num_annotated": len(clip.event_times),
            **matched,
            "envelope_l1": envelopes.envelope_l1(*curves),
            "envelope_correlation": envelopes.envelope_correlation(*curves),
            "lag_ms": envelopes.envelope_lag(*curves),
            "leak_db": envelopes.leak_db(*curves),
        }
        self.rows.append(row)
        return row

    def scores(self) -> Scores:
        """Rows and figures of everything added so far; onset figures are micro averages."""
        summary: dict[str, float | int | None] = {"num_clips": len(self.rows)}
        for tolerance, onset_metric in self.onsets.items():
            summary |= {f"onset_{key}_{tolerance}": value for key, value in onset_metric.compute()._asdict().items()}
        summary["onset_count_ratio"] = summary.pop(f"onset_count_ratio_{_milliseconds(TOLERANCES_SEC[0])}")
        summary.pop(f"onset_count_ratio_{_milliseconds(TOLERANCES_SEC[1])}")
        if self.rows:
            summary |= {name: _number(metric.compute()) for name, metric in self.curves.items()}
            summary["material_accuracy"] = _number(self.material.compute())
        for name, column in (("material", "material"), ("lag", "lag_ms"), ("leak", "leak_db")):
            summary[f"num_{name}"] = sum(row[column] is not None for row in self.rows)
        return Scores(self.rows, summary)


def score_clips(pairs: Iterable[ScoredClip], judge: MaterialJudge) -> Scores:
    """Onsets, envelopes and material of generated clips against their references."""
    scorer = ClipScorer(judge)
    for clip in pairs:
        scorer.add(clip)
    return scorer.scores()


def _check(clip: ScoredClip) -> None:
    name = f"{clip.video_id} at {clip.start:g} s"
    if clip.generated.dim() != 1 or clip.generated.shape != clip.reference.shape:
        shapes = tuple(clip.generated.shape), tuple(clip.reference.shape)
        raise ValueError(f"{name}: sounds of shapes {shapes}; they must be mono, (samples,), and equally long")
    if not bool(torch.isfinite(clip.generated).all()):
        raise ValueError(f"{name}: the generated sound holds samples that are not finite")


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _number(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)
