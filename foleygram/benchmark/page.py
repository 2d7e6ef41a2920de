"""report.html: one file to read, look at and listen to; nothing is fetched, so it works offline and from a disk."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

from foleygram.benchmark.clip_cards import choose_clips, clip_card, shown_conditions
from foleygram.benchmark.comparison import Change
from foleygram.benchmark.report import FLOOR, LEGEND, Finding, Report, cell, changed_cells
from foleygram.distributed import progress_bar
from foleygram.files import atomic_path

INTERVALS = (
    "Small: 95% bootstrap intervals over videos; none where fewer than five videos carry the figure, and none for FAD, "
    "FAVD and KAD, which drawing clips twice would bias."
)
CARDS = (
    "Best and worst by onset F1 at 50 ms, then by envelope correlation, in the first condition. Upper half: mel "
    "spectrogram, in dB below the reference's loudest. Lower half: the reference's envelope (filled) and the sound's "
    "own (line), linear RMS. Dashed: true onsets; triangles: onsets that the detector hears. A click seeks."
)


def write_page(path: Path, report: Report, changes: Mapping[str, Mapping[str, Change]], *, num_clips: int) -> None:
    """Write the page, whole or not at all, with `num_clips` clips to hear, half the best and half the worst."""
    pages = files("foleygram.benchmark") / "templates"
    body = "\n".join(
        part
        for part in (
            _head(report), _notes(report), _scores(report), _changes(changes, report.rows),
            *map(_finding, report.findings), _alignment(report.alignment), _clips(report, num_clips),
            _remarks(report), _protocol(report),
        )
        if part
    )  # fmt: skip
    words = {
        "title": escape(report.title),
        "style": (pages / "report.css").read_text(encoding="utf-8"),
        "script": (pages / "report.js").read_text(encoding="utf-8"),
        "body": body,
    }
    page = (pages / "report.html").read_text(encoding="utf-8")
    for name, text in words.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _head(report: Report) -> str:
    facts = {
        "system": report.protocol.get("checkpoint") or report.protocol.get("generated"),
        "data": report.protocol.get("data"),
        "clips": report.protocol.get("num_clips"),
        "steps": report.protocol.get("num_inference_steps"),
        "guidance": report.protocol.get("guidance_scale"),
        "seed": report.protocol.get("seed"),
    }
    terms = "".join(f"<span><b>{k}</b> {escape(str(v))}</span>" for k, v in facts.items() if v is not None)
    return f'<header><h1>{escape(report.title)}</h1><p class="facts">{terms}</p></header>'


def _notes(report: Report) -> str:
    lines = "".join(f"<li><b>{escape(name)}</b> {escape(how)}</li>" for name, how in report.left_out.items())
    left_out = (
        f"<details><summary>{len(report.left_out)} metrics left out for want of weights, and how to get them</summary>"
        f"<ul>{lines}</ul></details>"
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    return (f'<div class="note">{notes}</div>' if notes else "") + (left_out if lines else "")


def _scores(report: Report) -> str:
    own = [name for name in report.scores if name not in report.borrowed]
    tables = [_score_table(report, own)] if own else []
    if report.borrowed:
        tables.append("<h3>Borrowed from another clip</h3>" + _score_table(report, list(report.borrowed)))
    if not tables:
        return ""
    legend = f"{escape(LEGEND)}. " if report.oracle else ""
    floor = f"{escape(FLOOR)}. " if report.labels else ""
    return f'<section><h2>Scores</h2>{"".join(tables)}<p class="small">{legend}{floor}{INTERVALS}</p></section>'


def _score_table(report: Report, names: list[str]) -> str:
    """A column per name, a line per figure that any of them has."""
    truth = next(iter(report.scores))
    kinds = ["truth" if name == truth else "oracle" if name in report.oracle else "" for name in names]
    head = "".join(
        f'<th class="{kind}">{escape(report.marked(name))}</th>' for name, kind in zip(names, kinds, strict=True)
    )
    rows = []
    for label, key in report.rows.items():
        if any(report.scores[name].summary.get(key) is not None for name in names):
            cells = (
                f'<td class="{kind}">{_figure(report, name, key)}</td>' for name, kind in zip(names, kinds, strict=True)
            )
            rows.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table class="scores"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure(report: Report, name: str, key: str) -> str:
    text = cell(key, report.scores[name].summary.get(key))
    interval = report.intervals.get(name, {}).get(key)
    if interval is None or text == "-" or interval.low == interval.high:
        return text
    return f"{text}<small>{cell(key, interval.low)} to {cell(key, interval.high)}</small>"


def _changes(changes: Mapping[str, Mapping[str, Change]], labels: Mapping[str, str]) -> str:
    rows = [
        f'<tr class="{"clear" if figures[key].clear else ""}"><th>{escape(name)}</th><th>{escape(label)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in changed_cells(key, figures[key]))
        + "</tr>"
        for name, figures in changes.items()
        for label, key in labels.items()
        if key in figures
    ]
    if not rows:
        return ""
    head = "<tr><th>condition</th><th>figure</th><th>before</th><th>now</th><th>change (95% interval)</th></tr>"
    return (
        f'<section><h2>Since the earlier report</h2><div class="wide"><table class="changes"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="small">* the interval of the difference, paired by clip, leaves out zero.</p></section>'
    )


def _finding(finding: Finding) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in finding.columns)
    rows = "".join(
        f"<tr><th>{escape(row[0])}</th>" + "".join(f"<td>{escape(text)}</td>" for text in row[1:]) + "</tr>"
        for row in finding.rows
    )
    table = (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>' if rows else ""
    )
    plot = f'<div class="plot">{finding.plot}</div>' if finding.plot else ""
    return f"<section><h2>{escape(finding.title)}</h2><p>{escape(finding.text)}</p>{plot}{table}</section>"


def _alignment(figures: Mapping[str, float]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{cell(name, value)}</td></tr>"
        for name, value in figures.items()
    )
    return (
        f"<details><summary>The aligned space on these clips</summary><table>{rows}</table></details>" if rows else ""
    )


def _clips(report: Report, num_clips: int) -> str:
    names = shown_conditions(report)
    if not names or not num_clips:
        return ""
    best, worst = choose_clips(report.scores[names[0]].rows, num_clips)
    parts = []
    with progress_bar("drawing clips", len(best) + len(worst), shown=True) as advance:
        for title, rows in (("Best clips", best), ("Worst clips", worst)):
            cards = []
            for row in rows:
                cards.append(clip_card(report, row))
                advance(len(cards) + (len(best) if rows is worst else 0))
            parts.append(f"<h2>{title}</h2>{''.join(cards)}" if any(cards) else "")
    return f'<section class="clips">{parts[0]}{parts[1]}<p class="small">{CARDS}</p></section>'


def _remarks(report: Report) -> str:
    lines = [(kind.replace("_", " "), line) for kind, found in vars(report.remarks).items() for line in found]
    items = "".join(f"<li><b>{kind}</b> {escape(line)}</li>" for kind, line in lines)
    return f"<details><summary>{len(lines)} remarks on files</summary><ul>{items}</ul></details>" if lines else ""


def _protocol(report: Report) -> str:
    text = json.dumps(report.protocol, indent=2)
    return f"<details><summary>Protocol, versions and hashes</summary><pre>{escape(text)}</pre></details>"
