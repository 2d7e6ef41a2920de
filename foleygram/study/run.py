"""The benchmark: generates for a split's clips, scores them, prints the table and writes the report."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foleygram.checkpoints import INDEX, file_hash, without_chatter
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.evaluation import envelopes, onsets
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.scores import Scores
from foleygram.pipeline import FoleyGRAMPipeline
from foleygram.study.experiments import CONDITIONS, CONTROLS, Condition, alignment_figures, pick_clips, run_conditions
from foleygram.study.report import print_figures, print_table, write_report

PACKAGES = ("foleygram", "torch", "transformers", "diffusers", "librosa", "torchmetrics", "numpy")
JUDGE_FOLDER = "judge"
ALIGNMENT_FIGURES = ("material_video_to_audio", "material_audio_to_video", "auc_other_text", "auc_all_mixed")
"""Those that are printed; the report holds them all."""


def evaluate(
    checkpoint: str | Path,
    data: str | Path,
    split: str = "test",
    *,
    conditions: Sequence[str] = ("predicted", "true"),
    num_inference_steps: int = 50,
    guidance_scale: float = 5.0,
    seed: int = 0,
    limit: int | None = None,
    controls: bool = True,
    batch_size: int = 8,
    out: str | Path | None = None,
    judge: str | Path | None = None,
    device: str | torch.device = "cpu",
    show_progress: bool = True,
) -> dict[str, Scores]:
    """Score a release folder on a split of Greatest Hits; prints the tables, writes JSON to `out` if given.

    `predicted` is silent video only: predicted envelope and video token; `true` takes the reference's envelope.
    `limit` clips are spread evenly over the split; `judge` is a folder, `checkpoint`/judge by default. Raises
    ValueError for an unknown condition.
    """
    chosen = choose_conditions(conditions, controls=controls)
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint).to(device)
    judge = Path(judge or Path(checkpoint) / JUDGE_FOLDER)
    hearing = load_judge(judge)
    dataset = GreatestHits(data, split, spec=pipeline.spec)
    indices = pick_clips(len(dataset), limit)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not show_progress) as bar:
        task = bar.add_task("clips", total=len(indices))
        scores = run_conditions(
            pipeline,
            hearing,
            dataset,
            conditions=chosen,
            indices=indices,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            seed=seed,
            batch_size=batch_size,
            progress=lambda done: bar.update(task, completed=done),
        )
    print_tables(scores, chosen, f"{split}: {len(indices)} of {len(dataset)} clips of {pipeline.spec.seconds:g} s")
    spaces = GreatestHits(data, split, spec=pipeline.spec, fields=("frames", "envelope_audio"))
    alignment = alignment_figures(pipeline, spaces, indices=indices, batch_size=batch_size)
    print_figures(alignment, ALIGNMENT_FIGURES, title="alignment, the same clips")
    if out is not None:
        facts = protocol(checkpoint, judge) | {
            "data": Path(data).name,
            "split": split,
            "num_clips": len(indices),
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "seed": seed,
        }
        write_report(Path(out), protocol=facts, conditions=scores, alignment=alignment)
    return scores


def choose_conditions(names: Sequence[str], *, controls: bool) -> list[Condition]:
    """The named conditions, and the controls if wanted; raises ValueError for a name that is none."""
    unknown = set(names) - set(CONDITIONS)
    if unknown:
        raise ValueError(f"unknown conditions {sorted(unknown)}; there are {', '.join(CONDITIONS)}")
    return [CONDITIONS[name] for name in names] + list(CONTROLS) * controls


def print_tables(scores: dict[str, Scores], conditions: Sequence[Condition], title: str) -> None:
    """One table of what is scored against its own clip alone, one of what borrows from another clip."""
    borrowed = {name for name in scores for c in conditions if c.borrows and name.startswith(c.name)}
    print_table({name: value for name, value in scores.items() if name not in borrowed}, title=title)
    if borrowed:
        print_table({name: value for name, value in scores.items() if name in borrowed}, title="borrowed conditions")


def load_judge(folder: Path) -> MaterialJudge:
    """The judge saved in `folder`; raises FileNotFoundError saying how to train one."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder}: no material judge there; train one with `foleygram judge`")
    with without_chatter():
        return MaterialJudge.from_pretrained(folder)


def protocol(checkpoint: str | Path, judge: Path) -> dict[str, Any]:
    """What a reader needs to repeat the figures: detector, envelope, versions, and hashes of what was used.

    The release's index holds the hash of every weight file, so the index's own hash stands for all of them.
    """
    return {
        "checkpoint": Path(checkpoint).name,
        "checkpoint_sha256": file_hash(Path(checkpoint) / INDEX),
        "judge_sha256": file_hash(judge / "model.safetensors"),
        "onsets": {
            "detector": "librosa onset_strength, onset_detect",
            "sample_rate": onsets.DETECTOR_RATE,
            "hop_length": onsets.HOP_LENGTH,
            "delta": onsets.DELTA,
            "floor_db": onsets.FLOOR_DB,
            "tolerances_sec": list(onsets.TOLERANCES_SEC),
            "average": "micro",
        },
        "envelope": {
            "sample_rate": envelopes.ENVELOPE_SAMPLE_RATE,
            "frame_length": envelopes.FRAME_LENGTH,
            "hop_length": envelopes.HOP_LENGTH,
            "smoothing_sec": envelopes.SMOOTHING_SEC,
            "max_lag_sec": envelopes.MAX_LAG_SEC,
            "silent_db": envelopes.SILENT_DB,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
