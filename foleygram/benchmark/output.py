"""Prints a report and writes it: as one JSON file, or as a folder with a page to view and listen to."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from foleygram.benchmark.alignment import PRINTED
from foleygram.benchmark.comparison import Change, compare_reports, comparison_notes
from foleygram.benchmark.report import Report, print_changes, print_report, print_values, write_rows
from foleygram.distributed import current_process
from foleygram.files import error_text, read_json, write_json

REPORT, ROWS, PAGE, SOUNDS, FEATURES = "report.json", "per_clip.csv", "report.html", "sounds", "features"


def kept_folder(out: Path | None, name: str) -> Path | None:
    """Folder `name` (`SOUNDS`, `FEATURES`) of a run that writes to the folder `out`; None for a JSON file."""
    return None if out is None or out.suffix == ".json" else out / name


def read_report(path: Path) -> dict[str, Any]:
    """An earlier report.json, or the one in a folder; raises ValueError when it is none."""
    path = path / REPORT if path.is_dir() else path
    try:
        content = read_json(path)
        if not {"protocol", "summary", "clips"} <= content.keys():
            raise ValueError("it lacks protocol, summary or clips")
        for row in (row for rows in content["clips"].values() for row in rows):
            row |= {"classified_as": row.pop("heard")} if "heard" in row else {}  # its name in earlier reports
        clips = {name: [(row["video_id"], row["start"]) for row in rows] for name, rows in content["clips"].items()}
        summaries = {name: summary.items() for name, summary in content["summary"].items()}
        if clips.keys() != summaries.keys() or not isinstance(content["protocol"].get("embedders", {}), dict):
            raise ValueError("its protocol, summary and clips do not match")
        return content
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; give the report.json of an earlier run") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a report of `foleygram evaluate` ({error_text(error)}); score that system again"
        ) from error


def report_results(
    report: Report,
    out: Path | None,
    *,
    earlier: dict[str, Any] | None = None,
    num_clips: int = 12,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Print `report`, and write it to `out` if given: a path that ends in .json, or a folder.

    With `quiet` nothing is printed; with `as_json` the report as JSON alone, on standard output. Of several processes
    only the first does. Raises ValueError at the end if the report cannot be compared with the `earlier` one; it is
    written without the comparison.
    """
    if not current_process().first:
        return
    console = Console(quiet=quiet or as_json)
    changes: dict[str, dict[str, Change]] = {}
    refusal: ValueError | None = None
    if earlier is not None:
        try:
            changes = compare_reports(report, earlier, seed=report.protocol["seed"])
            report = replace(report, notes=(*report.notes, *comparison_notes(report, earlier)))
        except ValueError as error:
            refusal = error
    if as_json:
        typer.echo(json.dumps(report.content(), indent=1, allow_nan=False))
    print_report(report, console)
    if report.alignment:
        print_values(report.alignment, PRINTED, title="alignment, the same clips", console=console)
    if changes:
        print_changes(changes, report.metrics, console)
    if out is not None and out.suffix == ".json":
        write_json(out, report.content())
    elif out is not None:
        from foleygram.benchmark.page import write_report_page

        write_json(out / REPORT, report.content())
        write_rows(out / ROWS, report.scores)
        write_report_page(out / PAGE, report, changes, num_clips=num_clips)
        console.print(f"{out / PAGE}", markup=False, highlight=False, soft_wrap=True)
    if refusal is not None:
        raise ValueError(f"not compared: {refusal}")
