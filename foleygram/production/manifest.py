"""The manifest of an output folder: one row per video, with its batch, so that batches stay as they were cut."""

import csv
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from foleygram.files import error_text, read_csv

MANIFEST = "manifest.csv"
WORK = ".foleygram"
"""Folder beside the manifest for unfinished files; the next run removes what a killed run left there."""
TODO, DONE, SKIPPED, FAILED = "todo", "done", "skipped", "failed"


@dataclass(frozen=True)
class Row:
    """The state of one video, its slot in a batch, and its results."""

    name: str
    """Name of the results; unique."""
    file: str
    state: str = TODO
    reason: str = ""
    batch: int = -1
    """Number of the batch, -1 for none; rows keep their order, and with it their slot in the batch."""
    seconds: float = 0.0
    latents: int = 0
    windows: int = 0
    settings: str = ""
    """Short hash of everything that the result depends on, apart from the file and its batch."""
    content: str = ""
    """Short hash of the file's bytes when it was planned."""
    envelope: str = ""
    onsets: int = 0
    seconds_spent: float = 0.0
    takes: tuple[tuple[float, ...], ...] = ()
    """Per take, best first: number, E-L1, E-L1 relative to the level asked for, GRAM volume, lag, leak."""
    written: tuple[str, ...] = ()
    """Results, relative to the manifest's folder; those of an earlier run unless the row is done."""
    deviations: tuple[str, ...] = ()
    """In what a result that is done is not what was asked for; absent in manifests of earlier versions."""

    @property
    def video(self) -> Path:
        """The input file."""
        return Path(self.file)

    def failed(self, reason: str) -> "Row":
        """The row as failed; results of an earlier run stay, and the reason mentions them."""
        kept = "; the files there are from an earlier run" if self.written else ""
        return replace(self, state=FAILED, reason=reason + kept)


class Manifest:
    """The rows of an output folder by name. Each process appends to a journal of its own until the table is written."""

    def __init__(self, out: Path) -> None:
        """Read the folder's manifest, and the journals of runs that were killed.

        Raises ValueError if the table is not a manifest.
        """
        self.out, self.work = out, out / WORK
        table = out / MANIFEST
        rows = [_parse_row(cells, table) for _, cells in read_csv(table)[1]] if table.is_file() else []
        self.rows = {row.name: row for row in rows}
        self.merge()

    def merge(self) -> None:
        """Take over the rows in the journals of all processes."""
        for journal in sorted(self.work.glob("journal-*.jsonl")):
            for line in journal.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):  # otherwise a kill cut it short
                    row = _parse_row(json.loads(line), journal)
                    self.rows[row.name] = row

    def record(self, row: Row, rank: int) -> None:
        """Append a row to this process's journal."""
        self.rows[row.name] = row
        with (self.work / f"journal-{rank}.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(row)) + "\n")

    def write(self) -> None:
        """Write the table atomically; raises OSError naming it."""
        self.work.mkdir(parents=True, exist_ok=True)
        temporary = self.work / MANIFEST
        try:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow([field.name for field in fields(Row)])
                table.writerows([_cell(value) for value in asdict(row).values()] for row in self.rows.values())
            temporary.replace(self.out / MANIFEST)
        except OSError as error:
            message = f"{self.out / MANIFEST}: cannot be written ({error.strerror}); check free space and permissions"
            raise OSError(error.errno, message) from error

    def begin(self) -> None:
        """Write the planned table and remove what a killed run left unfinished."""
        self.merge()
        self.out.mkdir(parents=True, exist_ok=True)
        for leftover in self.work.iterdir() if self.work.is_dir() else ():
            if leftover.is_dir():
                shutil.rmtree(leftover)
        self.finish()

    def finish(self) -> None:
        """Write the table and remove the journals, whose rows it now holds."""
        self.merge()
        self.write()
        for journal in self.work.glob("journal-*.jsonl"):
            journal.unlink()

    def is_done(self, row: Row) -> bool:
        """Whether all results of a row exist."""
        return row.state == DONE and all((self.out / name).is_file() for name in row.written)

    def batches(self, names: Iterable[str]) -> list[list[Row]]:
        """Batches with at least one of `names` to do, each with all its rows in their slots."""
        todo = {self.rows[name].batch for name in names if self.rows[name].state == TODO}
        batches: dict[int, list[Row]] = {number: [] for number in sorted(todo)}
        for row in self.rows.values():
            if row.batch in batches:
                batches[row.batch].append(row)
        return list(batches.values())


def _parse_row(cells: dict[str, Any], path: Path) -> Row:
    try:
        cells = {"deviations": "[]", **cells}
        return Row(**{field.name: _parse(cells[field.name], field.type) for field in fields(Row)})
    except (KeyError, ValueError, TypeError) as error:
        problem = f"not a manifest of foleygram ({error_text(error)})"
        raise ValueError(f"{path}: {problem}; move it away or choose another --out") from error


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list) else value


def _parse(cell: Any, kind: Any) -> Any:
    if kind in (str, int, float):
        return kind(cell)
    return tuple(json.loads(cell) if isinstance(cell, str) else cell)
