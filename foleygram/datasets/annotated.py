"""Annotated clips for a benchmark: Greatest Hits as released, or a folder of short videos with a table of onsets."""

import csv
import json
from collections import defaultdict
from pathlib import Path

from foleygram.datasets.clip import Clip, Event
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.video import probe
from foleygram.spec import ClipSpec

ONSETS = "onsets.csv"
COLUMNS = ("file", "seconds", "label")
ANNOTATION_RATE, ANNOTATION_DELAY_SEC = 22_050, 0.5
"""An event `<video>_<sample>` of CondFoleyGen's lists lies at sample / 22050 + 0.5 s of the released recording."""


def annotated_clips(
    folder: str | Path, *, split: str = "test", seconds: float = 10.0, annotations: str | Path | None = None
) -> list[Clip]:
    """Clips with their events, from a folder with an `onsets.csv` or from Greatest Hits as released.

    `onsets.csv` has the columns file, seconds, label ("metal hit"); every file is one clip. Of Greatest Hits, clips of
    `seconds` are cut from the videos of `split` (train, test, or a list of ids); their events come from `_times.txt`,
    or from `annotations`, a JSON list of CondFoleyGen. Raises FileNotFoundError and ValueError naming what is wrong.
    """
    folder = Path(folder)
    if (folder / ONSETS).is_file():
        return _listed(folder)
    clips = GreatestHits(folder, split, spec=ClipSpec(seconds=seconds), fields=("audio", "motion")).clips
    return clips if annotations is None else _with_annotations(clips, Path(annotations))


def _listed(folder: Path) -> list[Clip]:
    path, events = folder / ONSETS, defaultdict[str, list[Event]](list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            raise ValueError(f"{path}: no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        for number, row in enumerate(reader, start=2):
            events[row["file"]].append(_event(row, f"{path}, line {number}"))
    if not events:
        raise ValueError(f"{path}: no onset in it")
    clips = []
    for name, file_events in sorted(events.items()):
        video = (folder / name).resolve()
        if not video.is_relative_to(folder.resolve()) or not video.is_file():
            raise FileNotFoundError(f"{path}: names {name}, which is not in {folder}")
        times = tuple(sorted(file_events, key=lambda event: event.time))
        clips.append(Clip(video.stem, video, video, 0.0, probe(video).duration_sec, times))
    return clips


def _event(row: dict[str, str], source: str) -> Event:
    try:
        time = float(row["seconds"])
    except ValueError:
        time = -1.0
    if not 0 <= time < float("inf"):
        raise ValueError(f"{source}: seconds is {row['seconds']!r}; give the onset's time from the clip's start")
    return _labelled(time, row["label"] or "")


def _labelled(time: float, label: str) -> Event:
    """An event of a label such as "metal hit"; a missing or None part is unknown."""
    material, action = (*(None if word == "None" else word for word in label.split()), None, None)[:2]
    return Event(time, material, action)


def _with_annotations(clips: list[Clip], path: Path) -> list[Clip]:
    """The clips with the events of a list of `<video>_<sample>`, or of a dictionary with labels as values."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        events = defaultdict[str, list[Event]](list)
        for entry in listed:
            name, _, sample = str(entry).rpartition("_")
            time = int(sample) / ANNOTATION_RATE + ANNOTATION_DELAY_SEC
            events[name].append(_labelled(time, str(listed[entry]) if isinstance(listed, dict) else ""))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no list of <video>_<sample> ({error})") from error
    if not any(clip.video_id in events for clip in clips):
        raise ValueError(f"{path}: names none of the {len({clip.video_id for clip in clips})} videos of this split")
    return [_relabelled(clip, events[clip.video_id]) for clip in clips]


def _relabelled(clip: Clip, events: list[Event]) -> Clip:
    inside = [event for event in sorted(events, key=lambda e: e.time) if 0 <= event.time - clip.start < clip.seconds]
    shifted = tuple(Event(event.time - clip.start, event.material, event.action) for event in inside)
    return Clip(clip.video_id, clip.video_path, clip.audio_path, clip.start, clip.seconds, shifted)
