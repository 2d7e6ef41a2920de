"""The manifest of a folder of results: one row per file, and the batches, which stay as they were cut."""

import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from foleygram.files import read_csv

MANIFEST = "manifest.csv"
WORK = ".foleygram"
"""Folder beside the manifest for what is unfinished; whatever a killed run left there, the next one removes."""
TODO, DONE, SKIPPED, FAILED = "todo", "done", "skipped", "failed"


@dataclass(frozen=True)
class Row:
    """What is known of a file: its state and why, its place in a batch, what was made of it."""

    name: str
    """What the results are called; one row per name."""
    file: str
    state: str = TODO
    reason: str = ""
    batch: int = -1
    """Number of the batch, -1 for none; a batch's rows keep their order, so each keeps its place."""
    seconds: float = 0.0
    latents: int = 0
    windows: int = 0
    settings: str = ""
    """Short hash of all that the result depends on besides the file and its batch."""
    content: str = ""
    """Short hash of the file's bytes when it was planned."""
    envelope: str = ""
    onsets: int = 0
    seconds_spent: float = 0.0
    takes: tuple[tuple[float, ...], ...] = ()
    """Of each take, best first: its number, E-L1, E-L1 as a share of the level asked for, GRAM volume, lag, leak."""
    written: tuple[str, ...] = ()
    """Results, relative to the manifest's folder; of a row that is not done, those of an earlier run."""

    @property
    def video(self) -> Path:
        """The file that the row is about."""
        return Path(self.file)

    def failed(self, reason: str) -> "Row":
        """The row without a result of its own; what an earlier run wrote stays, and the reason says so."""
        left = "; what lies there is of an earlier run" if self.written else ""
        return replace(self, state=FAILED, reason=reason + left)


class Manifest:
    """The rows of a folder of results by name; what a process did since the table was written lies in its journal."""

    def __init__(self, out: Path) -> None:
        """Read the folder's manifest and the journals of runs that ended early.

        Raises ValueError when the table is none of ours.
        """
        self.out, self.work = out, out / WORK
        self.rows = {row.name: row for row in _read_table(out / MANIFEST)}
        self.merge()

    def merge(self) -> None:
        """Take over what the journals of all processes say."""
        for journal in sorted(self.work.glob("journal-*.jsonl")):
            # A line without its end is what a kill cut short.
            for line in journal.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):
                    row = _row(json.loads(line), journal)
                    self.rows[row.name] = row

    def record(self, row: Row, rank: int) -> None:
        """Note a row in this process's journal: one line, at once."""
        self.rows[row.name] = row
        with (self.work / f"journal-{rank}.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(row)) + "\n")

    def write(self) -> None:
        """Write the table, whole or not at all; raises OSError naming it when it cannot be written."""
        self.work.mkdir(parents=True, exist_ok=True)
        temporary = self.work / MANIFEST
        try:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow([field.name for field in fields(Row)])
                table.writerows([_cell(value) for value in asdict(row).values()] for row in self.rows.values())
            temporary.replace(self.out / MANIFEST)
        except OSError as error:
            said = f"{self.out / MANIFEST}: cannot be written ({error.strerror}); free space?"
            raise OSError(error.errno, said) from error

    def begin(self) -> None:
        """Write the table as planned and remove what a killed run left unfinished."""
        self.merge()
        self.out.mkdir(parents=True, exist_ok=True)
        for leftover in self.work.iterdir() if self.work.is_dir() else ():
            if leftover.is_dir():
                shutil.rmtree(leftover)
        self.write()
        self._forget_journals()  # only now: the table holds what they said

    def finish(self) -> None:
        """Write the final table and remove the journals that it holds."""
        self.merge()
        self.write()
        self._forget_journals()

    def _forget_journals(self) -> None:
        for journal in self.work.glob("journal-*.jsonl"):
            journal.unlink()

    def is_done(self, row: Row) -> bool:
        """Whether a row's results are all there."""
        return row.state == DONE and all((self.out / name).is_file() for name in row.written)

    def batches(self, names: Iterable[str]) -> list[list[Row]]:
        """Batches in which something named is to do, each with all its rows in their places."""
        todo = {self.rows[name].batch for name in names if self.rows[name].state == TODO}
        whole: dict[int, list[Row]] = {number: [] for number in sorted(todo)}
        for row in self.rows.values():
            if row.batch in whole:
                whole[row.batch].append(row)
        return list(whole.values())


def cut_batches(rows: Sequence[Row], batch_size: int, *, first: int) -> list[Row]:
    """Rows with the numbers of their batches, from `first` on; what is not to do has none.

    A batch holds at most `batch_size` windows, which is clips of the model's own length; a longer video is one alone.
    """
    cut, number, filled = [], first - 1, batch_size
    for row in rows:
        if row.state != TODO:
            cut.append(replace(row, batch=-1))
            continue
        if filled + row.windows > batch_size:
            number, filled = number + 1, 0
        filled += row.windows
        cut.append(replace(row, batch=number))
    return cut


def _read_table(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    return [_row(cells, path) for _, cells in read_csv(path)[1]]


def _row(cells: dict[str, Any], path: Path) -> Row:
    try:
        known = {field.name: _value(cells[field.name], field.type) for field in fields(Row)}
        return Row(**known)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: no manifest of this program ({error!r}); move it away or choose another --out"
        ) from error


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list) else value


def _value(cell: Any, kind: Any) -> Any:
    if kind in (str, int, float):
        return kind(cell)
    return tuple(json.loads(cell) if isinstance(cell, str) else cell)
