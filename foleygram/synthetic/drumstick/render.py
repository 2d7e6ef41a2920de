"""Renders drumstick videos with sound in Greatest Hits' own layout on disk (Owens et al. 2016)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from foleygram.datasets.clip import Event
from foleygram.files import atomic_path
from foleygram.synthetic.beneath import lay_beneath
from foleygram.synthetic.drumstick.frames import write_video
from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.scene import Scene, draw_duet, draw_scene
from foleygram.synthetic.drumstick.sound import render_sound
from foleygram.synthetic.folder import check_request, render_videos, video_id, write_events, write_sound
from foleygram.synthetic.recordings import Split, load_recorded

Shares = Literal["balanced", "real"]
Scenes = Literal["plain", "two-sources", "speech", "music"]
"""One stick, two at once, or one stick with speech or music beneath its sound."""
TWO_MATERIALS = 0.25
"""Share of videos in which the stick moves between two objects."""


@dataclass(frozen=True)
class VideoPlan:
    """One video to render: its id, its scene, and the seed of its frames."""

    video_id: str
    scene: Scene
    seed: tuple[int, int]


def plan_video(
    seed: int,
    index: int,
    *,
    seconds: tuple[float, float] = (4.0, 12.0),
    shares: Shares = "balanced",
    scenes: Scenes = "plain",
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
    if rng.random() < TWO_MATERIALS or scenes == "two-sources":
        rest = [name for name in names if name != material]
        other = str(rng.choice(rest, p=_real_shares(rest) if shares == "real" else None))
    length = round(float(rng.uniform(*seconds)), 3)
    if scenes == "two-sources" and other:
        scene = draw_duet(material, length, other, (seed, index, 2))
    else:
        scene = draw_scene(material, length, other, (seed, index, 2))
    return VideoPlan(video_id(seed, index, year=2000), scene, (seed, index))


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
    scenes: Scenes = "plain",
    test_share: float = 0.25,
    sample_rate: int = 16_000,
    sounds: Path | None = None,
    num_workers: int = 2,
    progress: bool = True,
) -> list[str]:
    """Write `num_videos` videos, sounds and event times below `out`, and both splits' lists; returns the ids.

    Videos already there are kept, so a killed run goes on. Every object belongs to one video, so the splits
    share none. With `scenes` of speech or music, video i has the frames and events of the plain set's of that seed,
    and the reference sound is the mix. With `sounds`, a folder with an index, objects sound as recorded where there are
    recordings of their material; those of test videos come from other sources. Raises ValueError for a count, share or
    duration that cannot be rendered.
    """
    check_request(num_videos, seconds, test_share, sample_rate)
    return render_videos(
        partial(_render_video, out, seed, seconds, shares, scenes, sample_rate, sounds), out,
        num_videos=num_videos, test_share=test_share, num_workers=num_workers, progress=progress,
    )  # fmt: skip


def _render_video(
    out: Path,
    seed: int,
    seconds: tuple[float, float],
    shares: Shares,
    scenes: Scenes,
    sample_rate: int,
    sounds: Path | None,
    index: int,
    split: Split,
) -> str:
    plan = plan_video(seed, index, seconds=seconds, shares=shares, scenes=scenes)
    stem = out / plan.video_id
    video, sound, times = (Path(f"{stem}_{end}") for end in ("denoised.mp4", "denoised.wav", "times.txt"))
    if video.exists() and sound.exists() and times.exists():
        return plan.video_id
    recorded = load_recorded(sounds, sample_rate, split) if sounds else None
    audio = render_sound(plan.scene, sample_rate, recorded)
    if scenes in ("speech", "music"):
        audio = lay_beneath(audio, scenes, sample_rate, np.random.default_rng((seed, index, 4)))
    write_sound(sound, audio, sample_rate)
    write_events(times, _events(plan.scene))
    with atomic_path(video) as path:
        write_video(path, plan.scene, audio, sample_rate, plan.seed)
    return plan.video_id


def _events(scene: Scene) -> list[Event]:
    events = []
    for event in scene.events:
        material = scene.things[event.thing].material
        events.append(Event(event.time, material, event.action, MATERIALS[material].reaction))
    return events
