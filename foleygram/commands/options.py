"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

MINI = Path("checkpoints/mini")

Checkpoint = Annotated[Path, typer.Option(help="Release folder.")]
Release = Annotated[Path, typer.Option(help="Release folder, or hub:OWNER/NAME on the model hub.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Offload = Annotated[
    bool, typer.Option("--offload", help="Keep networks in main memory, each on the device only while it runs.")
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option(help="Precision of the release's networks; envelopes and diffusion times stay float32."),
]
Split = Annotated[str, typer.Option(help="train, test, or a list of ids.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps; more are slower; default: the release's.")]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale, 1 for none; default: the release's.")]
ApgScale = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="1: adaptive projected guidance, 0: plain guidance; default: the release's."),
]
Solver = Annotated[str | None, typer.Option(help="Solver; default: the release's.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many clips, spread over the split.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Clips per batch.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Clips in a shard.")]
Metrics = Annotated[
    str | None, typer.Option(help="Metric names, separated by commas; an unknown name lists all. Default: all.")
]
Networks = Annotated[
    Path,
    typer.Option(help="Folder of published networks; metrics whose networks are missing are left out."),
]
Embedders = Annotated[
    list[str] | None, typer.Option(help="CLASS_PATH=FOLDER of one more network for FAD and KAD; repeatable.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
