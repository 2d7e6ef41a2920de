"""A benchmark's results, their JSON, and their tables on the terminal."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from foleygram.benchmark.intervals import Interval
from foleygram.benchmark.pairs import Remarks, SoundPair
from foleygram.benchmark.settings import ORACLE
from foleygram.evaluation.scores import Scores
from foleygram.evaluation.statistics import Row
from foleygram.files import atomic_path

METRICS = {
    "onset F1, 50 ms": "onset_f1_50",
    "onset precision, 50 ms": "onset_precision_50",
    "onset recall, 50 ms": "onset_recall_50",
    "onset F1, 100 ms": "onset_f1_100",
    "onset precision, 100 ms": "onset_precision_100",
    "onset recall, 100 ms": "onset_recall_100",
    "onsets, found / true": "onset_count_ratio",
    "hits found, 50 ms": "onset_hit_recall_50",
    "scrapes found, 50 ms": "onset_scratch_recall_50",
    "onsets per minute without events": "false_onsets_per_minute",
    "E-L1": "envelope_l1",
    "envelope correlation": "envelope_correlation",
    "median |lag|, ms": "median_absolute_lag_ms",
    "leak, dB": "leak_db",
    "material accuracy": "material_accuracy",
    "CondFoleyGen: as many onsets": "condfoleygen_same_count",
    "CondFoleyGen: onset accuracy": "condfoleygen_accuracy",
    "CondFoleyGen: onset AP": "condfoleygen_average_precision",
}
COLUMNS = 4
"""Conditions that fit beside the metrics' names on a terminal of 80 characters."""
DIGITS = {"envelope_l1": 4, "median_absolute_lag_ms": 1, "lag_ms": 1, "leak_db": 1}
LEGEND = f"{ORACLE} uses the reference sound, which a system that sees only the video does not have"

FLOOR = (
    "FAD, FAVD and KAD of the reference are the floor: one half of the real videos against the other; a system that is "
    "scored on the same clips as its references may be below it"
)


class Finding(NamedTuple):
    """A result of an experiment: how to read it, a table, and a plot."""

    title: str
    text: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """Cells as they are shown; the first names the row."""
    metrics: Mapping[str, Any] = {}
    """The same as numbers, for report.json."""
    plot: str = ""
    """SVG."""


@dataclass(frozen=True)
class Report:
    """All results of a run."""

    title: str
    protocol: dict[str, Any]
    scores: dict[str, Scores]
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    oracle: tuple[str, ...] = ()
    """Names of the scores whose sounds use the reference sound."""
    borrowed: tuple[str, ...] = ()
    """Names of the scores of conditions with inputs from another clip."""
    alignment: dict[str, float] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)
    pairs: dict[str, list[SoundPair]] = field(default_factory=dict)
    """Files behind each of the scores."""
    notes: tuple[str, ...] = ()
    """Notes on the metrics."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Metrics without weights, and how to get them."""
    labels: dict[str, str] = field(default_factory=dict)
    """Labels and keys of metrics beyond `METRICS`."""
    findings: tuple[Finding, ...] = ()
    """Results of an experiment, with or without scores."""

    def marked(self, name: str) -> str:
        """A score's name, with the mark of an oracle where it is one."""
        return f"{name} {ORACLE}" if name in self.oracle else name

    @property
    def metrics(self) -> dict[str, str]:
        """Labels and keys of all metrics, in the order in which they are shown."""
        return {**METRICS, **self.labels, "clips": "num_clips"}

    def present(self, names: Iterable[str]) -> dict[str, str]:
        """Labels and keys of the metrics that any of the named scores has."""
        summaries = [self.scores[name].summary for name in names]
        return {k: v for k, v in self.metrics.items() if any(summary.get(v) is not None for summary in summaries)}

    def content(self) -> dict[str, Any]:
        """The content of report.json."""
        return {
            "title": self.title,
            "protocol": self.protocol,
            "alignment": self.alignment,
            "oracle": list(self.oracle),
            "borrowed": list(self.borrowed),
            "labels": self.labels,
            "notes": list(self.notes),
            "left_out": self.left_out,
            "remarks": asdict(self.remarks),
            "summary": {name: scores.summary for name, scores in self.scores.items()},
            "intervals": {name: {k: list(v) for k, v in found.items()} for name, found in self.intervals.items()},
            "clips": {name: scores.rows for name, scores in self.scores.items()},
            "findings": [
                {"title": f.title, "text": f.text, "columns": f.columns, "rows": f.rows, "metrics": f.metrics}
                for f in self.findings
            ],
        }


def print_report(report: Report, console: Console | None = None) -> None:
    """One table of what is scored against its own clip, one of what uses other clips; remarks below."""
    console = console or Console()
    own = {report.marked(name): value for name, value in report.scores.items() if name not in report.borrowed}
    for first in range(0, len(own), COLUMNS):
        names = list(own)[first : first + COLUMNS]
        console.print(score_table({name: own[name] for name in names}, report.metrics, report.title))
    if report.borrowed:
        others = {report.marked(name): report.scores[name] for name in report.borrowed}
        console.print(score_table(others, report.metrics, "borrowed conditions"))
    if report.oracle:
        console.print(LEGEND, markup=False)
    if report.labels:
        console.print(FLOOR, markup=False, highlight=False)
    for finding in report.findings:
        console.print(finding_table(finding))
        console.print(finding.text, markup=False, highlight=False)
    for note in report.notes:
        console.print(note, style="yellow", markup=False, highlight=False)
    if report.left_out:
        console.print(
            f"left out because weights are missing: {', '.join(report.left_out)}; --out lists how to get each",
            markup=False, highlight=False,
        )  # fmt: skip
    for kind, lines in asdict(report.remarks).items():
        if lines:
            more = f" (and {len(lines) - 1} more, see the report)" if len(lines) > 1 else ""
            console.print(f"{kind.replace('_', ' ')}: {lines[0]}{more}", style="yellow", markup=False, highlight=False)


def score_table(scores: Mapping[str, Scores], rows: Mapping[str, str], title: str) -> Table:
    """One column per name, one line per metric; a dash where it is not defined."""
    table = Table(title=title)
    table.add_column("metric", no_wrap=True)
    for name in scores:
        table.add_column(name, justify="right", min_width=max(map(len, name.split())))
    for label, key in rows.items():
        if any(scored.summary.get(key) is not None for scored in scores.values()):
            table.add_row(label, *(cell(key, found.summary.get(key)) for found in scores.values()))
    return table


def finding_table(finding: Finding) -> Table:
    """A finding's cells as the terminal shows them."""
    table = Table(title=finding.title)
    for number, column in enumerate(finding.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in finding.rows:
        table.add_row(*row)
    return table


def print_values(values: Mapping[str, float], names: Sequence[str], *, title: str, console: Console) -> None:
    """Print the values that `names` name, one line each; a dash for a missing one."""
    table = Table("metric", "value", title=title)
    for name in names:
        table.add_row(name.replace("_", " "), cell(name, values.get(name)))
    console.print(table)


def print_changes(changes: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str], console: Console) -> None:
    """Print the changes since an earlier report, a line per metric; a star where the interval excludes zero."""
    table = Table(title="change since the earlier report, with its 95% interval")
    for column in ("condition", "metric", "before", "now", "change"):
        table.add_column(column, justify="left" if column in ("condition", "metric") else "right")
    for name, metrics in changes.items():
        for label, key in rows.items():
            if key in metrics:
                table.add_row(name, label, *changed_cells(key, metrics[key]))
    console.print(table)


def changed_cells(key: str, change: Any) -> tuple[str, str, str]:
    """Before, now, and the difference with its interval."""
    text = f"{change.now - change.before:+.{DIGITS.get(key, 3)}f}"
    if change.interval is not None:
        text += f" ({cell(key, change.interval.low)} to {cell(key, change.interval.high)})"
    return cell(key, change.before), cell(key, change.now), text + (" *" if change.clear else "")


def cell(key: str, value: float | int | None) -> str:
    """A value with its number of digits, a dash for none."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS.get(key, 3)}f}"


def write_rows(path: Path, scores: Mapping[str, Scores]) -> None:
    """Write the row of every clip in every condition as CSV, atomically."""
    rows: list[Row] = [{"condition": name, **row} for name, scored in scores.items() for row in scored.rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
