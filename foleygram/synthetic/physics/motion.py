"""How an arm moves: strokes planned on the annotated events' statistics, as targets for the arm's actuators."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from foleygram.synthetic.physics.statistics import SAME_MATERIAL, draw_actions, draw_times
from foleygram.synthetic.physics.tools import FOREARM, Tool, joint_targets

STEP = 0.001
"""Seconds between two targets."""


@dataclass(frozen=True)
class Stroke:
    """One planned stroke: when (s), what, where, from which angle (rad), with which fall (s) and stay (s)."""

    time: float
    action: str
    spot: np.ndarray
    raised: float
    fall: float
    stay: float
    path: np.ndarray
    """Where a scrape goes, in metres from `spot` (3,); zero for a hit."""


@dataclass(frozen=True)
class Habit:
    """What one person keeps doing in one video: angles in radians, times in seconds, lengths in metres."""

    pitch: float
    forearm: float
    raised: float
    fall: float
    power: float
    rise: float
    press: float
    rest: float
    lift: float
    wrist: float
    """Share of a swing that the wrist makes, the elbow the rest."""
    stay: float
    clearance: float
    """How far above the target a missed stroke turns, in metres."""


def draw_habit(tool: Tool, rng: np.random.Generator) -> Habit:
    """How one person holds `tool`, raises it and strikes with it."""
    pitch = rng.uniform(0.05, 0.75) if tool.name in ("stick", "hammer") else rng.uniform(-0.05, 0.4)
    manner = rng.choice(["stay", "hover", "up"], p=[0.25, 0.4, 0.35])
    raised = rng.uniform(0.15, 1.1) if rng.random() < 0.8 else rng.uniform(0.06, 0.2)
    return Habit(
        pitch=pitch, forearm=pitch + rng.uniform(-0.35, 0.5), raised=raised, fall=rng.uniform(0.09, 0.2),
        power=rng.uniform(1.6, 3.0), rise=rng.uniform(0.1, 0.28), press=rng.uniform(0.006, 0.02),
        rest={"stay": -0.01, "hover": rng.uniform(0.03, 0.2), "up": raised}[str(manner)],
        lift=rng.choice([0.0, rng.uniform(0, 0.35)]), wrist=rng.uniform(0.25, 1.0),
        stay=rng.uniform(0.02, 0.12) if manner != "stay" else rng.uniform(0.1, 0.4), clearance=rng.uniform(0.03, 0.16),
    )  # fmt: skip


def plan_strokes(
    spots: list[np.ndarray],
    materials: list[str],
    seconds: float,
    habit: Habit,
    rng: np.random.Generator,
    *,
    misses: float,
) -> list[Stroke]:
    """Strokes on targets with `spots` (n, 3) each, a share `misses` of which stops short of the target."""
    times = draw_times(seconds, rng)
    current = int(rng.integers(len(spots)))
    home = [places[rng.integers(len(places))] for places in spots]
    actions = [draw_actions(material, len(times), rng) for material in materials]
    scatter, turn = rng.choice([0.0, 0.015, 0.05]), 0.0
    strokes: list[Stroke] = []
    for number, time in enumerate(times):
        if len(spots) > 1 and rng.random() < 8 * (1 - SAME_MATERIAL):  # with several targets in view people use them
            current = int(rng.integers(len(spots)))
        near = np.linalg.norm(spots[current] - home[current], axis=1) <= scatter + 1e-9
        spot = spots[current][rng.choice(np.flatnonzero(near))]
        action = "miss" if rng.random() < misses else actions[current][number]
        gap = min(np.diff([*times[number : number + 2], seconds][:2])[0], 1.0) if number + 1 < len(times) else 0.5
        length = min(rng.uniform(0.15, 0.45), 0.6 * gap)
        turn = turn + np.pi if number and rng.random() >= 0.5 else rng.uniform(0, 2 * np.pi)
        path = rng.uniform(0.04, 0.16) * np.array([np.cos(turn), np.sin(turn), 0.0])
        before = time - (times[number - 1] if number else time - 0.6)
        room = np.clip((before - 0.12) / 0.35, 0.15, 1.0)
        raised = max(0.05, habit.raised * room * np.exp(0.25 * rng.standard_normal()))
        scrape = action == "scratch"
        strokes.append(
            Stroke(
                time, action, spot, raised * (0.6 if scrape else 1.0),
                min(habit.fall * (1.4 if scrape else 1.0), 0.4 * before),
                length if scrape else min(habit.stay, 0.35 * gap), path * scrape,
            )
        )  # fmt: skip
    return strokes


def arm_targets(
    tool: Tool, strokes: list[Stroke], habit: Habit, yaw: float, seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Targets (steps, 6) of the arm's actuators, one each millisecond."""
    steps = round(seconds / STEP)
    time = np.arange(steps) * STEP
    angle = _angles(strokes, habit, time, tool.reach + (1 - habit.wrist) * FOREARM)
    tip = _places(strokes, time)
    tip[:, 2] -= habit.press * _pressing(strokes, time)
    airy = np.clip(angle / 0.15, 0, 1)
    sway = np.stack([wander(steps, 0.35, rng) for _ in range(3)], -1) * rng.uniform(0.002, 0.02)
    tip += sway * airy[:, None] + 0.0008 * np.stack([wander(steps, 0.06, rng) for _ in range(3)], -1)
    heading = yaw + rng.uniform(0.0, 0.12) * wander(steps, 0.8, rng) * airy
    pitch = habit.pitch - angle
    forearm = habit.forearm - (1 - habit.wrist) * angle
    lift, pose = habit.lift * angle.clip(0), (habit.pitch, habit.forearm)
    return joint_targets(tool, tip, heading, pitch, forearm, lift, at_contact=pose)


def waving_targets(
    tool: Tool, spot: np.ndarray, habit: Habit, yaw: float, seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Targets (steps, 6) of the arm's actuators, one each millisecond, for waving to and fro above `spot` (3,)."""
    steps = round(seconds / STEP)
    beat = np.cumsum(2 * np.pi * STEP * rng.uniform(0.5, 3.0) * np.exp(0.3 * wander(steps, 1.0, rng)))
    size = np.clip(1 + 0.5 * wander(steps, 0.9, rng), 0, None)
    aside, nod = rng.uniform(0.1, 0.7) * rng.choice([0, 1]), rng.uniform(0.1, 0.6)
    height = rng.uniform(0.04, 0.18)
    sway = np.stack([wander(steps, 0.6, rng) for _ in range(3)], -1) * rng.uniform(0.005, 0.03)
    tip = spot + sway * [1, 1, 0] + np.abs(sway) * [0, 0, 1] + np.array([0.0, 0.0, height])
    angle = nod * size * (1 + np.sin(beat)) / 2
    heading = yaw + aside * size * np.sin(beat + rng.uniform(0, 2 * np.pi))
    forearm = habit.forearm - (1 - habit.wrist) * angle
    pose = (habit.pitch, habit.forearm)
    return joint_targets(tool, tip, heading, habit.pitch - angle, forearm, np.zeros(steps), at_contact=pose)


def _angles(strokes: list[Stroke], habit: Habit, time: np.ndarray, radius: float) -> np.ndarray:
    """Angle by which the tool is raised over its pose at contact, at each moment."""
    keys, values, falls = [-1.0], [habit.raised], [False]

    def key(moment: float, value: float, fall: bool = False) -> None:
        if moment > keys[-1]:
            keys.append(moment)
            values.append(value)
            falls.append(fall)

    for number, stroke in enumerate(strokes):
        low = habit.clearance / radius if stroke.action == "miss" else -habit.press / radius
        key(stroke.time - stroke.fall, max(stroke.raised, low + 0.05))
        key(stroke.time, low, True)
        key(stroke.time + stroke.stay, low)
        following = strokes[number + 1] if number + 1 < len(strokes) else None
        after = stroke.time + stroke.stay + habit.rise
        if following:
            windup = following.time - following.fall - max(0.12, habit.rise)
            rest = min(habit.rest, following.raised) if windup > after else following.raised
            key(min(after, following.time - following.fall - 0.01), rest)
            key(windup, rest)
        else:
            key(after, habit.rest)
    key(time[-1] + 1, values[-1])
    index = np.clip(np.searchsorted(keys, time, side="right"), 1, len(keys) - 1)
    begin, end = np.array(keys)[index - 1], np.array(keys)[index]
    share = (time - begin) / (end - begin)
    eased = np.where(np.array(falls)[index], share**habit.power, share**2 * (3 - 2 * share))
    return np.array(values)[index - 1] + eased * (np.array(values)[index] - np.array(values)[index - 1])


def _places(strokes: list[Stroke], time: np.ndarray) -> np.ndarray:
    """Where the tip would touch, (steps, 3): still in a hit, moving in a scrape, between strokes on the way."""
    if not strokes:
        return np.zeros((len(time), 3))
    keys, places = [-1.0], [strokes[0].spot - 0.5 * strokes[0].path]
    for stroke in strokes:
        for share in (-0.03 / stroke.stay, *np.linspace(0, 1, 9)):
            moment = stroke.time + share * stroke.stay
            if moment > keys[-1]:
                keys.append(moment)
                places.append(stroke.spot - 0.5 * np.cos(np.pi * max(share, 0)) * stroke.path)
    track = np.stack([np.interp(time, keys, [place[axis] for place in places]) for axis in range(3)], -1)
    return gaussian_filter1d(track, 12, axis=0, mode="nearest")


def _pressing(strokes: list[Stroke], time: np.ndarray) -> np.ndarray:
    pressing = np.zeros(len(time))
    for stroke in strokes:
        if stroke.action == "scratch":
            pressing[(time >= stroke.time) & (time < stroke.time + stroke.stay)] = 0.6
    return gaussian_filter1d(pressing, 15)


def wander(steps: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random path of unit deviation that turns about every `scale` seconds."""
    knots = rng.standard_normal(int(steps * STEP / scale) + 4)
    grid = np.linspace(0, len(knots) - 1, steps)
    path = gaussian_filter1d(np.interp(grid, np.arange(len(knots)), knots), 0.35 * scale / STEP, mode="nearest")
    return path / (path.std() + 1e-6)
