"""Scores of generated clips: a row of values for each, and the metrics over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from foleygram.distributed import all_gather
from foleygram.evaluation import envelopes
from foleygram.evaluation.condfoleygen import onset_agreement
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.onsets import TOLERANCES_SEC, count_onsets, detect_onsets, peak
from foleygram.evaluation.statistics import Row, at_tolerance, summarise, tolerance_ms

CLIP_METRICS = ("onsets", "envelope", "material", "condfoleygen")
"""Groups of metrics that need one clip at a time and no embedding."""


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
    """One row per clip, by video and start, and the metrics over all of them; None where one is not defined."""

    rows: list[Row]
    summary: dict[str, float | int | None]


def score_clip(clip: ScoredClip, metrics: Sequence[str] = CLIP_METRICS, judge: MaterialJudge | None = None) -> Row:
    """The values of a clip for the groups of `metrics`; "material" needs a judge.

    Raises ValueError without that judge, and for sounds that are not mono, equally long and finite.
    """
    if "material" in metrics and judge is None:
        raise ValueError("the material metric needs a judge; give one or leave the metric out")
    _check(clip)
    row: Row = {"video_id": clip.video_id, "start": clip.start, "peak": peak(clip.generated)}
    if "onsets" in metrics and clip.event_times is not None:
        row |= _onset_values(clip, clip.event_times)
    if "envelope" in metrics:
        row |= _envelope_values(clip)
    if "material" in metrics and judge is not None:
        classified_as = judge.classify(clip.generated[None], clip.sample_rate)[0] if clip.material else None
        row |= {"material": clip.material, "classified_as": classified_as}
    if "condfoleygen" in metrics:
        agreement = onset_agreement(clip.generated, clip.reference, clip.sample_rate)
        row |= {f"condfoleygen_{name}": value for name, value in agreement._asdict().items()}
    return row


def _onset_values(clip: ScoredClip, event_times: list[float]) -> Row:
    loudest = peak(clip.reference) if event_times else 1.0  # without events the reference may be digital silence
    detected = detect_onsets(clip.generated, clip.sample_rate, reference_peak=loudest)
    row: Row = {}
    if not event_times:
        row = {"false_onsets": len(detected), "event_free_sec": len(clip.generated) / clip.sample_rate}
    for tolerance in TOLERANCES_SEC:
        counts = count_onsets(detected, event_times, clip.event_actions, tolerance)
        row |= {at_tolerance(name, tolerance_ms(tolerance)): value for name, value in counts._asdict().items()}
    return row


def _envelope_values(clip: ScoredClip) -> Row:
    curves = [envelopes.clip_envelope(sound, clip.sample_rate) for sound in (clip.generated, clip.reference)]
    return {
        "envelope_l1": envelopes.envelope_l1(*curves),
        "envelope_correlation": envelopes.envelope_correlation(*curves),
        "lag_ms": envelopes.envelope_lag(*curves),
        "leak_db": envelopes.leak_db(*curves),
    }


def gather_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of all processes, by video and start."""
    return sorted(
        (row for part in all_gather(rows) for row in part), key=lambda row: (str(row["video_id"]), row["start"])
    )


def scores_of(rows: list[Row]) -> Scores:
    """Rows and the metrics over them, with the number of clips that the means of material, lag and leak are over."""
    summary: dict[str, float | int | None] = {"num_clips": len(rows), **summarise(rows)}
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
