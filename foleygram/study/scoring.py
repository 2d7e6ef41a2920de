"""Sets of pairs scored by the chosen metrics: what the two doors of `evaluate` have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.scores import CLIP_METRICS, ClipScorer, Scores
from foleygram.processes import Place, from_all, progress_bar
from foleygram.study.intervals import bootstrap_intervals
from foleygram.study.pairs import Pair, Remarks, read_pair
from foleygram.study.protocol import scoring_protocol
from foleygram.study.report import Report

METRICS = (*CLIP_METRICS, "alignment")


def choose_metrics(names: Sequence[str] | None, *, alignment: bool = False, judge: bool = True) -> tuple[str, ...]:
    """The metrics that names stand for, each once; by default all that can be had.

    `alignment` says whether there are encoders to look at, `judge` whether there is a material judge. Raises ValueError
    listing all there are for a name that is none, and for one that cannot be had.
    """
    lacking = {"alignment": not alignment, "material": not judge}
    if names is None:
        return tuple(name for name in METRICS if not lacking.get(name))
    unknown = sorted(set(names) - set(METRICS))
    if unknown:
        raise ValueError(f"unknown metrics {', '.join(unknown)}; there are {', '.join(METRICS)}")
    for name in names:
        if lacking.get(name):
            wanted = {"alignment": "a checkpoint's encoders", "material": "a judge, --judge FOLDER"}[name]
            raise ValueError(f"the metric {name} needs {wanted}")
    return tuple(dict.fromkeys(names))


def score(
    pairs: Mapping[str, list[Pair]],
    hearing: MaterialJudge | None,
    metrics: Sequence[str],
    system: Mapping[str, Any],
    place: Place,
    *,
    judge: str | Path | None,
    seed: int,
    show_progress: bool,
) -> Report:
    """Score each named set of pairs; the first set is the references. Each process reads its share."""
    total = sum(len(place.share(members)) for members in pairs.values())
    with progress_bar("scoring", total, shown=place.first and show_progress) as advance:
        scores, remarks = score_pairs(pairs, hearing, metrics, place, advance)
    references = next(iter(pairs.values()))
    return Report(
        title="",
        protocol=dict(system) | scoring_protocol(metrics, references, Path(judge) if hearing and judge else None),
        scores=scores,
        pairs=dict(pairs),
        intervals={name: bootstrap_intervals(found.rows, seed=seed) for name, found in scores.items()},
        remarks=remarks,
    )


def score_pairs(
    pairs: Mapping[str, list[Pair]],
    judge: MaterialJudge | None,
    metrics: Sequence[str],
    place: Place,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Scores], Remarks]:
    """Scores of each named set of pairs, and what is remarkable about its files."""
    remarks, scores, done = Remarks(), {}, 0
    for name, members in pairs.items():
        scorer = ClipScorer(judge, [metric for metric in metrics if metric in CLIP_METRICS])
        for pair in place.share(members):
            clip = read_pair(pair, remarks)
            if clip is not None:
                scorer.add(clip)
            done += 1
            if progress:
                progress(done)
        scores[name] = scorer.scores()
    return scores, gather_remarks(remarks)


def gather_remarks(remarks: Remarks) -> Remarks:
    """The remarks of all processes, each once."""
    parts = from_all(remarks)
    names = [field.name for field in fields(Remarks)]
    return Remarks(**{name: sorted({line for part in parts for line in getattr(part, name)}) for name in names})
