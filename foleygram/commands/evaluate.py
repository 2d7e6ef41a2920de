"""`foleygram evaluate`: how good the sound is."""

from pathlib import Path
from typing import Annotated

import typer

from foleygram.commands.errors import reported


def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Release folder.")],
    data: Annotated[Path, typer.Option(help="Greatest Hits' folder, or a rendered one.")],
    split: Annotated[str, typer.Option(help="train, test, or a list of ids.")] = "test",
    conditions: Annotated[
        str, typer.Option(help="predicted (silent video only), true (the reference's envelope).")
    ] = "predicted,true",
    controls: Annotated[
        bool, typer.Option(help="Also the controls: no control, flat envelope, another clip's.")
    ] = True,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 50,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 is none.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips, spread over the split.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    out: Annotated[Path | None, typer.Option(help="JSON report to write.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Score a checkpoint on a split: onsets, envelope, material, as a table and JSON."""
    from foleygram.console import pick_device
    from foleygram.study.run import evaluate as run

    with reported():
        run(
            checkpoint, data, split, conditions=conditions.split(","), controls=controls, num_inference_steps=steps,
            guidance_scale=guidance, seed=seed, limit=limit, batch_size=batch_size, out=out, device=pick_device(device),
        )  # fmt: skip
