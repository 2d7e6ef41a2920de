"""`foleygram benchmark greatest-hits`: a release on real clips, on re-encodings of them, and beside other systems."""

from pathlib import Path
from typing import Annotated

import typer

from foleygram.commands import options
from foleygram.commands.errors import reported


def greatest_hits(
    folder: Annotated[Path, typer.Argument(help="Greatest Hits as released, or a folder with clips and onsets.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, the sounds and re-encoded clips.")],
    checkpoint: options.Release = options.MINI,
    split: Annotated[str, typer.Option(help="Of the released set: train, test, or a list of ids.")] = "test",
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of the clips cut from the released set.")] = 10.0,
    annotations: Annotated[
        Path | None, typer.Option(help="JSON list of events <video>_<sample>; default: the set's _times.txt.")
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Folder with one folder of sounds or videos per system, named as the clips.")
    ] = None,
    reencodings: Annotated[bool, typer.Option(help="Also predict from the same clips encoded again.")] = True,
    metrics: options.Metrics = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    weights: options.Networks = Path("weights"),
    embedder: options.Embedders = None,
    seed: options.Seed = 0,
    limit: options.Limit = None,
    device: options.Device = "auto",
) -> None:
    """Score a release, and other systems' outputs, on annotated clips of Greatest Hits; docs/benchmark.md."""
    with reported():
        from foleygram.benchmark import greatest_hits as benchmark
        from foleygram.benchmark.output import report_results
        from foleygram.console import pick_device
        from foleygram.pipeline.release import find_release

        report = benchmark.greatest_hits(
            find_release(checkpoint), folder, out, split=split, seconds=seconds, annotations=annotations, peers=peers,
            reencodings=tuple(benchmark.REENCODINGS) if reencodings else (),
            metrics=metrics.split(",") if metrics else None, num_inference_steps=steps, guidance_scale=guidance,
            limit=limit, seed=seed, weights=weights, embedders=embedder or [], device=pick_device(device),
        )  # fmt: skip
        report_results(report, out)
