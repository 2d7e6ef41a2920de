"""`foleygram evaluate`: how good the sound is, of a checkpoint or of any system."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from foleygram.commands.config import Config
from foleygram.commands.errors import reported
from foleygram.files import shipped


def evaluate(
    checkpoint: Annotated[Path | None, typer.Option(help="Release folder that generates what is scored.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --checkpoint: Greatest Hits' folder, or a rendered one.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, test, or a list of ids.")] = "test",
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
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps; the release's own by default.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 is none; the release's own by default.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Solver; the release's own by default.")] = None,
    generated: Annotated[
        Path | None, typer.Option(help="Instead of --checkpoint: a folder of sounds or videos to score.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="With --generated: the true sounds or videos, matched by name; _times.txt beside."),
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="With --generated: CSV with the columns file, caption.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas between; an unknown one lists them. All by default.")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="Material judge; CHECKPOINT/judge by default, none with --generated.")
    ] = None,
    weights: Annotated[
        Path, typer.Option(help="Folder of published networks; what it lacks is left out, and the report says so.")
    ] = Path("weights"),
    embedder: Annotated[
        list[str] | None,
        typer.Option(help="CLASS_PATH=FOLDER of one more network for FAD and KAD; may be repeated."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps what networks make of files; OUT/features by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sounds and of intervals.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips, spread over the split.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json, per_clip.csv, report.html; FILE.json for figures alone."),
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="An earlier report.json to compare with.")] = None,
    report_clips: Annotated[int, typer.Option(min=0, help="Clips to hear in report.html, best and worst.")] = 12,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="Precision of CHECKPOINT's networks; those of the metrics compute in float32."),
    ] = "float32",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
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
        from foleygram.benchmark.output import features_folder, read_report, report_results, sounds_folder
        from foleygram.console import pick_device, use_tf32

        earlier = read_report(compare) if compare else None
        chosen = metrics.split(",") if metrics else None
        networks: dict[str, Any] = {
            "judge": judge, "weights": weights, "embedders": embedder or [], "cache": cache or features_folder(out),
            "device": use_tf32(pick_device(device)), "show_progress": not quiet,
        }  # fmt: skip
        if checkpoint and data:
            from foleygram.benchmark.run import evaluate as run
            from foleygram.benchmark.settings import choose_conditions

            report = run(
                shipped(checkpoint), data, split,
                conditions=choose_conditions(conditions.split(","), controls=controls),
                metrics=chosen, num_inference_steps=steps, guidance_scale=guidance, solver=solver, seed=seed,
                limit=limit, batch_size=batch_size, sounds=sounds_folder(out), dtype=dtype,
                num_silent_seeds=silent_seeds if controls else 0, **networks,
            )  # fmt: skip
        elif generated and reference:
            from foleygram.benchmark.run import evaluate_folders

            report = evaluate_folders(
                generated, reference, captions=captions, metrics=chosen, seed=seed, limit=limit, **networks
            )
        report_results(report, out, earlier=earlier, num_clips=report_clips, quiet=quiet, as_json=as_json)
