"""Data that stages learn from: rendered videos, caches, and the judge's own training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from foleygram.commands.errors import reported


def render(
    out: Annotated[Path, typer.Argument(help="Folder to write, in Greatest Hits' layout.")],
    videos: Annotated[int, typer.Option(help="Number of videos.")],
    seed: Annotated[int, typer.Option(help="Seed; another seed shares no object.")] = 0,
    seconds: Annotated[str, typer.Option(help="Length of the videos, FROM:TO in seconds.")] = "4:12",
    shares: Annotated[
        Literal["balanced", "real"], typer.Option(help="Materials evenly, or as in the real set.")
    ] = "balanced",
    test_share: Annotated[float, typer.Option(help="Share of the videos in test.txt.")] = 0.25,
    sample_rate: Annotated[
        int | None, typer.Option(help="Rate of the sound, in Hz; default 16000 (drumstick), 44100 (physics).")
    ] = None,
    world: Annotated[
        Literal["drumstick", "physics"],
        typer.Option(help="Flat drawings of a drumstick, or scenes simulated and rendered with MuJoCo."),
    ] = "drumstick",
    sounds: Annotated[
        Path | None, typer.Option(help="Physics: folder of recorded sounds with an index.csv; default: synthesis.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Render videos with sound, in Greatest Hits' own layout."""
    with reported():
        first, _, last = seconds.partition(":")
        span = (float(first), float(last or first))
        if world == "physics":
            from foleygram.synthetic.physics.render import render_dataset as render_physics

            if shares != "balanced":
                raise ValueError("--shares real is of --world drumstick")
            ids = render_physics(
                out, num_videos=videos, seed=seed, seconds=span, test_share=test_share,
                sample_rate=sample_rate or 44_100, sounds=sounds, num_workers=workers,
            )  # fmt: skip
        else:
            from foleygram.synthetic.drumstick.render import render_dataset

            if sounds:
                raise ValueError("--sounds is of --world physics")
            ids = render_dataset(
                out, num_videos=videos, seed=seed, seconds=span, shares=shares, test_share=test_share,
                sample_rate=sample_rate or 16_000, num_workers=workers,
            )  # fmt: skip
    typer.echo(f"{len(ids)} videos in {out}")


def cache(
    data: Annotated[Path, typer.Argument(help="Greatest Hits' folder, a rendered one, or with --captions any videos.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    spec: Annotated[Path, typer.Option(help="YAML with the clip's rates, or a release's model_index.json.")],
    fields: Annotated[str, typer.Option(help="frames,motion,envelope_audio,latents,control_latents,embeddings")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder with the networks that latents and embeddings need.")
    ] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Folder with vae/, where --checkpoint holds trained parts alone.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train (default), test, or a list of ids; with --captions what its column split says."),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns file, caption and perhaps split: takes those videos of the folder."),
    ] = None,
    format: Annotated[
        Literal["safetensors", "webdataset"], typer.Option(help="Shards for a disk, or to stream from anywhere.")
    ] = "safetensors",
    shard_size: Annotated[int, typer.Option(min=1, help="Clips in a shard.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips that the networks see at once.")] = 16,
    device: Annotated[str, typer.Option(help="Where the networks run: auto, cpu, cuda, cuda:1.")] = "auto",
    workers: Annotated[int, typer.Option(help="Reading processes.")] = 1,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile the autoencoder: faster past some hundred clips, needs a C++ compiler."
        ),
    ] = False,
) -> None:
    """Write clips, and what frozen networks make of them, into a cache for training."""
    import json

    from foleygram.console import pick_device
    from foleygram.features.writer import cache_dataset

    with reported():
        manifest = cache_dataset(
            data, out, spec_path=spec, fields=fields.split(","), checkpoint=checkpoint, backbone=backbone, split=split,
            captions=captions, format=format, shard_size=shard_size, batch_size=batch_size, device=pick_device(device),
            num_workers=workers, compile=compile,
        )  # fmt: skip
    if not manifest.is_file():
        typer.echo(f"{out}: this process's shards are written; the cache is whole when the other processes have theirs")
        return
    written = json.loads(manifest.read_text(encoding="utf-8"))
    typer.echo(f"{out}: {written['count']} clips in {len(written['shards'])} shards")
    unread = [message for shard in written["shards"] for message in shard["unread"]]
    if unread:
        typer.echo(f"{len(unread)} clips left out because they could not be read, the first: {unread[0]}", err=True)


def judge(
    data: Annotated[Path, typer.Argument(help="Rendered folder whose train split it learns from.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
) -> None:
    """Train the material judge, the network that scores and conditions nothing."""
    from foleygram.evaluation.judge_training import train_judge_from_folder

    with reported():
        accuracy = train_judge_from_folder(data, out, steps=steps, seed=seed)
    typer.echo(f"accuracy on the test split's sounds: {accuracy:.3f}")
