"""What happens in a drumstick video: objects drawn anew from 17 materials, events, the stick tip's path."""

from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Action = Literal["hit", "scratch"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Material:
    """Ranges from which an object of this material is drawn: sound in Hz and seconds, look, habits."""

    events: int
    """Events in the real set (Owens et al. 2016), for real shares."""
    fundamental: Range
    ratios: tuple[float, ...]
    decay: Range
    """RT60 of the lowest mode, in seconds."""
    noise: Range
    """Share of the noise burst in a hit's energy."""
    noise_center: Range
    noise_octaves: float
    noise_decay: Range
    grains: Range
    """Secondary impacts after a hit (grit, crackle, drops)."""
    grain_spread: float
    level: float
    attack: float
    scratch_share: float
    texture: str
    hue: Range
    saturation: Range
    brightness: Range
    reaction: str


BAR, PLATE, TUBE = (1.0, 2.76, 5.40), (1.0, 1.47, 1.93, 2.41, 2.83, 3.55, 4.12, 4.9), (1.0, 3.0, 5.0, 7.0)
SHELL, DULL, NONE = (1.0, 1.87, 2.79, 3.62), (1.0, 1.7), ()

# Events, f0, ratios, RT60, noise share, its centre, octaves, decay, grains, spread, level, attack,
# scratch share, texture, hue, saturation, brightness, reaction
MATERIALS: dict[str, Material] = {
    "wood": Material(4005, (380, 640), BAR, (0.10, 0.16), (0.10, 0.2), (900, 1500), 1.2, (0.010, 0.02),
        (0, 0), 0, 1.0, 0.0005, 0.2, "grain", (0.06, 0.10), (0.45, 0.75), (0.35, 0.75), "static"),
    "metal": Material(3543, (780, 1350), PLATE, (0.55, 0.8), (0.03, 0.08), (4000, 6000), 1.0, (0.005, 0.01),
        (0, 0), 0, 0.75, 0.0003, 0.2, "brushed", (0.55, 0.65), (0.02, 0.12), (0.45, 0.8), "static"),
    "dirt": Material(2994, (70, 110), DULL, (0.05, 0.08), (0.6, 0.75), (320, 520), 1.4, (0.03, 0.05),
        (4, 9), 0.08, 1.1, 0.002, 0.35, "noise", (0.05, 0.08), (0.5, 0.75), (0.16, 0.30), "scatter"),
    "rock": Material(2420, (1900, 2900), (1.0, 1.55, 2.2), (0.03, 0.05), (0.35, 0.5), (2600, 3800), 1.0,
        (0.008, 0.014), (0, 0), 0, 0.95, 0.0003, 0.25, "rough", (0.55, 0.7), (0.02, 0.14), (0.28, 0.55),
        "static"),
    "leaf": Material(2309, (300, 400), NONE, (0.05, 0.06), (1.0, 1.0), (2600, 3800), 1.2, (0.03, 0.05),
        (28, 45), 0.20, 0.75, 0.001, 0.4, "leaves", (0.02, 0.15), (0.6, 0.95), (0.4, 0.75), "scatter"),
    "plastic": Material(1853, (230, 370), TUBE, (0.20, 0.32), (0.10, 0.2), (1800, 2600), 0.8,
        (0.008, 0.015), (0, 0), 0, 1.0, 0.0008, 0.2, "gloss", (0.0, 1.0), (0.75, 1.0), (0.55, 0.95),
        "jiggle"),
    "cloth": Material(1789, (150, 200), NONE, (0.05, 0.06), (1.0, 1.0), (700, 1000), 1.0, (0.05, 0.08),
        (0, 0), 0, 0.8, 0.004, 0.3, "weave", (0.0, 1.0), (0.35, 0.65), (0.35, 0.75), "deform"),
    "paper": Material(1405, (500, 700), NONE, (0.03, 0.04), (1.0, 1.0), (1700, 2400), 2.2, (0.03, 0.05),
        (5, 10), 0.06, 0.85, 0.0005, 0.3, "sheet", (0.1, 0.16), (0.0, 0.12), (0.82, 1.0), "deform"),
    "grass": Material(921, (500, 700), NONE, (0.03, 0.04), (1.0, 1.0), (5600, 7000), 0.7, (0.10, 0.16),
        (0, 0), 0, 0.7, 0.006, 0.4, "blades", (0.23, 0.34), (0.6, 0.95), (0.3, 0.65), "jiggle"),
    "water": Material(677, (520, 900), (1.0, 1.35, 1.8), (0.10, 0.16), (0.3, 0.45), (3000, 4500), 1.6,
        (0.10, 0.15), (8, 14), 0.22, 0.9, 0.002, 0.2, "waves", (0.52, 0.6), (0.5, 0.85), (0.35, 0.7),
        "splash"),
    "drywall": Material(453, (105, 165), (1.0, 2.1, 3.3), (0.18, 0.26), (0.15, 0.25), (800, 1200), 1.0,
        (0.015, 0.025), (0, 0), 0, 1.1, 0.001, 0.2, "wall", (0.08, 0.14), (0.02, 0.1), (0.7, 0.9),
        "static"),
    "gravel": Material(433, (900, 1200), NONE, (0.02, 0.03), (0.55, 0.7), (1500, 2200), 0.9, (0.02, 0.03),
        (22, 38), 0.14, 1.0, 0.0008, 0.4, "cells", (0.05, 0.12), (0.03, 0.2), (0.4, 0.75), "scatter"),
    "plastic-bag": Material(383, (300, 400), NONE, (0.02, 0.03), (1.0, 1.0), (5200, 6600), 0.8,
        (0.02, 0.03), (16, 26), 0.38, 0.75, 0.0005, 0.3, "crinkle", (0.5, 0.62), (0.0, 0.25), (0.7, 1.0),
        "deform"),
    "ceramic": Material(351, (1450, 2100), SHELL, (0.22, 0.34), (0.05, 0.12), (4500, 6000), 0.8,
        (0.004, 0.008), (0, 0), 0, 0.9, 0.0003, 0.15, "glaze", (0.55, 0.66), (0.3, 0.6), (0.75, 1.0),
        "static"),
    "tile": Material(313, (900, 1250), (1.0, 1.6, 2.5, 3.4), (0.07, 0.11), (0.3, 0.4), (4000, 5500), 0.8,
        (0.008, 0.014), (0, 0), 0, 0.95, 0.0003, 0.2, "grid", (0.0, 0.12), (0.2, 0.5), (0.55, 0.9),
        "static"),
    "carpet": Material(281, (75, 100), DULL, (0.05, 0.07), (0.45, 0.6), (140, 220), 0.9, (0.04, 0.06),
        (0, 0), 0, 1.2, 0.003, 0.35, "pile", (0.92, 1.04), (0.55, 0.9), (0.3, 0.55), "deform"),
    "glass": Material(261, (2500, 3700), (1.0, 1.42, 1.9), (0.40, 0.6), (0.01, 0.04), (6000, 7000), 0.5,
        (0.003, 0.006), (0, 0), 0, 0.75, 0.0003, 0.1, "glass", (0.42, 0.52), (0.05, 0.25), (0.75, 1.0),
        "jiggle"),
}  # fmt: skip


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
    """Draw an object of `material` that the stick touches at `position` (shares of width and height)."""
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


def scrape_speed(event: StickEvent, times: np.ndarray) -> np.ndarray:
    """Tip speed along the surface in a scrape, 0..1, at `times` seconds: fast attack, gentle end."""
    phase = np.clip((times - event.time) / event.duration, 0, 1)
    inside = (times >= event.time) & (times < event.time + event.duration)
    rise = 1 - np.exp(-(times - event.time).clip(0) / 0.008)
    return np.where(inside, event.speed * rise * np.cos(phase * np.pi / 2) ** 0.7, 0.0)


def _apex(event: StickEvent) -> float:
    return 0.07 + 0.33 * event.speed


def tip_height(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Height of the tip above the surface at `times` (T,) seconds: (T,) frame heights, 0 in contact."""
    height = np.full(times.shape, 0.3)
    for begin, end, before, after in _gaps(scene):
        inside = (times >= begin) & (times < end)
        if inside.any():
            height[inside] = _swing(times[inside], begin, end, before, after)
            if not any(begin < feint < end for feint in scene.feints):
                height[inside] = _wander(height[inside], _pause(times[inside], begin, end), begin, end, scene.seed)
    for feint in scene.feints:
        height = height * (1 - 0.62 * np.exp(-(((times - feint) / 0.11) ** 2)))
    for event in scene.events:
        height[(times >= event.time) & (times <= event.time + event.duration)] = 0.0
    return height


def _gaps(scene: Scene) -> list[tuple[float, float, StickEvent | None, StickEvent | None]]:
    """Spans in which the stick is in the air: begin and end in seconds, the events on either side."""
    events: list[StickEvent | None] = [None, *scene.events, None]
    ends = [-1.0, *(e.time + e.duration for e in scene.events)]
    starts = [*(e.time for e in scene.events), scene.seconds + 1.0]
    return list(zip(ends, starts, events[:-1], events[1:], strict=True))


def _pause(times: np.ndarray, begin: float, end: float) -> np.ndarray:
    """0 near both contacts, 1 in the middle of a gap, with smooth ends; all 0 in a gap of under 1.1 s."""
    if end - begin < 1.1:
        return np.zeros_like(times)
    return np.sin(np.pi * np.clip((times - begin - 0.25) / (end - begin - 0.6), 0, 1)) ** 2


def _wander(height: np.ndarray, pause: np.ndarray, begin: float, end: float, seed: int) -> np.ndarray:
    """What the stick does in a long gap: hover, rest low above the surface, or leave the picture."""
    habit = (seed + round(1000 * (begin + end))) % 4
    if habit == 0:
        return height * (1 - 0.8 * pause)
    return height + 0.9 * pause if habit == 1 else height


def _swing(
    times: np.ndarray, begin: float, end: float, before: StickEvent | None, after: StickEvent | None
) -> np.ndarray:
    gap = end - begin
    # Room for the wind-up between rebound and fall, or the stick would snap up faster than it strikes.
    fall = min(0.26 - 0.12 * after.speed, 0.45 * gap) if after else 0.3
    rise = min(0.16, 0.25 * gap)
    room = min(1.0, gap / 0.35)
    top = _apex(after) * room if after else 0.35
    rebound = (0.35 + 0.3 * before.speed) * _apex(before) * room if before else top
    blend = np.clip((times - begin - rise) / max(gap - rise - fall, 1e-3), 0, 1)
    height = rebound + (top - rebound) * blend**2 * (3 - 2 * blend)
    if before:
        height = np.where(times < begin + rise, rebound * np.sin(np.pi / 2 * (times - begin) / rise), height)
    if after:
        height = np.where(times > end - fall, top * np.sin(np.pi / 2 * (end - times) / fall), height)
    return height


def tip_position(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Where the tip is on the surface at `times` seconds: (T, 2), shares of width and height."""
    anchors_t, anchors = [-1.0], [scene.things[scene.events[0].thing if scene.events else 0].position]
    for event in scene.events:
        # Around the object's middle, so that a scrape stays on the object.
        aside = 0.06 * (event.seed % 1009 / 1009 - 0.5)
        steps, along = np.zeros(1), np.zeros(1)
        if event.duration:
            steps = np.linspace(0, event.duration, 12)
            travel = 0.6 * np.cumsum(scrape_speed(event, event.time + steps)) * (event.duration / 12)
            along = event.direction * (travel - travel[-1] / 2)
        base = scene.things[event.thing].position
        anchors_t += list(event.time + steps)
        anchors += [base + np.array([aside + shift, 0.0]) for shift in along]
    x, y = np.array(anchors).T
    return np.stack([np.interp(times, anchors_t, x), np.interp(times, anchors_t, y)], axis=-1)
