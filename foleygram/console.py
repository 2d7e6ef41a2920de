"""Terminal output: progress bars with the time left, and tables."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from foleygram.distributed import current_process, joined_processes
from foleygram.envelope.editing.hits import find_hits
from foleygram.envelope.envelope import Envelope
from foleygram.pipeline.convert import PartFacts
from foleygram.pipeline.parts import DTYPES
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import find_release
from foleygram.production.batch_runner import Sampling, TakeRule
from foleygram.production.export import ExportOptions
from foleygram.production.job import JobOptions
from foleygram.production.manifest import DONE, FAILED, MANIFEST, Row
from foleygram.production.plan import ALREADY_DONE
from foleygram.production.provenance import current_environment, differences, read_sidecar
from foleygram.production.rerender import rerender
from foleygram.production.run import RunOutcome, generate_files

MAX_TABLE_ROWS = 100
"""Files in the closing table; the manifest lists all."""
COLUMNS = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
TAKES_LEGEND = (
    "The first take of each file is kept: half of its rank is how well it follows the envelope (E-L1, lag, leak), half "
    "the GRAM volume of video, prompt and sound. The volume comes from the encoders that condition the model: it is "
    "no independent judge."
)


class Printing(NamedTuple):
    """Output of a command: a progress bar and tables, errors and deviations only (`quiet`), or JSON."""

    quiet: bool = False
    as_json: bool = False

    def console(self, *, first: bool = True) -> Console:
        """The console for messages: standard error with `quiet` or `as_json`."""
        return Console(stderr=self.quiet or self.as_json, quiet=not first)

    def bar(self, console: Console) -> Progress:
        """The one progress bar, with the time left."""
        return Progress(*COLUMNS, console=console, transient=True, disable=self.quiet)


PROGRESS_AND_TABLES = Printing()


def pick_device(device: str) -> torch.device:
    """The device `device`; `auto` is CUDA, then MPS, then the CPU; `cuda` is the local rank's GPU.

    Raises ValueError if it is not available.
    """
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", current_process().local_rank % torch.cuda.device_count())
    if device == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: not available ({error}); try auto") from None
    return chosen


def use_tf32(device: torch.device) -> torch.device:
    """`device`; from now on CUDA computes float32 products in TF32 (10 bits of mantissa)."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device


def generate_with_progress(
    options: Mapping[Path, JobOptions],
    out: Path,
    checkpoint: Path,
    load: Callable[[], FoleyGRAMPipeline],
    *,
    sampling: Sampling,
    rule: TakeRule,
    export: ExportOptions,
    batch_size: int,
    overwrite: bool,
    dry_run: bool,
    printing: Printing = PROGRESS_AND_TABLES,
) -> RunOutcome:
    """Run `generate_files` with a progress bar and print its outcome.

    Under torchrun or srun, the processes share the batches and the first one prints.
    """
    with joined_processes() as process:
        console = printing.console(first=process.first)
        with printing.bar(console) as bar:
            task = bar.add_task("reading lengths", total=len(options))

            def begun(steps: int) -> Callable[[int, str], None]:
                bar.update(task, total=steps, completed=0, description="generating")
                return lambda done, names: bar.update(task, completed=done, description=names[:40])

            outcome = generate_files(
                options, out, checkpoint, load, sampling=sampling, rule=rule, export=export, batch_size=batch_size,
                overwrite=overwrite, dry_run=dry_run, process=process, begun=begun,
                planned=lambda done: bar.update(task, completed=done),
            )  # fmt: skip
        if printing.as_json and process.first:
            print_json(outcome_record(outcome, out))
        else:
            print_outcome(console, outcome, printing)
        if not (dry_run or printing.quiet or printing.as_json):
            print_line(console, f"results are in {out}; {MANIFEST} there lists every file")
    return outcome


def rerender_with_progress(
    path: Path, video: Path | None, out: Path, checkpoint: Path | None, *, device: str, offload: bool
) -> int:
    """Render a recorded result again and print which files have the same bytes; returns how many differ.

    Uses the recorded number of threads, because another number rounds differently on a CPU.
    """
    console, sidecar, chosen = Console(), read_sidecar(path, video), pick_device(device)
    folder = find_release(checkpoint or sidecar.record["checkpoint"]["folder"])
    torch.set_num_threads(sidecar.record["threads"])
    environment = current_environment(folder, chosen)
    for difference in differences(sidecar.record, environment):
        print_line(console, f"the bytes may differ: {difference}", style="yellow")
    pipeline = load_pipeline(folder, chosen, offload=offload, dtype=sidecar.sampling.dtype)
    with Progress(*COLUMNS, console=console, transient=True) as bar:
        task = bar.add_task(sidecar.video.name[:40], total=sidecar.sampling.num_inference_steps)
        again = rerender(pipeline, sidecar, environment, out, callback=lambda step: bar.update(task, completed=step))
    for name in again.written:
        if not name.endswith(".json"):
            print_line(console, f"{out / name}: {'differs from the record' if name in again.changed else 'same bytes'}")
    return len(again.changed)


def load_pipeline(
    checkpoint: Path, device: torch.device, *, offload: bool, dtype: str = "float32"
) -> FoleyGRAMPipeline:
    """The pipeline of a release on `device`; with `offload` each network is there only while it runs."""
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint, DTYPES[dtype])
    return pipeline.enable_model_cpu_offload(device) if offload else pipeline.to(device)


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """Print `text` on one line as it is, without markup."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print JSON on standard output."""
    sys.stdout.write(json.dumps(content, indent=1, allow_nan=False) + "\n")


def envelope_record(video: Path, envelope: Envelope, written: Sequence[Path]) -> dict[str, Any]:
    """An envelope as JSON: its length and hits in seconds, levels as linear RMS, and the files that were written."""
    hits = [
        {"time": float(hit.time), "level": float(hit.level), "decay": float(hit.decay)} for hit in find_hits(envelope)
    ]
    return {
        "file": str(video), "seconds": envelope.seconds, "rate": float(envelope.rate), "hits": hits,
        "written": [str(path) for path in written],
    }  # fmt: skip


def outcome_record(outcome: RunOutcome, out: Path) -> dict[str, Any]:
    """A run's outcome as JSON: counts, and per file its state, why, its onsets and the paths of its results."""
    files = [
        {
            "file": row.file, "name": row.name, "state": outcome.state(row),
            "reason": outcome.skipped.get(row.name, row.reason), "deviations": list(row.deviations),
            "seconds": row.seconds, "onsets": row.onsets, "envelope": row.envelope,
            "written": [str(out / name) for name in row.written], "seconds_spent": row.seconds_spent,
        }
        for row in outcome.rows
    ]  # fmt: skip
    return {"out": str(out), "counts": outcome.counts(), "files": files}


def print_outcome(console: Console, outcome: RunOutcome, printing: Printing = PROGRESS_AND_TABLES) -> None:
    """Print the closing table, the takes, and a line for each file that failed, deviates, was kept or needs a remark.

    A quiet run prints the lines of files that failed or deviate.
    """
    if not printing.quiet:
        console.print(outcome_table(outcome))
        scored = [row for row in outcome.rows[:MAX_TABLE_ROWS] if row.takes and row.name not in outcome.skipped]
        if scored:
            console.print(takes_table(scored), TAKES_LEGEND)
        if len(outcome.rows) > MAX_TABLE_ROWS:
            console.print(f"and {len(outcome.rows) - MAX_TABLE_ROWS} more files, listed in the manifest")
    for row in outcome.rows:
        if row.state == FAILED:
            print_line(console, f"failed: {row.reason}", style="red")
        elif row.deviations:
            print_line(console, f"{row.video.name}: done, but {'; '.join(row.deviations)}", style="yellow")
        if not printing.quiet:
            for remark in _remarks(row, outcome):
                print_line(console, f"{row.video.name}: {remark}")
    if not printing.quiet:
        print_line(console, ", ".join(f"{count} {state}" for state, count in outcome.counts().items() if count))


def outcome_table(outcome: RunOutcome) -> Table:
    """A line per file: its length, envelope, onsets, batch, time spent, and what came of it."""
    table = Table(Column("file", overflow="fold"), "seconds", "envelope", "onsets", "batch", "seconds spent", "result")
    for row in outcome.rows[:MAX_TABLE_ROWS]:
        cells = ["-"] * 5
        if row.state != FAILED and row.name not in outcome.skipped:
            done = row.state == DONE
            spent, onsets = (f"{row.seconds_spent:.1f}", str(row.onsets)) if done else ("-", "-")
            cells = [f"{row.seconds:.2f}", row.envelope, onsets, str(row.batch), spent]
        table.add_row(Text(row.video.name), *cells, outcome.state(row))
    return table


def _remarks(row: Row, outcome: RunOutcome) -> Iterator[str]:
    if row.name in outcome.skipped:
        if outcome.skipped[row.name] != ALREADY_DONE:
            yield outcome.skipped[row.name]
    elif row.state == DONE:
        if not row.onsets:
            yield "the envelope asked for has no onsets; set the timing with --envelope (docs/envelope.md)"
        if row.reason:
            yield row.reason


def takes_table(rows: Sequence[Row]) -> Table:
    """Scores of every take, the kept one first."""
    table = Table(Column("file", overflow="fold"), "take", "E-L1", "of the level", "lag, ms", "leak, dB", "volume")
    for row in rows:
        for number, l1, relative_l1, volume, *lag_and_leak in row.takes:
            measured = ["-" if value != value else f"{value:.0f}" for value in lag_and_leak]
            table.add_row(
                Text(row.video.name), f"{number:.0f}", f"{l1:.4f}", f"{relative_l1:.0%}", *measured, f"{volume:.3f}"
            )
    return table


def print_parts(folder: Path, parts: list[PartFacts]) -> None:
    """Print the parts of a release, and the share of parameters that stage 2 trains."""
    table = Table("part", "class", "parameters", "stage 2", "licence", title=f"{folder}: all hashes match")
    for part in parts:
        state = "trained" if part.trained_in_stage_2 else "frozen"
        table.add_row(part.name, part.kind, f"{part.parameters:,}" if part.parameters else "-", state, part.licence)
    total = sum(part.parameters for part in parts)
    trained = sum(part.parameters for part in parts if part.trained_in_stage_2)
    Console().print(table, f"{total:,} parameters, {trained / max(total, 1):.1%} of them trained in stage 2", sep="\n")
