"""Videos that people bring: a file or a folder, with or without captions."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import track
from torch.utils.data import Dataset

from foleygram.datasets.clip import FIELDS, Clip, check_fields, cut_clips, read_clip
from foleygram.media.video import MediaError, MediaInfo, probe
from foleygram.spec import ClipSpec

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv", ".3gp"}
)
PROBED_AT_ONCE = 8
"""Videos whose packets are walked side by side, which on a network's disk is mostly waiting."""

log = logging.getLogger(__name__)


def find_videos(source: str | Path) -> list[Path]:
    """The video `source`, or those directly in the folder `source`, by name; raises FileNotFoundError without any."""
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or folder; check the path")
    videos = sorted(
        path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "."
    )
    if not videos:
        raise FileNotFoundError(f"{source}: no video in it (looked for {', '.join(sorted(SUFFIXES))})")
    return videos


class VideoFolder(Dataset):
    """Clips of `spec.seconds` from the videos of a folder, with the items of `GreatestHits` but no annotated events.

    `captions` is a CSV file with the columns `file` (a name in the folder) and `caption`, and takes the videos that it
    names; without one every video is taken, with an empty caption. Videos that are not named, cannot be read, are
    shorter than a clip, or have no sound where `fields` need it are left out: `left_out` says why, and a line in the
    log counts them. Raises FileNotFoundError without videos, ValueError for a CSV that names files which are not there
    or one file twice, and when no clip is left.
    """

    def __init__(
        self, root: str | Path, *, spec: ClipSpec, captions: str | Path | None = None, fields: Sequence[str] = FIELDS
    ) -> None:
        self.spec, self.fields = spec, check_fields(fields)
        videos = find_videos(root)
        self.captions = read_captions(Path(captions), {video.name for video in videos}) if captions else None
        self.left_out: dict[str, str] = {}
        self.clips = [clip for info in self._probed(videos) for clip in self._cut(info)]
        log_left_out(str(root), len(videos), self.left_out)
        if not self.clips:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(self.left_out.items())[:3])
            raise ValueError(f"{root}: no clip of {spec.seconds:g} s in its {len(videos)} videos ({reasons})")

    def _probed(self, videos: Sequence[Path]) -> Iterator[MediaInfo]:
        """What the videos hold, those left out that have no caption or cannot be read."""
        named = [video for video in videos if self.captions is None or video.name in self.captions]
        if self.captions is not None:
            strangers = (video.name for video in videos if video.name not in self.captions)
            self.left_out |= dict.fromkeys(strangers, "no row in the captions")
        with ThreadPoolExecutor(PROBED_AT_ONCE) as pool:
            outcomes = track(
                pool.map(_probe, named), "probing", total=len(named), disable=len(named) < 500, transient=True
            )
            for video, outcome in zip(named, outcomes, strict=True):
                if isinstance(outcome, MediaInfo):
                    yield outcome
                else:
                    self.left_out[video.name] = str(outcome)

    def _cut(self, info: MediaInfo) -> list[Clip]:
        path, seconds = info.path, self.spec.seconds
        if {"audio", "envelope_audio"} & set(self.fields) and not info.has_audio:
            self.left_out[path.name] = "no sound track"
            return []
        clips = cut_clips(path.name, path, path, duration_sec=info.duration_sec, seconds=seconds)
        if not clips:
            self.left_out[path.name] = f"{info.duration_sec:.2f} s, shorter than a clip"
        return clips

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.labels(index) | read_clip(self.clips[index % len(self.clips)], self.spec, self.fields, fast=False)

    def labels(self, index: int) -> dict[str, Any]:
        """An item without what is read from media."""
        clip = self.clips[index % len(self.clips)]
        return {
            "video_id": clip.video_id,
            "start": clip.start,
            "seconds_start": 0.0,
            "seconds_total": clip.seconds,
            "caption": self.captions[clip.video_id] if self.captions else "",
            "materials": "",
            "event_times": [],
            "event_actions": [],
        }


def _probe(video: Path) -> MediaInfo | MediaError:
    try:
        return probe(video)
    except MediaError as error:
        return error


def log_left_out(source: str, total: int, left_out: Mapping[str, str]) -> None:
    """One line in the log: how many of `total` were left out, and the first of them with its reason."""
    if left_out:
        name, reason = next(iter(left_out.items()))
        log.warning("%s: %d of %d videos left out, first %s (%s)", source, len(left_out), total, name, reason)


def read_captions(path: Path, names: set[str]) -> dict[str, str]:
    """Captions by file name from a CSV file with the columns `file` and `caption`.

    Raises ValueError for other columns, for files that are not among `names`, and for one that has two rows.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"file", "caption"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: its columns are {rows.fieldnames}; it needs `file` and `caption`")
        captions: dict[str, str] = {}
        for row in rows:
            if row["file"] in captions:
                raise ValueError(f"{path}, line {rows.line_num}: a second row for {row['file']}; leave one")
            captions[row["file"]] = row["caption"] or ""
    strangers = sorted(captions.keys() - names)
    if strangers:
        raise ValueError(f"{path}: names {len(strangers)} files that are not in the folder, first {strangers[0]}")
    return captions
