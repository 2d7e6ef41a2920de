"""Every figure of a set of generated clips, clip by clip and over the set (paper notes, section 6)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from foleygram.distributed import from_all
from foleygram.evaluation import envelopes
from foleygram.evaluation.condfoleygen import CondFoleyGenOnsets, onset_agreement
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.metrics import EnvelopeCorrelation, EnvelopeL1, EnvelopeLag, Leak, MaterialAccuracy, OnsetF1
from foleygram.evaluation.onsets import TOLERANCES_SEC, detect_onsets, pair_onsets, peak

Row = dict[str, str | int | float | None]
CLIP_METRICS = ("onsets", "envelope", "material", "condfoleygen")
"""Groups of figures that one clip has by itself."""


@dataclass(frozen=True)
class ScoredClip:
    """Mono sounds (samples,), equally long, of one clip; event times in seconds from its start, ascending.

    `event_times` is None where nobody annotated the clip: it has no onset scores then. `material` is None where the
    clip has several or none: the judge is not asked then.
    """

    generated: Tensor
    reference: Tensor
    sample_rate: int
    event_times: list[float] | None
    event_actions: list[str]
    material: str | None
    video_id: str
    start: float


class Scores(NamedTuple):
    """One row per clip, by video and start, and the figures over all of them; None where there is nothing to say."""

    rows: list[Row]
    summary: dict[str, float | int | None]


class ClipScorer:
    """Scores clips one after another; `scores` may be asked for at any time.

    `metrics` names the groups of figures; "material" needs a judge. Where torch.distributed runs, each process adds
    its own clips, and `scores`, called by all of them, is about the clips of all.
    """

    def __init__(self, judge: MaterialJudge | None, metrics: Sequence[str] = CLIP_METRICS) -> None:
        if "material" in metrics and judge is None:
            raise ValueError("the material metric needs a judge; give one or leave the metric out")
        self.judge = judge if "material" in metrics else None
        self.rows: list[Row] = []
        self.onsets: dict[int, OnsetF1] = {}
        self.curves: dict[str, Metric] = {}
        if "onsets" in metrics:
            self.onsets = {_milliseconds(tolerance): OnsetF1(tolerance) for tolerance in TOLERANCES_SEC}
        if "envelope" in metrics:
            self.curves = {
                "envelope_l1": EnvelopeL1(),
                "envelope_correlation": EnvelopeCorrelation(),
                "median_absolute_lag_ms": EnvelopeLag(),
                "leak_db": Leak(),
            }
        self.material = MaterialAccuracy()
        self.agreements = CondFoleyGenOnsets() if "condfoleygen" in metrics else None

    def add(self, clip: ScoredClip) -> Row:
        """Score a clip; returns its row. Raises ValueError for sounds that are not mono, equally long and finite."""
        _check(clip)
        row: Row = {"video_id": clip.video_id, "start": clip.start, "peak": peak(clip.generated)}
        if self.onsets and clip.event_times is not None:
            row |= self._add_onsets(clip, clip.event_times)
        if self.curves:
            row |= self._add_envelopes(clip)
        if self.judge is not None:
            row |= self._add_material(clip, self.judge)
        if self.agreements is not None:
            agreement = onset_agreement(clip.generated, clip.reference, clip.sample_rate)
            self.agreements.update(agreement)
            row |= {f"condfoleygen_{name}": _plain(value) for name, value in agreement._asdict().items()}
        self.rows.append(row)
        return row

    def _add_onsets(self, clip: ScoredClip, event_times: list[float]) -> Row:
        detected = detect_onsets(clip.generated, clip.sample_rate, reference_peak=peak(clip.reference))
        actions = clip.event_actions
        row: Row = {
            "num_detected": len(detected),
            "num_annotated": len(event_times),
            "num_hits": actions.count("hit"),
            "num_scratches": actions.count("scratch"),
        }
        for tolerance, metric in self.onsets.items():
            metric.update(detected, event_times, actions)
            found = [actions[index] for index in pair_onsets(detected, event_times, metric.tolerance_sec).annotated]
            row |= {
                f"matched_{tolerance}": len(found),
                f"matched_hits_{tolerance}": found.count("hit"),
                f"matched_scratches_{tolerance}": found.count("scratch"),
            }
        return row

    def _add_envelopes(self, clip: ScoredClip) -> Row:
        curves = [envelopes.clip_envelope(sound, clip.sample_rate) for sound in (clip.generated, clip.reference)]
        for metric in self.curves.values():
            metric.update(*curves)
        return {
            "envelope_l1": envelopes.envelope_l1(*curves),
            "envelope_correlation": envelopes.envelope_correlation(*curves),
            "lag_ms": envelopes.envelope_lag(*curves),
            "leak_db": envelopes.leak_db(*curves),
        }

    def _add_material(self, clip: ScoredClip, judge: MaterialJudge) -> Row:
        heard = judge.hear(clip.generated[None], clip.sample_rate)[0] if clip.material else None
        if clip.material:
            self.material.update([heard], [clip.material])
        return {"material": clip.material, "heard": heard}

    def scores(self) -> Scores:
        """Rows and figures of everything added so far; onset figures are micro averages."""
        gathered = (row for part in from_all(self.rows) for row in part)
        rows = sorted(gathered, key=lambda row: (str(row["video_id"]), row["start"]))
        summary: dict[str, float | int | None] = {"num_clips": len(rows)}
        annotated = any("num_annotated" in row for row in rows)
        for tolerance, onset_metric in self.onsets.items():
            figures = computed(onset_metric)._asdict()
            summary |= {f"onset_{key}_{tolerance}": value if annotated else None for key, value in figures.items()}
            summary["onset_count_ratio"] = summary.pop(f"onset_count_ratio_{tolerance}")
        if rows:
            summary |= {name: _number(computed(metric)) for name, metric in self.curves.items()}
        if rows and self.judge is not None:
            summary["material_accuracy"] = _number(computed(self.material))
        if rows and self.agreements is not None:
            agreements = computed(self.agreements)._asdict()
            summary |= {f"condfoleygen_{name}": value for name, value in agreements.items()}
        for name, column in (("material", "material"), ("lag", "lag_ms"), ("leak", "leak_db")):
            if any(column in row for row in rows):
                summary[f"num_{name}"] = sum(row[column] is not None for row in rows)
        return Scores(rows, summary)


def _check(clip: ScoredClip) -> None:
    name = f"{clip.video_id} at {clip.start:g} s"
    if clip.generated.dim() != 1 or clip.generated.shape != clip.reference.shape:
        shapes = tuple(clip.generated.shape), tuple(clip.reference.shape)
        raise ValueError(f"{name}: sounds of shapes {shapes}; they must be mono, (samples,), and equally long")
    if not bool(torch.isfinite(clip.generated).all()):
        raise ValueError(f"{name}: the generated sound holds samples that are not finite")


def _plain(value: float | None) -> float | None:
    return None if value is None else float(value)


def computed(metric: Metric) -> Any:
    """A metric's value, without its warning where this process added nothing: others may have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return metric.compute()


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _number(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)
