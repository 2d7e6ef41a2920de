"""The scoring protocol of a report, to repeat a run and to refuse comparing different protocols."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foleygram.benchmark import intervals
from foleygram.benchmark.pairs import SoundPair
from foleygram.datasets.clip import Clip
from foleygram.evaluation import condfoleygen, envelopes, onsets
from foleygram.files import file_hash

PACKAGES = (
    "foleygram", "torch", "transformers", "diffusers", "librosa", "torchmetrics", "numpy", "scipy", "soxr", "av",
)  # fmt: skip
SYSTEM_KEYS = frozenset(
    {
        "checkpoint", "checkpoint_sha256", "trained_on", "num_inference_steps", "guidance_scale", "solver", "seed",
        "dtype", "generated", "generated_sha256", "data", "metrics", "versions", "embedders",
    }
)  # fmt: skip
"""Keys in which two comparable reports may differ: the scored system and the software. Metrics of networks that differ
are left out of a comparison one by one."""


def scoring_protocol(
    metrics: Sequence[str], pairs: Sequence[SoundPair], judge: Path | None, embedders: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The protocol of scoring `pairs`: detector, envelope, judge, lengths, intervals, versions, references' hash."""
    return {
        "metrics": list(metrics),
        "num_clips": len(pairs),
        "references_sha256": references_hash(pairs),
        "sounds": "channel mean, read at the higher of both rates, cut or zero-padded to the reference's length",
        "onsets": {
            "detector": "librosa onset_strength, onset_detect",
            "sample_rate": onsets.DETECTOR_RATE,
            "hop_length": onsets.HOP_LENGTH,
            "delta": onsets.DELTA,
            "floor_db": onsets.FLOOR_DB,
            "tolerances_sec": list(onsets.TOLERANCES_SEC),
            "average": "micro",
        },
        "condfoleygen": {
            "detector": "librosa onset_detect",
            "sample_rate": onsets.DETECTOR_RATE,
            "delta": condfoleygen.DELTA,
            "tolerance_sec": condfoleygen.TOLERANCE / onsets.DETECTOR_RATE,
        },
        "envelope": {
            "sample_rate": envelopes.SAMPLE_RATE,
            "frame_length": envelopes.FRAME_LENGTH,
            "hop_length": envelopes.HOP_LENGTH,
            "smoothing_sec": envelopes.SMOOTHING_SEC,
            "max_lag_sec": envelopes.MAX_LAG_SEC,
            "silent_db": envelopes.SILENT_DB,
        },
        "judge_sha256": file_hash(judge / "model.safetensors") if judge else None,
        "embedders": dict(embedders or {}),
        "intervals": {
            "method": "percentile bootstrap over videos",
            "level": intervals.LEVEL,
            "resamples": intervals.NUM_RESAMPLES,
            "min_videos": intervals.MIN_VIDEOS,
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of every package that a metric may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def references_hash(pairs: Sequence[SoundPair]) -> str:
    """SHA-256 of what generated sounds are scored against: names, starts, sounds and events, whatever their order."""
    facts = sorted((p.video_id, p.start, file_hash(p.reference), p.event_times, p.event_actions) for p in pairs)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def clips_hash(clips: Sequence[Clip]) -> str:
    """SHA-256 of clips of a data set: their names, starts, events, and what their files hold."""
    files = sorted({path for clip in clips for path in (clip.video_path, clip.audio_path) if path.is_file()})
    facts = sorted((clip.video_id, clip.start, str(clip.events)) for clip in clips)
    return hashlib.sha256(json.dumps([facts, [file_hash(path) for path in files]]).encode()).hexdigest()


def folder_hash(pairs: Sequence[SoundPair]) -> str:
    """SHA-256 of the generated sounds, whatever their order and folder."""
    facts = sorted((pair.video_id, pair.start, file_hash(Path(pair.generated))) for pair in pairs)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def protocol_changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Dotted keys, with both values, in which two protocols score differently."""
    return list(_changes("", ours, theirs))


def _changes(prefix: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    changes = []
    for key in sorted(ours.keys() | theirs.keys()):
        if not prefix and key in SYSTEM_KEYS:
            continue
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            changes += _changes(f"{prefix}{key}.", a, b)
        elif a != b:
            changes.append(f"{prefix}{key} ({_short(b)} there, {_short(a)} here)")
    return changes


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def split_overlap(index: Mapping[str, Any], video_ids: Sequence[str]) -> list[str]:
    """A warning when a release was trained on videos that are scored; none for a release that does not list them.

    `index` is a release's; its `trained_on` holds `data` and `video_ids`.
    """
    trained_on = index.get("trained_on")
    if not trained_on:
        return []
    overlap = sorted(set(trained_on["video_ids"]) & set(video_ids))
    if not overlap:
        return []
    return [
        f"the checkpoint was trained on {len(overlap)} of the {len(set(video_ids))} videos scored here "
        f"({trained_on['data']}; first {overlap[0]}): the metrics overstate its quality on unseen videos"
    ]
