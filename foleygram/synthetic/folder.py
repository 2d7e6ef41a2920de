"""Rendered videos on disk, in Greatest Hits' own layout: files of a video, lists of the splits, several processes."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import soundfile
from rich.progress import track

from foleygram.datasets.clip import Event
from foleygram.files import atomic_path
from foleygram.synthetic.recordings import Split


def render_videos(
    render: Callable[[int, Split], str],
    out: Path,
    *,
    num_videos: int,
    test_share: float,
    num_workers: int,
    progress: bool,
) -> list[str]:
    """Call `render(index, split)`, which writes a video and returns its id, for each, and write both splits' lists.

    In `num_workers` processes, so `render` must be picklable; with one, in this process.
    """
    out.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[int, Split]] = [
        (index, "test" if _in_test(index, test_share) else "train") for index in range(num_videos)
    ]
    if num_workers <= 1:
        ids = [render(*job) for job in track(jobs, "rendering", disable=not progress, transient=True)]
    else:  # fresh processes: a fork would copy whatever threads and locks the caller holds
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            futures = [pool.submit(render, *job) for job in jobs]
            for done in track(as_completed(futures), "rendering", len(jobs), disable=not progress, transient=True):
                done.result()
        ids = [future.result() for future in futures]
    _write_lists(out, ids, test_share)
    return ids


def check_request(num_videos: int, seconds: tuple[float, float], test_share: float, sample_rate: int) -> None:
    """Raises ValueError for a count, share or duration that cannot be rendered."""
    if num_videos < 1:
        raise ValueError(f"{num_videos} videos: ask for at least one")
    if not 1.0 <= seconds[0] <= seconds[1] <= 3600:
        raise ValueError(f"videos of {seconds[0]} to {seconds[1]} seconds: give FROM:TO between 1 and 3600")
    if not 0 <= test_share <= 1:
        raise ValueError(f"a test share of {test_share}: it must lie in [0, 1]")
    if not 8000 <= sample_rate <= 192_000:
        raise ValueError(f"a sample rate of {sample_rate} Hz: use 8000 to 192000")


def video_id(seed: int, index: int, *, year: int) -> str:
    """An id in the format of Greatest Hits: a date and a time."""
    day = datetime(year, 1, 1) + timedelta(days=seed % 5000, seconds=11 * index)
    return day.strftime("%Y-%m-%d-%H-%M-%S")


def _in_test(index: int, test_share: float) -> bool:
    """Whether video `index` is in test.txt; test videos are spread evenly over the list."""
    return int((index + 1) * test_share) > int(index * test_share)


def _write_lists(out: Path, ids: Sequence[str], test_share: float) -> None:
    """Write train.txt and test.txt; videos of another seed or world that they list stay, so that a folder can mix."""
    for name, wanted in (("train.txt", False), ("test.txt", True)):
        listed = (out / name).read_text().split() if (out / name).is_file() else []
        kept = [video for video in listed if video not in ids]
        own = [video for index, video in enumerate(ids) if _in_test(index, test_share) is wanted]
        with atomic_path(out / name) as path:
            path.write_text("".join(f"{video}\n" for video in kept + own))


def write_sound(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write mono samples (n,) as a 16-bit WAV file."""
    with atomic_path(path) as temporary:
        soundfile.write(temporary, audio, sample_rate, subtype="PCM_16", format="WAV")


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write `time material action reaction` lines."""
    lines = [f"{event.time:.6f} {event.material} {event.action} {event.reaction}\n" for event in events]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(lines))
