"""What is asked of each video of a folder: a CSV table for all of them, or a YAML file beside each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from foleygram.files import read_csv
from foleygram.production.job import FIELDS, SEGMENT_FIELDS, Wish, told_wish

BESIDE = (".foley.yaml", ".foley.json")
"""How the file beside a video ends; its name begins as the video's."""


def read_wishes(videos: Sequence[Path], wish: Wish, sheet: Path | None = None) -> dict[Path, Wish]:
    """The wish of each video: `wish`, then what the file beside the video says instead, then what its table rows say.

    Raises ValueError or OSError naming the file, the line and the value.
    """
    # A table of the whole folder may be given for one of its videos.
    there = {path.name for folder in {video.absolute().parent for video in videos} for path in folder.glob("*")}
    told = {} if sheet is None else read_sheet(sheet, there)
    wishes = {}
    for video in videos:
        wished = _beside(video, wish)
        if sheet is not None and video.name in told:
            wished = told_wish(wished, told[video.name], sheet.parent)
        wishes[video] = wished
    return wishes


def read_sheet(path: Path, names: set[str]) -> dict[str, dict[str, Any]]:
    """What a CSV table says of each file; rows with `from` and `to` are segments of the file that they name.

    Columns: `file`, and any of `prompt`, `negative_prompt`, `envelope`, `seed`, `reference`, `weights`, `from`, `to`.
    Raises FileNotFoundError without the table, ValueError naming the line that cannot be.
    """
    told: dict[str, dict[str, Any]] = {}
    columns, listed = read_csv(path)
    if "file" not in columns or not set(columns) <= {"file", *FIELDS, *SEGMENT_FIELDS}:
        known = ", ".join(dict.fromkeys(["file", *FIELDS, *SEGMENT_FIELDS]))
        raise ValueError(f"{path}: its columns are {', '.join(sorted(columns)) or 'none'}; there are {known}")
    for line, row in listed:
        try:
            _take_row(row, told, names)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return told


def _take_row(row: dict[str, Any], told: dict[str, dict[str, Any]], names: set[str]) -> None:
    said = {name: value.strip() for name, value in row.items() if name and value and value.strip()}
    if None in row:
        raise ValueError("more cells than columns; quote what holds commas")
    name = said.pop("file", "")
    if name not in names:
        raise ValueError(f"there is no video {name or 'without a name'}; the table names files of the folder")
    known = told.setdefault(name, {})
    if "from" in said or "to" in said:
        strangers = sorted(said.keys() - {*SEGMENT_FIELDS})
        if strangers:
            raise ValueError(f"a segment has no {', '.join(strangers)}; give that in the file's own row")
        known.setdefault("segments", []).append(said)
    elif known.keys() - {"segments"}:
        raise ValueError(f"a second row for {name}; leave one, or give `from` and `to` for a segment")
    else:
        known.update(said)
    told_wish(Wish(), known, Path())  # wrong values are named with their line


def _beside(video: Path, wish: Wish) -> Wish:
    found = [video.with_name(video.stem + suffix) for suffix in BESIDE]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        return wish
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML ({error})") from None
    if not isinstance(told, dict):
        raise ValueError(f"{path}: holds no fields; there are {', '.join(FIELDS)}, segments")
    try:
        return told_wish(wish, told, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
