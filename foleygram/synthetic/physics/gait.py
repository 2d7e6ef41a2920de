"""How two legs walk: a gait drawn for one person, when the feet strike, and the joints' angles that follow."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from foleygram.synthetic.physics.motion import STEP

AROUND = 2.0
"""Seconds before and after the clip for which the walk is planned."""
LOADING = 0.06
"""Seconds over which the weight comes onto a foot."""


@dataclass(frozen=True)
class Legs:
    """Proportions of one person's legs and shoes, in metres; `heel`, `ball` and `tip` are seen from the ankle."""

    thigh: float
    shank: float
    ankle: float
    heel: float
    ball: float
    tip: float
    width: float
    apart: float

    @property
    def sole(self) -> float:
        """Radius of the sole's round edges under the heel and the ball."""
        return 0.14 * self.ankle


@dataclass(frozen=True)
class Gait:
    """How one person walks in one video: lengths in metres, angles in radians, times in seconds."""

    period: float
    length: float
    swing: float
    """Share of a foot's cycle of two steps for which it is in the air."""
    lift: float
    late: float
    """How late in a swing the foot is highest: 1 for halfway."""
    toes_up: float
    heel_up: float
    roll: float
    flat: float
    press: float


@dataclass(frozen=True)
class Walk:
    """A planned walk: times (steps,), where the hip is then, and strikes (n,) of alternating feet with their places."""

    time: np.ndarray
    hip: np.ndarray
    strikes: np.ndarray
    places: np.ndarray


def draw_legs(rng: np.random.Generator) -> Legs:
    size = rng.uniform(0.88, 1.08)
    foot = size * rng.uniform(0.26, 0.31)
    return Legs(
        thigh=size * rng.uniform(0.41, 0.45), shank=size * rng.uniform(0.4, 0.44), ankle=size * rng.uniform(0.08, 0.11),
        heel=0.24 * foot, ball=0.46 * foot, tip=0.76 * foot, width=foot * rng.uniform(0.3, 0.38),
        apart=rng.uniform(0.13, 0.24),
    )  # fmt: skip


def draw_gait(rng: np.random.Generator, *, longest: float) -> Gait:
    """How a person walks with steps of up to `longest` metres, or steps on the spot."""
    length = 0.0 if rng.random() < 0.25 else rng.uniform(0.12, longest)
    period = 1 / rng.uniform(1.4, 2.4)
    stride = min(length / 0.4, 1.0)
    return Gait(
        period=period, length=length, swing=rng.uniform(0.35, 0.45), lift=rng.uniform(0.03, 0.12 - 0.05 * stride),
        late=rng.uniform(1.0, 1.8), toes_up=0.05 + stride * rng.uniform(0.05, 0.35),
        heel_up=rng.uniform(0.2, 0.45) + 0.45 * stride, roll=rng.uniform(0.45, 0.65) * period,
        flat=rng.uniform(0.035, 0.05), press=rng.uniform(0.0015, 0.003),
    )  # fmt: skip


def plan_walk(gait: Gait, seconds: float, rng: np.random.Generator) -> Walk:
    """Where the hip goes, and when and where the feet strike; around the clip's middle the hip is at 0."""
    time = np.arange(round((seconds + 2 * AROUND) / STEP) + 1) * STEP - AROUND
    gaps = gait.period * (1 + 0.04 * rng.standard_normal(2 + int(1.4 * (seconds + 2 * AROUND) / gait.period))).clip(0.8)
    strikes = np.cumsum(gaps) - AROUND - gait.period * rng.random()
    # A clip that began in the midst of a strike would have an impact without a fall.
    cut = strikes[(strikes > -2 * LOADING) & (strikes < 0.03)]
    strikes += 0.03 - cut[0] if len(cut) else 0.0
    begin, end = _draw_rest(seconds, rng)
    strikes = strikes[(strikes < begin) | (strikes > end)]
    walking = np.zeros(len(time))
    for strike, following in pairwise(strikes):
        # The hip sets out after the first foot and stops before the last one strikes.
        if following - strike < 1.5 * gait.period:
            walking[(time > strike - 0.4 * gait.period) & (time < following - 0.1 * gait.period)] = 1.0
    speed = gait.length / gait.period * gaussian_filter1d(walking, 0.25 * gait.period / STEP, mode="nearest")
    hip = np.cumsum(speed) * STEP
    hip -= np.interp(seconds * rng.uniform(0.42, 0.58), time, hip)
    # The hip passes over a foot in the middle of its stance.
    middle = strikes + (1 - gait.swing) * gait.period
    places = np.interp(middle, time, hip) + 0.03 * gait.length * rng.standard_normal(len(strikes))
    return Walk(time, hip, strikes, places)


def _draw_rest(seconds: float, rng: np.random.Generator) -> tuple[float, float]:
    """From when to when the person stands still, in seconds."""
    kind = str(rng.choice(["none", "starts", "stops", "waits"], p=[0.55, 0.18, 0.15, 0.12]))
    if kind == "starts":
        return -np.inf, seconds * rng.uniform(0.15, 0.5)
    if kind == "stops":
        return seconds * rng.uniform(0.4, 0.8), np.inf
    begin = seconds * rng.uniform(0.2, 0.5)
    return (begin, begin + rng.uniform(0.8, 2.0)) if kind == "waits" else (np.inf, np.inf)


def joint_goals(walk: Walk, gait: Gait, legs: Legs) -> np.ndarray:
    """Positions (steps, 10) of the joints: the hip's way and height, then each leg's hip, knee, ankle and toes."""
    feet = [_foot_path(walk, gait, legs, side) for side in (0, 1)]
    reach = 0.991 * (legs.thigh + legs.shank)
    heights = [ankle[:, 1] + np.sqrt(reach**2 - np.minimum((ankle[:, 0] - walk.hip) ** 2, 0.8 * reach**2))
               for ankle, _, _ in feet]  # fmt: skip
    height = minimum_filter1d(np.minimum(*heights), round(0.12 / STEP))
    height = gaussian_filter1d(height, 0.04 / STEP, mode="nearest") - gait.press
    hip = np.stack([walk.hip, height], -1)
    angles = [_leg_angles(ankle - hip, pitch, toe, legs) for ankle, pitch, toe in feet]
    return gaussian_filter1d(np.column_stack([hip, *angles]), 0.004 / STEP, axis=0, mode="nearest")


def _foot_path(walk: Walk, gait: Gait, legs: Legs, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ankle (steps, 2) ahead and up, the shoe's pitch (positive: toes up) and the bend of its toes, of one foot."""
    time, strikes, places = walk.time, walk.strikes[side::2], walk.places[side::2]
    swing = 2 * gait.swing * gait.period
    off = strikes - swing
    before = np.r_[walk.hip[0], places[:-1]]
    along, lift = np.full(len(time), before[0]), np.full(len(time), -gait.press)
    peak = gait.late / (1 + gait.late)
    for start, strike, old, new in zip(off, strikes, before, places, strict=True):
        share = ((time - start) / swing).clip(0, 1)
        along += (new - old) * share**2 * (3 - 2 * share)
        # It rises gently and is still falling when it strikes; the weight comes onto it after that.
        lift += gait.lift * (share / peak) ** gait.late * (1 - share) / (1 - peak)
        lift += gait.press * np.minimum((share / 0.1).clip(0, 1), ((strike + LOADING - time) / LOADING).clip(0, 1))
    keys = np.stack([off - gait.roll, off, off + 0.3 * swing, off + 0.75 * swing, strikes, strikes + gait.flat], -1)
    low = gait.toes_up + gait.heel_up
    pitches = [0.0, -gait.heel_up, gait.toes_up - 0.5 * low, gait.toes_up, gait.toes_up, 0.0]
    bends = [0.0, gait.heel_up, 0.1 * gait.heel_up, 0.0, 0.0, 0.0]
    pitch, toe = (
        gaussian_filter1d(np.interp(time, keys.ravel(), np.tile(values, len(keys))), 0.012 / STEP, mode="nearest")
        for values in (pitches, bends)
    )
    lift = lift + (legs.tip - legs.ball) * np.sin((-pitch - toe).clip(0))
    # The shoe rolls off over its ball, and lands on its heel.
    pivot, high = np.where(pitch > 0, legs.sole - legs.heel, legs.ball), legs.ankle - legs.sole
    cos, sin = np.cos(pitch), np.sin(pitch)
    ankle = np.stack([along + pivot * (1 - cos) - high * sin, lift + legs.sole - pivot * sin + high * cos], -1)
    return ankle, pitch, toe


def _leg_angles(ankle: np.ndarray, pitch: np.ndarray, toe: np.ndarray, legs: Legs) -> np.ndarray:
    """Angles (steps, 4) of hip, knee, ankle and toes for an ankle (steps, 2) as seen from the hip."""
    a, b = legs.thigh, legs.shank
    far = np.minimum(np.hypot(*ankle.T), 0.999 * (a + b))
    bend = np.pi - np.arccos((a**2 + b**2 - far**2) / (2 * a * b))
    hip = np.arctan2(ankle[:, 0], -ankle[:, 1]) + np.arccos((a**2 + far**2 - b**2) / (2 * a * far))
    return np.column_stack([hip, bend, pitch - hip + bend, toe])
