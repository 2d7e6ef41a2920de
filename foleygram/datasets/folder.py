"""Videos that people bring: a file or a folder, with or without captions."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from foleygram.datasets.clip import FIELDS, Clip, check_fields, cut_clips, read_clip
from foleygram.media.video import probe
from foleygram.spec import ClipSpec

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv", ".3gp"}
)


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

    `captions` is a CSV file with the columns `file` (a name in the folder) and `caption`; videos that it does not name
    have an empty caption. Raises FileNotFoundError without videos, ValueError for a CSV that names others or videos
    that are all shorter than a clip, MediaError for one that cannot be read.
    """

    def __init__(
        self, root: str | Path, *, spec: ClipSpec, captions: str | Path | None = None, fields: Sequence[str] = FIELDS
    ) -> None:
        self.spec, self.fields = spec, check_fields(fields)
        videos = find_videos(root)
        self._captions = _read_captions(Path(captions), {video.name for video in videos}) if captions else {}
        self.clips = [clip for video in videos for clip in self._cut(video)]
        if not self.clips:
            raise ValueError(f"{root}: none of its {len(videos)} videos lasts a clip of {spec.seconds:g} s")

    def _cut(self, video: Path) -> list[Clip]:
        return cut_clips(video.name, video, video, duration_sec=probe(video).duration_sec, seconds=self.spec.seconds)

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index % len(self.clips)]
        item: dict[str, Any] = {
            "video_id": clip.video_id,
            "start": clip.start,
            "seconds_start": 0.0,
            "seconds_total": clip.seconds,
            "caption": self._captions.get(clip.video_id, ""),
            "materials": "",
            "event_times": [],
            "event_actions": [],
        }
        return item | read_clip(clip, self.spec, self.fields)


def _read_captions(path: Path, names: set[str]) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"file", "caption"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: its columns are {rows.fieldnames}; it needs `file` and `caption`")
        captions = {row["file"]: row["caption"] or "" for row in rows}
    strangers = sorted(captions.keys() - names)
    if strangers:
        raise ValueError(f"{path}: names {len(strangers)} files that are not in the folder, first {strangers[0]}")
    return captions
