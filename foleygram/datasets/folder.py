"""Videos in a folder, with or without captions."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from foleygram.datasets.clip import FIELDS, Clip, MediaClips, check_fields, cut_clips
from foleygram.files import read_csv
from foleygram.media.isolate import MediaError
from foleygram.media.video import MediaInfo, probe
from foleygram.spec import ClipSpec, as_spec

SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mxf", ".ogv", ".wmv",
    ".flv", ".3gp",
})  # fmt: skip
PROBED_AT_ONCE = 8
"""Videos whose packets are walked side by side, which on a network's disk is mostly waiting."""
NAMED_AT_MOST = 10
"""Videos left out that a line in the log names."""

log = logging.getLogger(__name__)


def find_videos(source: str | Path) -> list[Path]:
    """The video `source`, or those directly in the folder `source`, by name; raises FileNotFoundError without any."""
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or folder; check the path")
    videos = videos_in(source)
    if not videos:
        raise FileNotFoundError(
            f"{source}: no video in it, subfolders aside (looked for {', '.join(sorted(SUFFIXES))})"
        )
    return videos


def videos_in(folder: Path) -> list[Path]:
    """The videos directly in `folder`, by name."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "."
    )


class VideoFolder(MediaClips):
    """Clips of `spec.seconds` from the videos of a folder, with the items of `MediaClips` but no annotated events.

    `captions` is a CSV file with the columns `file` (a path below the folder) and `caption`, and takes the videos that
    it names, with `split` those whose column `split` has this value; without one every video directly in the folder is
    taken, with an empty caption. Rows without their video or caption, videos without a row, and those that cannot be
    read, are shorter than a clip, or have no sound where `fields` need it are left out: `left_out` gives the reasons,
    and a line in the log counts and names them. Raises FileNotFoundError without videos, ValueError for a CSV without
    these columns or with two rows for a file, and when no clip is left.
    """

    trusted = False

    def __init__(
        self,
        root: str | Path,
        *,
        spec: str | ClipSpec,
        captions: str | Path | None = None,
        split: str | None = None,
        fields: Sequence[str] = FIELDS,
        frame_seed: int | None = None,
    ) -> None:
        self.spec, self.fields, self.frame_seed, self.root = as_spec(spec), check_fields(fields), frame_seed, Path(root)
        self.left_out: dict[str, str] = {}
        self.captions: dict[str, str] = {}
        if captions:
            videos = self._named(read_captions(Path(captions), split))
        else:
            videos = {video.name: video for video in find_videos(root)}
        self.clips = [clip for name, info in self._probed(videos) for clip in self._cut(name, info)]
        total = len(videos.keys() | self.left_out.keys())
        log_left_out(str(root), total, self.left_out)
        if not self.clips:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(self.left_out.items())[:3])
            raise ValueError(f"{root}: no clip of {self.spec.seconds:g} s in its {total} videos ({reasons})")

    def _named(self, rows: Mapping[str, str | None]) -> dict[str, Path]:
        """The videos that captions name, by name; the others beside them are left out."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; give the one that the captions' files lie in")
        self.captions = {name: caption for name, caption in rows.items() if caption is not None}
        files = {name: self.root / name for name in sorted(self.captions)}
        there = {name: path for name, path in files.items() if path.is_file() and self.captions[name]}
        for name in self.captions.keys() - there.keys():
            is_file = files[name].is_file()
            self.left_out[name] = "no caption in its row" if is_file else "a row in the captions, no such file"
        folders = sorted({self.root, *(path.parent for path in there.values())})
        beside = [path for folder in folders for path in videos_in(folder)]
        names = [path.relative_to(self.root).as_posix() for path in beside if path.is_relative_to(self.root)]
        self.left_out |= {name: "no row in the captions" for name in names if name not in rows}
        return there

    def _probed(self, videos: Mapping[str, Path]) -> Iterator[tuple[str, MediaInfo]]:
        """Probed videos, without unreadable ones."""
        with ThreadPoolExecutor(PROBED_AT_ONCE) as pool:
            outcomes = track(
                pool.map(_probe, videos.values()), "probing", total=len(videos), disable=len(videos) < 500,
                transient=True,
            )  # fmt: skip
            for name, outcome in zip(videos, outcomes, strict=True):
                if isinstance(outcome, MediaInfo):
                    yield name, outcome
                else:
                    self.left_out[name] = str(outcome)

    def _cut(self, name: str, info: MediaInfo) -> list[Clip]:
        path, seconds = info.path, self.spec.seconds
        if {"audio", "envelope_audio"} & set(self.fields) and not info.has_audio:
            self.left_out[name] = "no sound track"
            return []
        clips = cut_clips(name, path, path, duration_sec=info.duration_sec, seconds=seconds)
        if not clips:
            self.left_out[name] = f"{info.duration_sec:.2f} s, shorter than a clip"
        return clips

    def caption(self, clip: Clip) -> str:
        """The caption that the CSV file gives for the clip's video."""
        return self.captions.get(clip.video_id, "")


def _probe(video: Path) -> MediaInfo | MediaError:
    try:
        return probe(video)
    except MediaError as error:
        return error


def log_left_out(source: str, total: int, left_out: Mapping[str, str]) -> None:
    """One line in the log: how many of `total` were left out, and the first of them with their reasons."""
    if left_out:
        named = [f"{name} ({reason})" for name, reason in itertools.islice(left_out.items(), NAMED_AT_MOST)]
        rest = len(left_out) - len(named)
        more = f", and {rest} more" if rest else ""
        log.warning("%s: %d of %d videos left out: %s%s", source, len(left_out), total, ", ".join(named), more)


def read_captions(path: Path, split: str | None = None) -> dict[str, str | None]:
    """Captions by file name from a CSV file with the columns `file` and `caption`; None for those of another `split`.

    Raises ValueError for other columns, a split that no row is of, a row without a file, a file that has two rows, and
    what is not a CSV in UTF-8.
    """
    needed = {"file", "caption"} | ({"split"} if split else set())
    captions: dict[str, str | None] = {}
    columns, rows = read_csv(path)
    if not needed <= set(columns):
        raise ValueError(f"{path}: its columns are {columns}; it needs {', '.join(sorted(needed))}")
    for line, row in rows:
        name = row["file"]
        if not name:
            raise ValueError(f"{path}, line {line}: no file in this row; name it or remove the row")
        if name in captions:
            raise ValueError(f"{path}, line {line}: a second row for {name}; leave one")
        chosen = split is None or row["split"] == split
        captions[name] = (row["caption"] or "").strip() if chosen else None
    if all(caption is None for caption in captions.values()):
        raise ValueError(f"{path}: none of its {len(captions)} rows is of the split {split}")
    return captions
