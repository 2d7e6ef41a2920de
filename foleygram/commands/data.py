"""`foleygram render`, `cache` and `judge`: training data, caches, and the material judge."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from foleygram.commands.errors import reported
from foleygram.commands.options import BatchSize, Device, Guidance, Precision, Seed, ShardSize

INCOMPLETE = "{}: shards of this process are written; the cache is complete when all processes have finished"


def render(
    out: Annotated[Path, typer.Argument(help="Folder to write, in the layout of Greatest Hits.")],
    videos: Annotated[int, typer.Option(help="Number of videos.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed; different seeds share no object.")] = 0,
    seconds: Annotated[str, typer.Option(help="Range of lengths, FROM:TO in seconds.")] = "4:12",
    shares: Annotated[
        Literal["balanced", "real"], typer.Option(help="Share of each material: equal, or as in Greatest Hits.")
    ] = "balanced",
    test_share: Annotated[float, typer.Option(help="Share of videos in test.txt.")] = 0.25,
    sample_rate: Annotated[
        int | None, typer.Option(help="Rate of the sound, in Hz; default 16000 (drumstick), 44100 (physics).")
    ] = None,
    world: Annotated[
        Literal["drumstick", "physics"],
        typer.Option(help="Flat drawings of a drumstick, or scenes simulated and rendered with MuJoCo."),
    ] = "drumstick",
    sounds: Annotated[
        Path | None, typer.Option(help="Folder of recorded sounds with an index.csv; default: synthesis.")
    ] = None,
    scenes: Annotated[
        Literal["plain", "two-sources", "speech", "music"],
        typer.Option(help="Drumstick: one stick, two sticks at once, or speech or music in the background."),
    ] = "plain",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 2,
) -> None:
    """Render videos with sound, in Greatest Hits' own layout."""
    with reported():
        first, _, last = seconds.partition(":")
        span = (float(first), float(last or first))
        if world == "physics":
            from foleygram.synthetic.physics.render import render_dataset as render_physics

            if shares != "balanced":
                raise ValueError("--shares real needs --world drumstick")
            if scenes != "plain":
                raise ValueError(f"--scenes {scenes} needs --world drumstick")
            ids = render_physics(
                out, num_videos=videos, seed=seed, seconds=span, test_share=test_share,
                sample_rate=sample_rate or 44_100, sounds=sounds, num_workers=workers,
            )  # fmt: skip
        else:
            from foleygram.synthetic.drumstick.render import render_dataset

            ids = render_dataset(
                out, num_videos=videos, seed=seed, seconds=span, shares=shares, scenes=scenes, test_share=test_share,
                sample_rate=sample_rate or 16_000, sounds=sounds, num_workers=workers,
            )  # fmt: skip
    typer.echo(f"{len(ids)} videos in {out}")


def cache(
    data: Annotated[Path, typer.Argument(help="Greatest Hits, a rendered folder, or any videos with --captions.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    spec: Annotated[Path, typer.Option(help="YAML with the clip's rates, or a release's model_index.json.")],
    fields: Annotated[str, typer.Option(help="frames,motion,envelope_audio,latents,control_latents,embeddings")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Release with the networks for latents and embeddings.")
    ] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Folder with vae/, if --checkpoint holds only trained parts.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train (default), test, or a list of ids; with --captions a value of its column split."),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(help="CSV with columns file, caption and optionally split: uses only those videos."),
    ] = None,
    format: Annotated[
        Literal["safetensors", "webdataset"], typer.Option(help="Shards to read from a disk, or to stream.")
    ] = "safetensors",
    shard_size: ShardSize = 256,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, max=256, help="Reading processes.")] = 1,
    dtype: Precision = "float32",
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile the autoencoder: faster for more than a few hundred clips; needs a C++ compiler."
        ),
    ] = False,
) -> None:
    """Write clips and outputs of the frozen networks into a cache for training."""
    import json

    from foleygram.console import pick_device, use_tf32
    from foleygram.features.writer import cache_dataset

    with reported():
        chosen = use_tf32(pick_device(device))
        manifest = cache_dataset(
            data, out, spec_path=spec, fields=fields.split(","), checkpoint=checkpoint, backbone=backbone, split=split,
            captions=captions, format=format, shard_size=shard_size, batch_size=batch_size, device=chosen,
            num_workers=workers, compile=compile, dtype=dtype,
        )  # fmt: skip
    if not manifest.is_file():
        typer.echo(INCOMPLETE.format(out))
        return
    written = json.loads(manifest.read_text(encoding="utf-8"))
    typer.echo(f"{out}: {written['count']} clips in {len(written['shards'])} shards")
    unread = [message for shard in written["shards"] for message in shard["unread"]]
    if unread:
        typer.echo(f"{len(unread)} unreadable clips left out; first: {unread[0]}", err=True)


def trajectories(
    features: Annotated[Path, typer.Argument(help="Feature cache of stage 2 (`foleygram cache`).")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    checkpoint: Annotated[Path, typer.Option(help="Trained release: the teacher.")],
    backbone: Annotated[
        Path | None, typer.Option(help="Folder of the backbone, if the features were made with --backbone.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Sampling steps of the teacher.")] = 25,
    guidance: Guidance = None,
    states: Annotated[int, typer.Option(min=1, help="States kept of each trajectory, the first one among them.")] = 8,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    shard_size: ShardSize = 256,
    device: Device = "auto",
) -> None:
    """Sample every clip of a feature cache with a trained release and cache the trajectories, for distillation."""
    from foleygram.console import pick_device
    from foleygram.features.trajectories import cache_trajectories

    with reported():
        manifest = cache_trajectories(
            features, out, checkpoint=checkpoint, backbone=backbone, num_inference_steps=steps,
            guidance_scale=guidance, num_states=states, seed=seed, batch_size=batch_size, shard_size=shard_size,
            device=pick_device(device),
        )  # fmt: skip
    typer.echo(str(manifest) if manifest.is_file() else INCOMPLETE.format(out))


def judge(
    data: Annotated[Path, typer.Argument(help="Rendered folder; trains on its train split.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 400,
    seed: Seed = 0,
) -> None:
    """Train the material judge, which is used for evaluation only."""
    from foleygram.evaluation.judge_training import train_judge_from_folder

    with reported():
        accuracy = train_judge_from_folder(data, out, steps=steps, seed=seed)
    typer.echo(f"accuracy on the test split's sounds: {accuracy:.3f}")
