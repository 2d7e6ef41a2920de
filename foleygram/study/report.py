"""The benchmark's table and its JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foleygram.evaluation.scores import Scores
from foleygram.media.files import atomic_path

ROWS = {
    "onset F1, 50 ms": "onset_f1_50",
    "onset F1, 100 ms": "onset_f1_100",
    "onsets, found / true": "onset_count_ratio",
    "hits found, 50 ms": "onset_hit_recall_50",
    "scrapes found, 50 ms": "onset_scratch_recall_50",
    "E-L1": "envelope_l1",
    "envelope correlation": "envelope_correlation",
    "median |lag|, ms": "median_absolute_lag_ms",
    "leak, dB": "leak_db",
    "material accuracy": "material_accuracy",
    "clips": "num_clips",
}
DIGITS = {"envelope_l1": 4, "median_absolute_lag_ms": 1, "leak_db": 1}


def score_table(rows_by_condition: Mapping[str, Scores], title: str | None = None) -> Table:
    """One column per condition, one line per figure; a dash where there is nothing to say."""
    table = Table(title=title)
    table.add_column("figure", no_wrap=True)
    for condition in rows_by_condition:
        table.add_column(condition, justify="right", min_width=max(map(len, condition.split())))
    for label, key in ROWS.items():
        table.add_row(label, *(_cell(key, scores.summary.get(key)) for scores in rows_by_condition.values()))
    return table


def print_table(
    rows_by_condition: Mapping[str, Scores], *, title: str | None = None, console: Console | None = None
) -> None:
    """Print the table of `score_table`."""
    (console or Console()).print(score_table(rows_by_condition, title))


def print_figures(
    figures: Mapping[str, float], names: Sequence[str], *, title: str, console: Console | None = None
) -> None:
    """Print the figures that `names` name, one line each; those that are missing get a dash."""
    table = Table("figure", "value", title=title)
    for name in names:
        table.add_row(name.replace("_", " "), _cell(name, figures.get(name)))
    (console or Console()).print(table)


def write_report(path: Path, *, protocol: Mapping[str, Any], conditions: Mapping[str, Scores], **more: Any) -> None:
    """Write protocol, figures and clips as JSON, whole or not at all; `more` adds sections.

    Raises ValueError for a figure that is not finite.
    """
    content = {
        "protocol": dict(protocol),
        **more,
        "summary": {name: scores.summary for name, scores in conditions.items()},
        "clips": {name: scores.rows for name, scores in conditions.items()},
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _cell(key: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS.get(key, 3)}f}"
