"""What people see: a progress bar with the time left, and tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from foleygram.distributed import joined_processes, process_place
from foleygram.pipeline.convert import PartFacts
from foleygram.pipeline.parts import DTYPES
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.production.batch_runner import Sampling, TakeRule
from foleygram.production.batches import ALREADY_THERE
from foleygram.production.export import Delivery
from foleygram.production.job import Wish
from foleygram.production.manifest import DONE, FAILED, MANIFEST, Row
from foleygram.production.provenance import differences, read_sidecar, surroundings
from foleygram.production.rerender import render_again
from foleygram.production.run import Outcome, generate_files

SHOWN_ROWS = 100
"""Files of the closing table; the manifest holds them all."""

COLUMNS = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
"""Of a progress bar."""
TAKES_LEGEND = (
    "Kept is the first of each file: half of a take's rank is obedience to the envelope (E-L1, lag, leak), half the "
    "GRAM volume of picture, words and sound. That volume comes from the encoders that steered the sound: no "
    "independent judge."
)


def pick_device(device: str) -> torch.device:
    """The device that a name stands for; `auto`: CUDA, then MPS, then the CPU. A bare `cuda` is this process's own.

    Raises ValueError for an absent one.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", process_place().local_rank % torch.cuda.device_count())
    if device == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: not usable here ({error}); try auto") from None
    return chosen


def generate_with_progress(
    wishes: Mapping[Path, Wish],
    out: Path,
    checkpoint: Path,
    *,
    sampling: Sampling,
    rule: TakeRule,
    delivery: Delivery,
    batch_size: int,
    overwrite: bool,
    dry_run: bool,
    device: str,
    offload: bool,
) -> int:
    """Run `generate_files` with progress bars and print its table; returns the number of files that failed.

    Started by torchrun or srun, every process does its share of the batches and the first one prints.
    """

    def load() -> FoleyGRAMPipeline:
        return load_pipeline(checkpoint, pick_device(device), offload=offload, dtype=sampling.dtype)

    with joined_processes() as place:
        console = Console(quiet=not place.first)
        with Progress(*COLUMNS, console=console, transient=True) as bar:
            task = bar.add_task("reading lengths", total=len(wishes))

            def begun(steps: int) -> Callable[[int, str], None]:
                bar.update(task, total=steps, completed=0, description="generating")
                return lambda done, names: bar.update(task, completed=done, description=names[:40])

            outcome = generate_files(
                wishes, out, checkpoint, load, sampling=sampling, rule=rule, delivery=delivery, batch_size=batch_size,
                overwrite=overwrite, dry_run=dry_run, place=place, begun=begun,
                planned=lambda done: bar.update(task, completed=done),
            )  # fmt: skip
        print_outcome(console, outcome, delivery.container)
        if not dry_run:
            console.print(
                f"{out}: the results; {MANIFEST} there has a line for each file", markup=False, soft_wrap=True
            )
    return outcome.num_failed


def render_again_with_progress(
    path: Path, video: Path | None, out: Path, checkpoint: Path | None, *, device: str, offload: bool
) -> int:
    """Render what a sidecar recorded once more and say whether the bytes are the same; returns how many files differ.

    On a CPU as many threads work as did then, because another number rounds otherwise.
    """
    console, recorded, chosen = Console(), read_sidecar(path, video), pick_device(device)
    folder = checkpoint or Path(recorded.record["checkpoint"]["folder"])
    torch.set_num_threads(recorded.record["threads"])
    here = surroundings(folder, chosen)
    for difference in differences(recorded.record, here):
        console.print(f"the bytes may differ: {difference}", style="yellow", markup=False, soft_wrap=True)
    pipeline = load_pipeline(folder, chosen, offload=offload, dtype=recorded.sampling.dtype)
    with Progress(*COLUMNS, console=console, transient=True) as bar:
        task = bar.add_task(recorded.video.name[:40], total=recorded.sampling.num_inference_steps)
        again = render_again(pipeline, recorded, here, out, callback=lambda step: bar.update(task, completed=step))
    for name in again.written:
        told = "differs from the record" if name in again.changed else "the same bytes"
        if not name.endswith(".json"):
            console.print(f"{out / name}: {told}", markup=False, soft_wrap=True)
    return len(again.changed)


def load_pipeline(
    checkpoint: Path, device: torch.device, *, offload: bool, dtype: str = "float32"
) -> FoleyGRAMPipeline:
    """A release on `device`, or with `offload` each of its networks there for its own step alone."""
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint, DTYPES[dtype])
    return pipeline.enable_model_cpu_offload(device) if offload else pipeline.to(device)


def print_outcome(console: Console, outcome: Outcome, container: str) -> None:
    """The closing table, then one line per file that failed, was left as it is, or has another container."""
    table = Table(Column("file", overflow="fold"), "seconds", "envelope", "onsets", "batch", "seconds spent")
    for row in outcome.rows[:SHOWN_ROWS]:
        name, length, batch = row.video.name, f"{row.seconds:.2f}", str(row.batch)
        if row.name in outcome.kept:
            table.add_row(name, "-", "-", "-", "-", "already there")
        elif row.state == DONE:
            table.add_row(name, length, row.envelope, str(row.onsets), batch, f"{row.seconds_spent:.1f}")
        elif row.state == FAILED:
            table.add_row(name, "-", "-", "-", "-", "failed")
        else:
            table.add_row(name, length, row.envelope, "-", batch, row.state)
    console.print(table)
    compared = [row for row in outcome.rows[:SHOWN_ROWS] if row.takes and row.name not in outcome.kept]
    if compared:
        console.print(takes_table(compared), TAKES_LEGEND)
    if len(outcome.rows) > SHOWN_ROWS:
        console.print(f"and {len(outcome.rows) - SHOWN_ROWS} more files; all of them in the manifest")
    for row in outcome.rows:
        if row.state == FAILED:
            console.print(f"failed: {row.reason}", style="red", highlight=False, markup=False, soft_wrap=True)
        elif outcome.kept.get(row.name, ALREADY_THERE) != ALREADY_THERE:
            console.print(f"{row.video.name}: {outcome.kept[row.name]}", markup=False, soft_wrap=True)
        elif row.name not in outcome.kept and row.state == DONE:
            for said in _remarks(row, container):
                console.print(f"{row.video.name}: {said}", markup=False, soft_wrap=True)


def _remarks(row: Row, container: str) -> Iterator[str]:
    if not row.onsets:
        yield "its envelope has no onset, so hardly anything sounds; --envelope says when (docs/envelope.md)"
    if row.reason:
        yield row.reason


def takes_table(rows: Sequence[Row]) -> Table:
    """Every take of each row with both its scores, the one that was kept first."""
    table = Table(Column("file", overflow="fold"), "take", "E-L1", "of the level", "lag, ms", "leak, dB", "volume")
    for row in rows:
        for number, l1, share, volume, lag, leak in row.takes:
            measured = [f"{figure:.0f}" if figure == figure else "-" for figure in (lag, leak)]
            table.add_row(row.video.name, f"{number:.0f}", f"{l1:.4f}", f"{share:.0%}", *measured, f"{volume:.3f}")
    return table


def print_parts(folder: Path, parts: list[PartFacts]) -> None:
    """What a release folder holds, part by part, and which share of it stage 2 trains."""
    table = Table("part", "class", "parameters", "stage 2", "licence", title=f"{folder}: every hash agrees")
    for part in parts:
        state = "trained" if part.trained_in_stage_2 else "frozen"
        table.add_row(part.name, part.kind, f"{part.parameters:,}" if part.parameters else "-", state, part.licence)
    total = sum(part.parameters for part in parts)
    trained = sum(part.parameters for part in parts if part.trained_in_stage_2)
    Console().print(table, f"{total:,} parameters, {trained / max(total, 1):.1%} of them trained in stage 2", sep="\n")
