"""Renders drumstick videos with sound in Greatest Hits' own layout on disk (paper notes, section 5)."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from rich.progress import track

from foleygram.files import atomic_path
from foleygram.synthetic.drumstick.frames import write_video
from foleygram.synthetic.drumstick.scene import MATERIALS, Scene, draw_scene
from foleygram.synthetic.drumstick.sound import render_sound

Shares = Literal["balanced", "real"]
Job = tuple[Path, int, int, tuple[float, float], Shares, int]
TWO_MATERIALS = 0.25
"""Share of videos in which the stick moves between two objects."""


@dataclass(frozen=True)
class VideoPlan:
    """One video to render: its id, its scene, and the seed of its picture."""

    video_id: str
    scene: Scene
    seed: tuple[int, int]


def plan_video(
    seed: int, index: int, *, seconds: tuple[float, float] = (4.0, 12.0), shares: Shares = "balanced"
) -> VideoPlan:
    """Everything about video `index`, a function of (seed, index) alone; times in seconds."""
    names = list(MATERIALS)
    rng = np.random.default_rng((seed, index, 0))
    if shares == "balanced":
        block = np.random.default_rng((seed, index // len(names), 1)).permutation(len(names))
        material = names[block[index % len(names)]]
    else:
        material = str(rng.choice(names, p=_real_shares(names)))
    other = None
    if rng.random() < TWO_MATERIALS:
        rest = [name for name in names if name != material]
        other = str(rng.choice(rest, p=_real_shares(rest) if shares == "real" else None))
    length = round(float(rng.uniform(*seconds)), 3)
    day = datetime(2000, 1, 1) + timedelta(days=seed % 5000, seconds=11 * index)
    scene = draw_scene(material, length, other, (seed, index, 2))
    return VideoPlan(day.strftime("%Y-%m-%d-%H-%M-%S"), scene, (seed, index))


def _real_shares(names: list[str]) -> np.ndarray:
    counts = np.array([MATERIALS[name].events for name in names], float)
    return counts / counts.sum()


def render_dataset(
    out: Path,
    *,
    num_videos: int,
    seed: int,
    seconds: tuple[float, float] = (4.0, 12.0),
    shares: Shares = "balanced",
    test_share: float = 0.25,
    sample_rate: int = 16_000,
    num_workers: int = 2,
    progress: bool = True,
) -> list[str]:
    """Write `num_videos` videos, sounds and event times below `out`, and both splits' lists; returns the ids.

    Videos already there are kept, so a killed run goes on. Every object belongs to one video, so the splits
    share none. Raises ValueError for a count, share or duration that cannot be rendered.
    """
    _check(num_videos, seconds, test_share, sample_rate)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(out, seed, index, seconds, shares, sample_rate) for index in range(num_videos)]
    if num_workers <= 1:
        ids = [_render_video(*job) for job in track(jobs, "rendering", disable=not progress, transient=True)]
    else:
        ids = _render_parallel(jobs, num_workers, progress)
    in_test = [int((i + 1) * test_share) > int(i * test_share) for i in range(num_videos)]
    for name, wanted in (("train.txt", False), ("test.txt", True)):
        with atomic_path(out / name) as path:
            path.write_text("".join(f"{i}\n" for i, test in zip(ids, in_test, strict=True) if test is wanted))
    return ids


def _check(num_videos: int, seconds: tuple[float, float], test_share: float, sample_rate: int) -> None:
    if num_videos < 1:
        raise ValueError(f"{num_videos} videos: ask for at least one")
    if not 1.0 <= seconds[0] <= seconds[1] <= 3600:
        raise ValueError(f"videos of {seconds[0]} to {seconds[1]} seconds: give FROM:TO between 1 and 3600")
    if not 0 <= test_share <= 1:
        raise ValueError(f"a test share of {test_share}: it must lie in [0, 1]")
    if not 8000 <= sample_rate <= 192_000:
        raise ValueError(f"a sample rate of {sample_rate} Hz: use 8000 to 192000")


def _render_parallel(jobs: list[Job], num_workers: int, progress: bool) -> list[str]:
    # Fresh processes: a fork would copy whatever threads and locks the caller holds.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        futures = [pool.submit(_render_video, *job) for job in jobs]
        for done in track(as_completed(futures), "rendering", len(jobs), disable=not progress, transient=True):
            done.result()
    return [future.result() for future in futures]


def _render_video(
    out: Path, seed: int, index: int, seconds: tuple[float, float], shares: Shares, sample_rate: int
) -> str:
    plan = plan_video(seed, index, seconds=seconds, shares=shares)
    stem = out / plan.video_id
    video, sound, times = (Path(f"{stem}_{end}") for end in ("denoised.mp4", "denoised.wav", "times.txt"))
    if video.exists() and sound.exists() and times.exists():
        return plan.video_id
    audio = render_sound(plan.scene, sample_rate)
    with atomic_path(sound) as path:
        soundfile.write(path, audio, sample_rate, subtype="PCM_16", format="WAV")
    with atomic_path(times) as path:
        path.write_text("".join(_event_lines(plan.scene)))
    with atomic_path(video) as path:
        write_video(path, plan.scene, audio, sample_rate, plan.seed)
    return plan.video_id


def _event_lines(scene: Scene) -> list[str]:
    lines = []
    for event in scene.events:
        material = scene.things[event.thing].material
        lines.append(f"{event.time:.6f} {material} {event.action} {MATERIALS[material].reaction}\n")
    return lines
