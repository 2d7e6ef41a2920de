"""Runs the benchmark: a checkpoint on a split's clips, or any system's files against references."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from foleygram.benchmark.alignment import alignment_metrics
from foleygram.benchmark.pairs import Matched, match_folders
from foleygram.benchmark.protocol import folder_hash, split_overlap
from foleygram.benchmark.random_projectors import randomly_projected
from foleygram.benchmark.report import Finding, Report
from foleygram.benchmark.scoring import choose_metrics, load_networks, score
from foleygram.benchmark.settings import Condition
from foleygram.benchmark.silence import insertion_hallucination
from foleygram.benchmark.sounds import (
    REFERENCE,
    ClipSounds,
    clip_pairs,
    data_fingerprint,
    generate_sounds,
    pick_clips,
    pick_partners,
)
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.distributed import all_gather, broadcast, joined_processes, progress_bar
from foleygram.files import file_hash
from foleygram.pipeline.parts import DTYPES
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import INDEX, read_index, sampler_of

JUDGE_FOLDER = "judge"
WEIGHTS = Path("weights")
"""Where `foleygram weights fetch` puts published networks."""


def evaluate(
    checkpoint: str | Path,
    data: str | Path,
    split: str = "test",
    *,
    conditions: Sequence[Condition],
    metrics: Sequence[str] | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    solver: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 8,
    sounds: str | Path | None = None,
    judge: str | Path | None = None,
    weights: str | Path = WEIGHTS,
    embedders: Sequence[str] = (),
    cache: str | Path | None = None,
    num_silent_seeds: int = 0,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    show_progress: bool = True,
) -> Report:
    """Generate for a split of Greatest Hits in each condition, and score.

    Steps, guidance and solver that are None are the release's own.
    `limit` clips are spread evenly over the split; `judge` is a folder, `checkpoint`/judge by default. The folder
    `sounds` keeps the generated sounds and `cache` their features, so that a killed run resumes. `weights` holds
    published networks; `embedders` are further ones, CLASS_PATH=FOLDER. Several processes share the clips, and the
    first one returns the report of all. With `num_silent_seeds` the report holds
    `insertion_hallucination` as well, on the first clip. Raises ValueError for an unknown metric.
    """
    names, index = choose_metrics(metrics, alignment=True), read_index(Path(checkpoint))
    sampler = sampler_of(Path(checkpoint)).override(
        num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, solver=solver
    )
    options = {
        "num_inference_steps": sampler.num_inference_steps,
        "guidance_scale": sampler.guidance_scale,
        "solver": sampler.solver,
    }
    networks = load_networks(
        names, checkpoint=Path(checkpoint), judge=Path(judge or Path(checkpoint) / JUDGE_FOLDER),
        weights=Path(weights), embedders=embedders, device=device,
    )  # fmt: skip
    system = {
        "checkpoint": Path(checkpoint).name,
        "checkpoint_sha256": file_hash(Path(checkpoint) / INDEX),
        "data": Path(data).name,
        "split": split,
        **options,
        "seed": seed,
        **({} if dtype == "float32" else {"dtype": dtype}),
    }
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint, DTYPES[dtype]).to(device)
    fields = {"audio"}.union(*(condition.fields for condition in conditions))
    dataset = GreatestHits(data, split, spec=pipeline.spec, fields=sorted(fields))
    indices = pick_clips(len(dataset), limit)
    partners = pick_partners(dataset, indices, seed) if any(c.borrows for c in conditions) else {}
    with joined_processes() as process, _kept_or_temporary(sounds) as folder:
        clip_sounds = ClipSounds(folder, system | {"data_sha256": data_fingerprint(dataset)})
        own = process.share(indices)
        for projected, chosen in _by_projections(pipeline, conditions, seed):
            with progress_bar("generating", len(own), shown=process.first and show_progress) as advance:
                generate_sounds(
                    projected, dataset, clip_sounds, conditions=chosen, indices=own, partners=partners,
                    options=options, seed=seed, batch_size=batch_size, progress=advance,
                )  # fmt: skip
        all_gather(None)  # the references that other processes write are there from here on
        pairs = clip_pairs(dataset, clip_sounds, conditions, indices, partners)
        report = score(pairs, networks, names, system, process, cache=cache, seed=seed, show_progress=show_progress)
    alignment: dict[str, float] = {}
    findings: list[Finding] = []
    if process.first and ("alignment" in names or num_silent_seeds):
        encoded = GreatestHits(data, split, spec=pipeline.spec, fields=("frames", "envelope_audio"))
        if "alignment" in names:
            alignment = alignment_metrics(pipeline.parts, encoded, indices=indices, batch_size=batch_size)
        if num_silent_seeds:
            first = encoded[indices[0]]
            silence = insertion_hallucination(
                pipeline, first["frames"][0], first["envelope_audio"], options=options, num_seeds=num_silent_seeds,
                batch_size=batch_size, show_progress=show_progress,
            )  # fmt: skip
            findings.append(silence)
    notes = split_overlap(index, [dataset.clips[i].video_id for i in indices])
    return replace(
        report,
        title=f"{split}: {len(indices)} of {len(dataset)} clips of {pipeline.spec.seconds:g} s",
        oracle=tuple(name for c in conditions for name in c.oracle_names),
        borrowed=tuple(name for c in conditions if c.borrows for name in c.names),
        alignment=alignment,
        findings=tuple(findings),
        notes=(*notes, *report.notes),
    )


def evaluate_folders(
    generated: str | Path,
    reference: str | Path,
    *,
    captions: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    judge: str | Path | None = None,
    weights: str | Path = WEIGHTS,
    embedders: Sequence[str] = (),
    cache: str | Path | None = None,
    device: str | torch.device = "cpu",
    show_progress: bool = True,
) -> Report:
    """Score the sounds or videos of one folder against those of the same name in another.

    A `_times.txt` beside a reference gives the onsets that are searched for, `captions` (CSV: file, caption) what a
    text-audio score compares with. `judge` is the folder of a material judge, without which material is left out;
    `weights`, `embedders` and `cache` are as for `evaluate`.
    Raises FileNotFoundError for an empty folder, ValueError where nothing matches or every file is unreadable.
    """
    names = choose_metrics(metrics, judge=judge is not None)
    networks = load_networks(
        names, checkpoint=None, judge=Path(judge) if judge is not None else None, weights=Path(weights),
        embedders=embedders, device=device,
    )  # fmt: skip
    matched = match_folders(Path(generated), Path(reference), Path(captions) if captions else None)
    own = [matched.pairs[i] for i in pick_clips(len(matched.pairs), limit)]
    name = Path(generated).resolve().name
    system = {"generated": name, "generated_sha256": folder_hash(own), "seed": seed}
    pairs = {REFERENCE: [replace(pair, generated=pair.reference) for pair in own], name: own}
    with joined_processes() as process:
        report = score(pairs, networks, names, system, process, cache=cache, seed=seed, show_progress=show_progress)
    if not report.scores[name].rows:
        raise ValueError(f"{generated}: none of its {len(own)} files could be scored; {report.remarks.left_out[0]}")
    return replace(
        report,
        title=f"{name}: {len(own)} files",
        notes=(*_unmatched(matched), *report.notes),
        remarks=replace(
            report.remarks,
            without_reference=[str(path) for path in matched.without_reference],
            without_generated=[str(path) for path in matched.without_generated],
        ),
    )


def _by_projections(
    pipeline: FoleyGRAMPipeline, conditions: Sequence[Condition], seed: int
) -> Iterator[tuple[FoleyGRAMPipeline, list[Condition]]]:
    """The pipeline that each condition asks for: the release's own, or one with random projectors."""
    learned = [condition for condition in conditions if not condition.random_projections]
    random = [condition for condition in conditions if condition.random_projections]
    if learned:
        yield pipeline, learned
    if random:
        yield randomly_projected(pipeline, seed=seed), random


@contextmanager
def _kept_or_temporary(folder: str | Path | None) -> Iterator[Path]:
    """`folder`, or one that all processes share until the block ends."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="foleygram-sounds-") as temporary:
        yield Path(broadcast(temporary))
        all_gather(None)


def _unmatched(matched: Matched) -> list[str]:
    """Notes with the numbers of files without a partner; the remarks name them."""
    notes = []
    if number := len(matched.without_reference):
        notes.append(f"generated files without a reference of that name, not scored: {number}")
    if number := len(matched.without_generated):
        notes.append(f"references without a generated file: {number}; the metrics are over the others")
    return notes
