"""Does the GRAM volume of a generated sound say how good it is: rank correlation over clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from foleygram.alignment.volume import gram_volume
from foleygram.benchmark.intervals import LEVEL, MIN_VIDEOS, NUM_RESAMPLES, Interval
from foleygram.benchmark.output import read_report
from foleygram.benchmark.protocol import versions
from foleygram.benchmark.report import Finding, Report
from foleygram.benchmark.sounds import REFERENCE, ClipSounds
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.experiments.plots import draw_dots
from foleygram.files import read_json
from foleygram.media.audio import fit_length, read_audio
from foleygram.pipeline.pipeline import FoleyGRAMPipeline

POOLED = "all conditions"
SUCCESS = ("material right", "onset F1, 50 ms", "envelope correlation", "cosine to the reference")
TEXT = (
    "Spearman's correlation, over clips, of the volume of (video, caption, generated sound) with success; a useful "
    "volume is small where the sound is good, so the correlation is negative. 95% intervals over videos. The cosine to "
    "the reference sound is by the same audio encoder that the volume uses, so it is no independent success. The "
    "distance of sets (FAD) has no value for a clip."
)


def volume_success(checkpoint: str | Path, data: str | Path, report: Path, *, split: str = "test") -> Report:
    """Volumes of the sounds behind a `report.json`, which lie in `sounds` beside it, against the report's scores.

    Raises ValueError where the sounds are of other clips than those of `data`.
    """
    content = read_report(report)
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint)
    dataset = GreatestHits(data, split, spec=pipeline.spec, fields=("frames", "envelope_audio"))
    places = {(clip.video_id, clip.start): index for index, clip in enumerate(dataset.clips)}
    sounds = ClipSounds(report / "sounds", read_json(report / "sounds" / "sounds.json"))
    rows: list[dict[str, Any]] = []
    for condition, scored in content["clips"].items():
        if condition != REFERENCE:
            for row in scored:
                if (row["video_id"], row["start"]) not in places:
                    raise ValueError(f"{report}: clip {row['video_id']} at {row['start']:g} s is not in {data}")
                index = places[row["video_id"], row["start"]]
                rows.append({"condition": condition, "index": index, **row})
    embedded = _embedded(pipeline, dataset, sorted({row["index"] for row in rows}))
    for row in rows:
        path = sounds.path(row["condition"], dataset.clips[row["index"]])
        wave = read_audio(path, sample_rate=pipeline.spec.envelope_sample_rate)[0]
        wave = fit_length(wave[None], dataset[row["index"]]["envelope_audio"].shape[-1])
        own = pipeline.parts.audio_encoder.embed_waveform(wave).float()[0]
        clip = embedded[row["index"]]
        row["volume"] = float(gram_volume(torch.stack([clip["video"], clip["text"], own])))
        row["cosine to the reference"] = float(own @ clip["audio"])
    return _report(rows, content["protocol"])


@torch.inference_mode()
def _embedded(
    pipeline: FoleyGRAMPipeline, dataset: GreatestHits, indices: Sequence[int]
) -> dict[int, dict[str, Tensor]]:
    found = {}
    for index in indices:
        item = dataset[index]
        batch = {"frames": item["frames"][None], "caption": [item["caption"]],
                 "envelope_audio": item["envelope_audio"][None]}  # fmt: skip
        found[index] = {name: rows[0].float().cpu() for name, rows in pipeline.parts.embed(batch).items()}
    return found


def _report(rows: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]) -> Report:
    groups = {
        name: [row for row in rows if row["condition"] == name] for name in dict.fromkeys(r["condition"] for r in rows)
    }
    if len(groups) > 1:
        groups = {POOLED: list(rows)} | groups
    metrics: dict[str, dict[str, Any]] = {}
    intervals: dict[str, dict[str, Interval]] = {label: {} for label in SUCCESS}
    for name, members in groups.items():
        videos = [row["video_id"] for row in members]
        metrics[name] = {"num_sounds": len(members), "volume": float(np.mean([row["volume"] for row in members]))}
        for label in SUCCESS:
            pairs = [(row["volume"], success(row, label), video) for row, video in zip(members, videos, strict=True)]
            known = [pair for pair in pairs if pair[1] is not None]
            value, interval = (
                rank_correlation(*(list(column) for column in zip(*known, strict=True))) if known else (None, None)
            )
            metrics[name][label] = {"value": value, "interval": interval and list(interval), "num": len(known)}
            if interval:
                intervals[label][name] = interval
    cells = tuple(
        (name, str(found["num_sounds"]), f"{found['volume']:.3f}", *(_cell(found[label]) for label in SUCCESS))
        for name, found in metrics.items()
    )
    plot = draw_dots(
        {label: {name: found[label]["value"] for name, found in metrics.items()} for label in SUCCESS}, intervals
    )
    finding = Finding(
        "Volume and success", TEXT, ("condition", "sounds", "mean volume", *SUCCESS), cells, metrics=metrics, plot=plot
    )
    return Report(
        "volume-success", {"experiment": "volume-success", "of": dict(protocol), "versions": versions()}, {},
        findings=(finding,),
    )  # fmt: skip


def success(row: Mapping[str, Any], label: str) -> float | None:
    """One clip's success by a name of `SUCCESS`; None where it has none."""
    if label == "material right":
        judged = row.get("material") and "classified_as" in row
        return float(row["classified_as"] == row["material"]) if judged else None
    if label.startswith("onset"):
        total = row.get("num_detected", 0) + row.get("num_annotated", 0)
        return 2 * row["matched_50"] / total if total else None
    return row.get({"envelope correlation": "envelope_correlation"}.get(label, label))


def rank_correlation(
    x: Sequence[float], y: Sequence[float], videos: Sequence[str], *, seed: int = 0
) -> tuple[float | None, Interval | None]:
    """Spearman's correlation and its 95% interval, videos drawn with replacement; None where it is not defined."""
    value = _spearman(np.asarray(x), np.asarray(y))
    names = sorted(set(videos))
    if value is None or len(names) < MIN_VIDEOS:
        return value, None
    members = [np.flatnonzero([video == name for video in videos]) for name in names]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(NUM_RESAMPLES):
        rows = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        drawn.append(_spearman(np.asarray(x)[rows], np.asarray(y)[rows]))
    known = [one for one in drawn if one is not None]
    if len(known) < LEVEL * NUM_RESAMPLES:
        return value, None
    tail = 50 * (1 - LEVEL)
    return value, Interval(*(float(v) for v in np.percentile(known, [tail, 100 - tail])))


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    ranks = np.stack([rankdata(x), rankdata(y)])
    return None if (ranks.std(1) == 0).any() else float(np.corrcoef(ranks)[0, 1])


def _cell(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    text = f"{found['value']:+.3f}"
    return text if not found["interval"] else f"{text} ({found['interval'][0]:+.3f} to {found['interval'][1]:+.3f})"
