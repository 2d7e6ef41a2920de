"""The model card of a release folder (README.md): use, parts with their licences, training data, scores."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from foleygram.files import atomic_path, error_text, read_json, write_json

CARD, SCORES = "README.md", "scores.json"
PAPER = "[arXiv 2510.05829](https://arxiv.org/abs/2510.05829)"
SHOWN = {
    "onset_f1_50": "onset F1 at 50 ms",
    "onset_f1_100": "onset F1 at 100 ms",
    "envelope_correlation": "envelope correlation",
    "median_absolute_lag_ms": "median absolute lag, ms",
    "leak_db": "level in silent spans, dB",
    "material_accuracy": "material accuracy",
}
"""Metrics of a report that a card shows, with their labels."""


def write_card(folder: Path, index: Mapping[str, Any]) -> None:
    """Write the model card of a release folder with this `index`; scores of other weights are left out."""
    licences = sorted({part["licence"] for part in index["parts"].values()})
    text = "\n".join([
        "---", f"license: {'apache-2.0' if licences == ['Apache-2.0'] else 'other'}", "library_name: foleygram",
        "tags: [foleygram, video-to-audio, foley]", "---", "", f"# {folder.resolve().name}", "",
        *_facts(index), "", "## Parts and licences", "",
        "| part | class | stored numbers | licence |", "|---|---|---|---|", *_parts(folder, index["parts"]), "",
        "The strictest of these licences applies to the whole, and the licences of the training data to its use.", "",
        "## Training data", "", _training(index.get("trained_on") or {}), "",
        "## Scores", "", *_scores(folder, index), "", *_recordings(index.get("trained_on") or {}),
    ])  # fmt: skip
    with atomic_path(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _facts(index: Mapping[str, Any]) -> Iterator[str]:
    spec = index["spec"]
    if "projectors" not in index["parts"]:
        yield f"Parts of a FoleyGRAM release ({PAPER}); they do not generate sound without the missing parts."
        return
    yield (
        f"Generates synchronised sound for silent video: FoleyGRAM ({PAPER}), implemented in foleygram "
        f"{index['foleygram']}. Sound at {spec['sample_rate']} Hz with {spec['audio_channels']} channel(s); trained on "
        f"clips of {spec['seconds']:g} s, longer videos are generated in overlapping windows."
    )
    yield from (
        "", "```python", "from foleygram import FoleyGRAMPipeline", "",
        'pipeline = FoleyGRAMPipeline.from_pretrained("this folder")  # or "hub:OWNER/NAME"',
        'pipeline("video.mp4", prompt="what is heard").mux("video.mp4", "with_sound.mp4")', "```",
    )  # fmt: skip


def _parts(folder: Path, parts: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, part in parts.items():
        count = sum(_stored_numbers(path) for path in (folder / name).glob("*.safetensors"))
        cells = (name, part["class"].rpartition(".")[2], f"{count:,}" if count else "-", part["licence"])
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _stored_numbers(path: Path) -> int:
    """Numbers in a safetensors file, read from its header only."""
    with safe_open(path, "pt") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


def _training(trained_on: Mapping[str, Any]) -> str:
    if not trained_on:
        return "Not recorded (`foleygram weights export --trained-on` records it)."
    if not trained_on["video_ids"]:
        return f"{trained_on['data']}; the videos' names are not recorded."
    return f"{trained_on['data']}: {len(trained_on['video_ids'])} videos, listed in model_index.json."


def _recordings(trained_on: Mapping[str, Any]) -> Iterator[str]:
    """A table of the recorded sounds' credits, if there are any."""
    if credits := trained_on.get("recordings"):
        yield from ("## Recordings", "", "Recorded sounds in the training data:", "")
        yield from ("| attribution | licence | source |", "|---|---|---|")
        yield from (f"| {' | '.join(cell.replace('|', '/') for cell in credit)} |" for credit in credits)
        yield ""


def _scores(folder: Path, index: Mapping[str, Any]) -> Iterator[str]:
    scores = read_scores(folder)
    if not scores or scores["sha256"] != index["sha256"]:
        yield "Not recorded: `foleygram evaluate --checkpoint FOLDER --data DATA --out REPORT`, then"
        yield "`foleygram weights card FOLDER --scores REPORT`."
        return
    summary = scores["summary"]
    yield f"{scores['num_clips']} clips of {scores['data']}, {scores['num_inference_steps']} sampling steps."
    yield ""
    yield f"| | {' | '.join(summary)} |"
    yield f"|---|{'---|' * len(summary)}"
    for metric, label in SHOWN.items():
        values = [metrics.get(metric) for metrics in summary.values()]
        if any(isinstance(value, float) for value in values):
            yield f"| {label} | {' | '.join(f'{v:.3f}' if isinstance(v, float) else '-' for v in values)} |"


def read_scores(folder: Path) -> dict[str, Any]:
    """The scores recorded in a release folder; empty without any; raises ValueError for a damaged file."""
    path = folder / SCORES
    if not path.is_file():
        return {}
    try:
        scores = read_json(path)
        if not isinstance(scores["sha256"], dict) or not all(isinstance(v, dict) for v in scores["summary"].values()):
            raise ValueError("sha256 or summary is not an object")
        return scores | {name: scores[name] for name in ("num_clips", "data", "num_inference_steps")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error_text(error)}); record the scores again, or remove it") from error


def record_scores(folder: Path, index: Mapping[str, Any], report: Mapping[str, Any], index_sha256: str) -> None:
    """Record the scores of an evaluation `report` of the release in `folder`, and write its card again.

    Raises ValueError for a report of other weights.
    """
    protocol = report["protocol"]
    if protocol.get("checkpoint_sha256") != index_sha256:
        raise ValueError(f"the report scores {protocol.get('checkpoint', 'other files')}, not the weights in {folder}")
    facts = {name: protocol[name] for name in ("num_clips", "data", "num_inference_steps")}
    write_json(folder / SCORES, facts | {"sha256": index["sha256"], "summary": report["summary"]})
    write_card(folder, index)
