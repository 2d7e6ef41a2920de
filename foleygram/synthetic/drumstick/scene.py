"""What happens in a drumstick video: objects drawn anew from their materials, and events on them."""

from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foleygram.synthetic.drumstick.materials import MATERIALS

Action = Literal["hit", "scratch"]


@dataclass(frozen=True)
class Thing:
    """One object: a material with everything that was drawn for it, sound and look."""

    material: str
    frequencies: np.ndarray  # (modes,) Hz
    decays: np.ndarray  # (modes,) RT60, s
    gains: np.ndarray  # (modes,)
    noise: float
    noise_center: float
    noise_decay: float
    grains: int
    scratch_center: float
    color: np.ndarray  # (3,) in 0..1
    shape: str
    position: np.ndarray  # (2,) contact point, x and y as shares of the frame
    size: float
    seed: int


@dataclass(frozen=True)
class StickEvent:
    """A strike or scrape: time and duration in seconds, speed in 0..1, which object, scrape direction."""

    time: float
    action: Action
    speed: float
    thing: int
    duration: float
    direction: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A whole video's content; times in seconds."""

    seconds: float
    things: tuple[Thing, ...]
    events: tuple[StickEvent, ...]
    feints: tuple[float, ...]
    """Times at which the stick comes down without touching anything."""
    room_decay: float
    room_level: float
    seed: int
    two_sticks: bool = False
    """Whether each of two objects has a stick of its own, so that they may sound at once."""

    @property
    def players(self) -> "tuple[Scene, ...]":
        """The scene as each stick plays it: with the objects and events that are its own."""
        if not self.two_sticks:
            return (self,)
        return tuple(
            replace(
                self, things=(thing,), two_sticks=False, seed=self.seed + number,
                events=tuple(replace(event, thing=0) for event in self.events if event.thing == number),
            )
            for number, thing in enumerate(self.things)
        )  # fmt: skip


def draw_thing(material: str, position: np.ndarray, rng: np.random.Generator) -> Thing:
    """Draw an object of `material` that the stick touches at `position` (2,), shares of width and height."""
    ranges = MATERIALS[material]
    ratios = np.array(ranges.ratios)
    frequencies = rng.uniform(*ranges.fundamental) * ratios * (1 + 0.02 * rng.standard_normal(len(ratios)))
    decays = rng.uniform(*ranges.decay) * ratios ** -rng.uniform(0.3, 0.7)
    hue, saturation, value = (rng.uniform(*r) for r in (ranges.hue, ranges.saturation, ranges.brightness))
    center = rng.uniform(*ranges.noise_center)
    return Thing(
        material=material,
        frequencies=frequencies,
        decays=decays,
        gains=rng.uniform(0.6, 1.0, len(ratios)) * ratios**-0.5,
        noise=rng.uniform(*ranges.noise),
        noise_center=center,
        noise_decay=rng.uniform(*ranges.noise_decay),
        grains=round(rng.uniform(*ranges.grains)),
        scratch_center=center * rng.uniform(0.9, 1.15),
        color=np.array(hsv_to_rgb(hue % 1, saturation, value)),
        shape=str(rng.choice(["box", "round", "mound", "floor"])),
        position=position,
        size=rng.uniform(0.55, 1.0),
        seed=int(rng.integers(2**31)),
    )


def draw_scene(material: str, seconds: float, other: str | None, seed: tuple[int, ...]) -> Scene:
    """Draw a video: `material`'s object, perhaps one of `other` beside it, and the events on them."""
    rng = np.random.default_rng(seed)
    left = rng.uniform(0.25, 0.42) if other else rng.uniform(0.32, 0.62)
    things = [draw_thing(material, np.array([left, rng.uniform(0.6, 0.8)]), rng)]
    if other:
        things.append(draw_thing(other, np.array([left + rng.uniform(0.3, 0.4), rng.uniform(0.6, 0.8)]), rng))
    events = _draw_events(things, seconds, rng)
    starts = np.array([e.time for e in events] + [seconds])
    ends = np.array([0.0] + [e.time + e.duration for e in events])
    feints = tuple(
        float(rng.uniform(end + 0.55, start - 0.5))
        for end, start in zip(ends, starts, strict=True)
        if start - end > 1.25 and rng.random() < 0.5
    )
    return Scene(
        seconds,
        tuple(things),
        tuple(events),
        feints,
        rng.uniform(0.08, 0.2),
        rng.uniform(0.02, 0.08),
        int(rng.integers(2**31)),
    )


def draw_duet(material: str, seconds: float, other: str, seed: tuple[int, ...]) -> Scene:
    """Draw a video of two sticks, each on its own object, `material`'s or `other`'s, whose events may coincide."""
    scene, rng = draw_scene(material, seconds, other, seed), np.random.default_rng((*seed, 1))
    drawn = [
        replace(event, thing=number)
        for number, thing in enumerate(scene.things)
        for event in _draw_events([thing], seconds, rng)
    ]
    return replace(scene, events=tuple(sorted(drawn, key=lambda e: e.time)), feints=(), two_sticks=True)


def _draw_events(things: list[Thing], seconds: float, rng: np.random.Generator) -> list[StickEvent]:
    share = float(np.mean([MATERIALS[t.material].scratch_share for t in things]))
    share = float(rng.choice([0.0, share, 2 * share], p=[0.45, 0.35, 0.2]))
    tempo, loudness = rng.uniform(0.85, 1.15), rng.uniform(0.45, 0.8)
    events: list[StickEvent] = []
    time, current = rng.uniform(0.25, 0.9), 0
    while time < seconds - 0.35:
        if len(things) > 1 and rng.random() < 0.3:
            current = 1 - current
        scratch = rng.random() < share
        duration = min(rng.uniform(0.25, 0.6), seconds - 0.1 - time) if scratch else 0.0
        speed = float(np.clip(loudness + 0.2 * rng.standard_normal(), 0.12, 1.0))
        events.append(
            StickEvent(
                time,
                "scratch" if scratch else "hit",
                speed,
                current,
                duration,
                rng.choice([-1.0, 1.0]),
                int(rng.integers(2**31)),
            )
        )
        gap = tempo * np.exp(np.log(0.58) + 0.5 * rng.standard_normal())
        gap += rng.uniform(0.9, 2.2) if rng.random() < 0.1 else 0.0
        time += max(gap, 0.16, duration + 0.2)
    return events
