"""report.html: one self-contained file with tables, plots and sounds; it loads nothing, so it works offline."""

import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from foleygram.benchmark.clip_cards import ClipCard, choose_clips, clip_card, shown_conditions
from foleygram.benchmark.comparison import Change
from foleygram.benchmark.report import FLOOR, LEGEND, Report, cell, changed_cells
from foleygram.distributed import progress_bar
from foleygram.files import atomic_path

TEMPLATES = Environment(
    loader=PackageLoader("foleygram.benchmark"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def write_report_page(
    path: Path, report: Report, changes: Mapping[str, Mapping[str, Change]], *, num_clips: int
) -> None:
    """Write the page, atomically, with players for `num_clips` clips, half the best and half the worst."""
    protocol = report.protocol
    text = TEMPLATES.get_template("report.html").render(
        report=report,
        facts={
            "system": protocol.get("checkpoint") or protocol.get("generated"),
            "data": protocol.get("data"),
            "clips": protocol.get("num_clips"),
            "steps": protocol.get("num_inference_steps"),
            "guidance": protocol.get("guidance_scale"),
            "seed": protocol.get("seed"),
        },
        own=[name for name in report.scores if name not in report.borrowed],
        kind=lambda name: "truth" if name == next(iter(report.scores)) else "oracle" if name in report.oracle else "",
        interval=lambda name, key: _interval(report, name, key),
        cell=cell,
        legend=LEGEND,
        floor=FLOOR,
        changes=_changes(report, changes),
        cards=_cards(report, num_clips),
        remarks=[(kind.replace("_", " "), line) for kind, lines in vars(report.remarks).items() for line in lines],
        protocol=json.dumps(protocol, indent=2),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _interval(report: Report, name: str, key: str) -> str:
    interval = report.intervals.get(name, {}).get(key)
    if interval is None or report.scores[name].summary.get(key) is None or interval.low == interval.high:
        return ""
    return f"{cell(key, interval.low)} to {cell(key, interval.high)}"


def _changes(report: Report, changes: Mapping[str, Mapping[str, Change]]) -> list[dict[str, object]]:
    return [
        {"condition": name, "label": label, "clear": found[key].clear, "cells": changed_cells(key, found[key])}
        for name, found in changes.items()
        for label, key in report.metrics.items()
        if key in found
    ]


def _cards(report: Report, num_clips: int) -> dict[str, list[ClipCard]]:
    names = shown_conditions(report)
    if not names or not num_clips:
        return {}
    best, worst = choose_clips(report.scores[names[0]].rows, num_clips)
    cards: dict[str, list[ClipCard]] = {"Best clips": [], "Worst clips": []}
    with progress_bar("drawing clips", len(best) + len(worst), shown=True) as advance:
        for done, (title, row) in enumerate(
            [("Best clips", row) for row in best] + [("Worst clips", row) for row in worst], 1
        ):
            if (card := clip_card(report, row)) is not None:
                cards[title].append(card)
            advance(done)
    return cards
