"""Videos that appear in folders while they are watched."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from foleygram.datasets.folder import videos_in

POLL_SEC = 3.0


def appearing_videos(folders: Sequence[Path], wait: Callable[[float], None] = time.sleep) -> Iterator[list[Path]]:
    """Yield the videos of `folders` that are new or changed, those already there first; Ctrl-C while waiting ends it.

    A video is yielded once its size and time have stayed the same from one poll to the next: one that is still being
    copied is left for later.
    """
    before: dict[Path, tuple[int, int]] = {}
    yielded: dict[Path, tuple[int, int]] = {}
    while True:
        now = _states(folders)
        ready = [video for video, state in now.items() if before.get(video) == state != yielded.get(video)]
        before = now
        if ready:
            yielded |= {video: now[video] for video in ready}
            yield ready
        try:
            wait(POLL_SEC)
        except KeyboardInterrupt:
            return


def _states(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Size in bytes and time of change in nanoseconds of each video of `folders`; one in two of them counts once."""
    videos = {video.resolve(): video for folder in folders for video in videos_in(folder)}
    states = {}
    for video in videos.values():
        with suppress(FileNotFoundError):  # removed since it was listed
            found = video.stat()
            states[video] = found.st_size, found.st_mtime_ns
    return states
