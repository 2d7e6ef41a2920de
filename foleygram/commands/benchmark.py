"""`foleygram benchmark greatest-hits`: a release on real clips, on re-encodings of them, and beside other systems."""

from pathlib import Path
from typing import Annotated

import typer

from foleygram.commands.errors import reported
from foleygram.files import shipped


def greatest_hits(
    folder: Annotated[Path, typer.Argument(help="Greatest Hits as released, or a folder with clips and onsets.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, the sounds and re-encoded clips.")],
    checkpoint: Annotated[Path, typer.Option(help="Release folder.")] = Path("checkpoints/mini"),
    split: Annotated[str, typer.Option(help="Of the released set: train, test, or a list of ids.")] = "test",
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of the clips cut from the released set.")] = 10.0,
    annotations: Annotated[
        Path | None, typer.Option(help="JSON list of events <video>_<sample>; default: the set's _times.txt.")
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Folder with one folder of sounds or videos per system, named as the clips.")
    ] = None,
    reencodings: Annotated[bool, typer.Option(help="Also predict from the same clips encoded again.")] = True,
    metrics: Annotated[
        str | None, typer.Option(help="Metric names, separated by commas; an unknown one lists them. Default: all.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps; default: the release's.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the release's.")] = None,
    weights: Annotated[
        Path, typer.Option(help="Folder of published networks; metrics without theirs are left out.")
    ] = (Path("weights")),
    embedder: Annotated[
        list[str] | None, typer.Option(help="CLASS_PATH=FOLDER of one more network for FAD and KAD; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sounds and of the intervals.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many clips, spread over the split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Score a release, and other systems' outputs, on annotated clips of Greatest Hits; docs/benchmark.md."""
    with reported():
        from foleygram.benchmark import greatest_hits as benchmark
        from foleygram.benchmark.output import report_results
        from foleygram.console import pick_device

        report = benchmark.greatest_hits(
            shipped(checkpoint), folder, out, split=split, seconds=seconds, annotations=annotations, peers=peers,
            reencodings=tuple(benchmark.REENCODINGS) if reencodings else (),
            metrics=metrics.split(",") if metrics else None, num_inference_steps=steps, guidance_scale=guidance,
            limit=limit, seed=seed, weights=weights, embedders=embedder or [], device=pick_device(device),
        )  # fmt: skip
        report_results(report, out)
