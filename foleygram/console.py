"""What people see: a progress bar with the time left, and tables."""

from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from foleygram.batch import FileResult, GenerationOptions, generate_folder
from foleygram.datasets.folder import find_videos
from foleygram.pipeline import FoleyGRAMPipeline
from foleygram.weights import PartFacts


def pick_device(device: str) -> torch.device:
    """The device that a name stands for; `auto`: CUDA, then MPS, then the CPU. Raises ValueError for an absent one."""
    if device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: not usable here ({error}); try auto") from None
    return chosen


def generate_with_progress(
    source: Path, out: Path, checkpoint: Path, options: GenerationOptions, *, device: str, offload: bool = False
) -> int:
    """Run `generate_folder` with a progress bar and print its table; returns the number of files that failed."""
    console = Console()
    total = len(find_videos(source)) * options.num_inference_steps
    pipeline, chosen = FoleyGRAMPipeline.from_pretrained(checkpoint), pick_device(device)
    pipeline = pipeline.enable_model_cpu_offload(chosen) if offload else pipeline.to(chosen)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("generating", total=total)
        started: list[Path] = []

        def progress(video: Path, step: int) -> None:
            if not started or started[-1] != video:
                started.append(video)
            done = (len(started) - 1) * options.num_inference_steps + step
            bar.update(task, completed=done, description=video.name)

        results = generate_folder(pipeline, source, out, options, progress=progress)
    print_results(console, results)
    return sum(result.error is not None for result in results)


def print_results(console: Console, results: list[FileResult]) -> None:
    """The closing table, then one line per failure or change of container."""
    table = Table("file", "seconds", "envelope", "onsets", "seconds spent")
    for row in results:
        if row.error:
            table.add_row(row.video.name, "-", "-", "-", "failed")
        elif row.skipped:
            table.add_row(row.video.name, "-", "-", "-", "already there")
        else:
            table.add_row(
                row.video.name, f"{row.seconds:.2f}", row.envelope, str(row.num_onsets), f"{row.seconds_spent:.1f}"
            )
    console.print(table)
    for row in results:
        if row.error:
            console.print(f"failed: {row.error}", style="red", highlight=False, markup=False, soft_wrap=True)
        elif any(path.suffix == ".mkv" for path in row.written):
            console.print(
                f"{row.video.name}: MP4 cannot carry this picture's codec, so it is {row.written[-1].name}",
                markup=False,
            )


def print_parts(folder: Path, parts: list[PartFacts]) -> None:
    """What a release folder holds, part by part, and which share of it stage 2 trains."""
    table = Table("part", "class", "parameters", "stage 2", "licence", title=f"{folder}: every hash agrees")
    for part in parts:
        state = "trained" if part.trained_in_stage_2 else "frozen"
        table.add_row(part.name, part.kind, f"{part.parameters:,}" if part.parameters else "-", state, part.licence)
    total = sum(part.parameters for part in parts)
    trained = sum(part.parameters for part in parts if part.trained_in_stage_2)
    Console().print(table, f"{total:,} parameters, {trained / max(total, 1):.1%} of them trained in stage 2", sep="\n")
