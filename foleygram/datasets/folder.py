"""Videos that people bring: a file or a folder."""

from pathlib import Path

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv", ".3gp"})


def find_videos(source: Path) -> list[Path]:
    """The video `source`, or those directly in the folder `source`, by name; raises FileNotFoundError if there is none."""
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
