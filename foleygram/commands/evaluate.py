"""`foleygram evaluate`: scores the sounds of a checkpoint or of any system."""

from pathlib import Path
from typing import Annotated, Any

import typer

from foleygram.commands import options
from foleygram.commands.config import Config
from foleygram.commands.errors import reported


def evaluate(
    checkpoint: Annotated[
        Path | None, typer.Option(help="Release that generates what is scored: a folder, or hub:OWNER/NAME.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --checkpoint: Greatest Hits' folder, or a rendered one.")
    ] = None,
    split: options.Split = "test",
    conditions: Annotated[
        str,
        typer.Option(
            help="The model's inputs, separated by commas: letters of a (reference sound), v (video), t (caption), "
            "with +true for the reference's envelope instead of the predicted one; predicted is v, true is v+true."
        ),
    ] = "predicted,true",
    controls: Annotated[
        bool, typer.Option(help="Also the controls: no control, flat envelope, another clip's, silence.")
    ] = True,
    silent_seeds: Annotated[
        int, typer.Option(min=0, help="Seeds of each prompt over a still video with an envelope of zeros; 0: none.")
    ] = 4,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    solver: options.Solver = None,
    generated: Annotated[
        Path | None, typer.Option(help="Instead of --checkpoint: a folder of sounds or videos to score.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="With --generated: the true sounds or videos, matched by name; _times.txt beside."),
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="With --generated: CSV with the columns file, caption.")] = None,
    metrics: options.Metrics = None,
    judge: Annotated[
        Path | None, typer.Option(help="Material judge; CHECKPOINT/judge by default, none with --generated.")
    ] = None,
    weights: options.Networks = Path("weights"),
    embedder: options.Embedders = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the networks' features; default: OUT/features.")
    ] = None,
    seed: options.Seed = 0,
    limit: options.Limit = None,
    batch_size: options.BatchSize = 8,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json, per_clip.csv, report.html; FILE.json for only the metrics."),
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="An earlier report.json to compare with.")] = None,
    report_clips: Annotated[int, typer.Option(min=0, help="Clips to hear in report.html, best and worst.")] = 12,
    device: options.Device = "auto",
    dtype: options.Precision = "float32",
    quiet: options.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and no tables.")] = False,
    config: Config = None,
) -> None:
    """Score a checkpoint on a split, or any system's files: onsets, envelope, material, as tables and a report."""
    if (checkpoint is None) == (generated is None):
        raise typer.BadParameter("give --checkpoint and --data, or --generated and --reference")
    needed = ("--data", data) if checkpoint else ("--reference", reference)
    if needed[1] is None:
        raise typer.BadParameter(f"{needed[0]} is missing")
    with reported():
        from foleygram.benchmark.output import FEATURES, SOUNDS, kept_folder, read_report, report_results
        from foleygram.console import pick_device, use_tf32

        earlier = read_report(compare) if compare else None
        chosen = metrics.split(",") if metrics else None
        networks: dict[str, Any] = {
            "judge": judge, "weights": weights, "embedders": embedder or [],
            "cache": cache or kept_folder(out, FEATURES), "device": use_tf32(pick_device(device)),
            "show_progress": not quiet,
        }  # fmt: skip
        if checkpoint and data:
            from foleygram.benchmark.run import evaluate as run
            from foleygram.benchmark.settings import choose_conditions
            from foleygram.pipeline.release import find_release

            report = run(
                find_release(checkpoint), data, split,
                conditions=choose_conditions(conditions.split(","), controls=controls),
                metrics=chosen, num_inference_steps=steps, guidance_scale=guidance, solver=solver, seed=seed,
                limit=limit, batch_size=batch_size, sounds=kept_folder(out, SOUNDS), dtype=dtype,
                num_silent_seeds=silent_seeds if controls else 0, **networks,
            )  # fmt: skip
        elif generated and reference:
            from foleygram.benchmark.run import evaluate_folders

            report = evaluate_folders(
                generated, reference, captions=captions, metrics=chosen, seed=seed, limit=limit, **networks
            )
        report_results(report, out, earlier=earlier, num_clips=report_clips, quiet=quiet, as_json=as_json)
