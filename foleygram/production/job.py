"""Options of one video: those given for all videos, overridden by a CSV table or a YAML file beside the video."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from foleygram.envelope.editing.files import CHOICES
from foleygram.files import read_csv
from foleygram.pipeline.request import DEFAULT_WEIGHTS, HIGHEST_WEIGHT, ModalityWeights

FIELDS = ("prompt", "negative_prompt", "envelope", "seed", "reference", "weights")
"""Fields that a table or a YAML file can override, besides `segments`."""
SEGMENT_FIELDS = ("from", "to", "prompt", "reference")
OVERRIDE_SUFFIXES = (".foley.yaml", ".foley.json")
"""`clip.foley.yaml` holds the overrides of `clip.mp4`."""


@dataclass(frozen=True)
class SegmentOptions:
    """A time span of a video, in seconds, with its own prompt or reference sound."""

    start: float
    end: float
    prompt: str | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class JobOptions:
    """Options of the sound of one video."""

    prompt: str | None = None
    negative_prompt: str | None = None
    envelope: str = "predicted"
    """`predicted`, `audio` (the video's own sound), or a file."""
    seed: int = 0
    reference: Path | None = None
    """A sound file, or a video with sound, of any length and rate."""
    weights: ModalityWeights = DEFAULT_WEIGHTS
    segments: tuple[SegmentOptions, ...] = ()

    def files(self) -> list[Path]:
        """The files that the options refer to, sorted, without repeats."""
        paths = {self.reference, *(segment.reference for segment in self.segments)} - {None}
        return sorted(paths | ({Path(self.envelope)} if self.envelope not in CHOICES else set()))  # type: ignore[arg-type]

    def record(self) -> dict[str, Any]:
        """The options as JSON that `override` reads, with absolute paths."""

        def absolute(path: Path | None) -> str | None:
            return None if path is None else str(path.absolute())

        return {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "envelope": self.envelope if self.envelope in CHOICES else absolute(Path(self.envelope)),
            "seed": self.seed,
            "reference": absolute(self.reference),
            "weights": self.weights._asdict(),
            "segments": [
                {"from": s.start, "to": s.end, "prompt": s.prompt, "reference": absolute(s.reference)}
                for s in self.segments
            ],
        }


@dataclass(frozen=True)
class Job:
    """A video, the name of its results, its options, and a hash of everything else the results depend on."""

    video: Path
    name: str
    options: JobOptions
    settings: str


def override(options: JobOptions, overrides: Mapping[str, Any], folder: Path) -> JobOptions:
    """`options` with the fields of `overrides` replaced; empty values change nothing, paths are relative to `folder`.

    Raises ValueError naming the field and the value.
    """
    given = {name: value for name, value in overrides.items() if value not in (None, "")}
    unknown = sorted(str(name) for name in given.keys() - {*FIELDS, "segments"})
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; known fields: {', '.join(FIELDS)}, segments")
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("prompt", "negative_prompt"):
            changes[name] = _prompt(name, value)
        elif name == "envelope":
            changes[name] = str(value) if value in CHOICES else str(folder / str(value))
        elif name == "seed":
            changes[name] = parse_seed(value)
        elif name == "reference":
            changes[name] = folder / str(value)
        elif name == "weights":
            changes[name] = parse_weights(value)
        elif isinstance(value, list):
            changes[name] = tuple(_segment(item, folder) for item in value)
        else:
            raise ValueError(f"segments {value!r}: write a list, such as - {{from: 1.5, to: 3, prompt: metal}}")
    return replace(options, **changes)


def _segment(fields: Any, folder: Path) -> SegmentOptions:
    if not isinstance(fields, Mapping) or not {"from", "to"} <= fields.keys() <= {*SEGMENT_FIELDS}:
        raise ValueError(f"segment {fields!r}: fields are {', '.join(SEGMENT_FIELDS)}; from and to are required")
    prompt, reference = (fields.get(name) if fields.get(name) != "" else None for name in ("prompt", "reference"))
    return SegmentOptions(
        _seconds(fields["from"]),
        _seconds(fields["to"]),
        None if prompt is None else _prompt("prompt", prompt),
        None if reference is None else folder / str(reference),
    )


def parse_segment(text: str) -> SegmentOptions:
    """The segment in `FROM:TO:PROMPT`, in seconds; raises ValueError with an example for any other text."""
    start, _, rest = text.partition(":")
    end, _, prompt = rest.partition(":")
    if not prompt.strip():
        raise ValueError(f"--segment {text}: write FROM:TO:PROMPT, such as 1.5:3:A person hits metal")
    return SegmentOptions(_seconds(start), _seconds(end), prompt.strip())


def parse_weights(value: Any) -> ModalityWeights:
    """Weights from a mapping or `video=1,text=0.5,audio=0`; absent ones keep their default. Raises ValueError."""
    parts = value.items() if isinstance(value, Mapping) else (p.partition("=")[::2] for p in str(value).split(","))
    try:
        weights = ModalityWeights(**{str(name).strip(): float(number) for name, number in parts})
    except (TypeError, ValueError):
        weights = ModalityWeights(math.nan)
    if not all(0 <= weight <= HIGHEST_WEIGHT for weight in weights):
        raise ValueError(f"weights {value!r}: write video=1,text=0.5,audio=0 with numbers from 0 to {HIGHEST_WEIGHT}")
    return weights


def parse_seed(value: Any) -> int:
    """A seed, an integer of at least 0; raises ValueError for anything else."""
    if not str(value).isdecimal():
        raise ValueError(f"seed {value!r}: give a whole number of at least 0")
    return int(str(value))


def _prompt(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} {value!r}: must be a string; quote it")
    return value


def _seconds(value: Any) -> float:
    try:
        seconds = float(str(value).strip())
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r} is not a time; give a number of seconds")
    return seconds


def read_job_options(videos: Sequence[Path], options: JobOptions, table: Path | None = None) -> dict[Path, JobOptions]:
    """The options of each video: `options`, overridden by the YAML file beside the video, then by its table rows.

    Raises ValueError or OSError naming the file, the line and the value.
    """
    # A table for the whole folder may be given with only some of its videos.
    names = {path.name for folder in {video.absolute().parent for video in videos} for path in folder.glob("*")}
    rows = {} if table is None else read_overrides(table, names)
    found = {}
    for video in videos:
        found[video] = _override_from_yaml(options, video)
        if table is not None and video.name in rows:
            found[video] = override(found[video], rows[video.name], table.parent)
    return found


def read_overrides(path: Path, names: set[str]) -> dict[str, dict[str, Any]]:
    """The overrides of each file in a CSV table; rows with `from` and `to` are segments of their file.

    Columns: `file`, and any of `FIELDS` and `SEGMENT_FIELDS`; `names` are the files that exist. Raises
    FileNotFoundError without the table, ValueError naming the line.
    """
    overrides: dict[str, dict[str, Any]] = {}
    columns, rows = read_csv(path)
    known = list(dict.fromkeys(["file", *FIELDS, *SEGMENT_FIELDS]))
    if "file" not in columns or not set(columns) <= {*known}:
        raise ValueError(
            f"{path}: columns are {', '.join(sorted(columns)) or 'none'}; file is required, known: {', '.join(known)}"
        )
    for line, row in rows:
        try:
            _add_row(row, overrides, names)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return overrides


def _add_row(row: dict[Any, Any], overrides: dict[str, dict[str, Any]], names: set[str]) -> None:
    if None in row:
        raise ValueError("more cells than columns; quote cells that contain commas")
    cells = {name: value.strip() for name, value in row.items() if value and value.strip()}
    name = cells.pop("file", "")
    if name not in names:
        raise ValueError(f"no video {name or 'without a name'} in the folder; write file names of that folder")
    fields = overrides.setdefault(name, {})
    if "from" in cells or "to" in cells:
        unexpected = sorted(cells.keys() - {*SEGMENT_FIELDS})
        if unexpected:
            raise ValueError(f"a segment has no {', '.join(unexpected)}; set it in the file's own row")
        fields.setdefault("segments", []).append(cells)
    elif fields.keys() - {"segments"}:
        raise ValueError(f"a second row for {name}; remove one, or give from and to for a segment")
    else:
        fields.update(cells)
    override(JobOptions(), fields, Path())  # so that a wrong value is reported with its line


def _override_from_yaml(options: JobOptions, video: Path) -> JobOptions:
    paths = [video.with_name(video.stem + suffix) for suffix in OVERRIDE_SUFFIXES]
    try:
        path = next((path for path in paths if path.is_file()), None)
    except OSError:  # such a name is too long for the file system
        path = None
    if path is None:
        return options
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(overrides, dict):
            raise ValueError(f"contains no fields; known fields: {', '.join(FIELDS)}, segments")
        return override(options, overrides, path.parent)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: invalid YAML ({error})") from None
    except ValueError as error:  # also text that is not UTF-8
        raise ValueError(f"{path}: {error}") from None
