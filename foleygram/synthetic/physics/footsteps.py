"""Scenes with feet: two legs with shoes walk across a ground, or step on the spot."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from foleygram.synthetic.physics.camera import HandheldCamera, View, draw_cameras, draw_view
from foleygram.synthetic.physics.contacts import simulate
from foleygram.synthetic.physics.filming import film
from foleygram.synthetic.physics.motion import STEP
from foleygram.synthetic.physics.scene import Scene
from foleygram.synthetic.physics.shapes import add_scenery, floor
from foleygram.synthetic.physics.stage import Stage
from foleygram.synthetic.physics.statistics import LABELLED_EVENTS
from foleygram.synthetic.physics.tools import SKINS

GROUNDS = ("wood", "metal", "dirt", "rock", "leaf", "grass", "water", "gravel", "tile", "carpet", "plastic")
"""Materials that people walk on."""
LEVEL = 0.003
"""Height of the ground over the scenery's own, in metres, so that the two do not flicker."""
AROUND = 2.0
"""Seconds before and after the clip for which the walk is planned."""
JOINTS = {"hip": 0.2, "knee": 0.03, "ankle": 0.01, "toe": 0.002}
"""Inertia that each joint of a leg has of its own, in kg m^2, in the order of the actuators."""
TRUNK = 50.0
"""Mass of what the legs carry, in kg."""
LOADING = 0.06
"""Seconds over which the weight comes onto a foot."""
SPEED, DAMPING = 2 * np.pi * 11, 0.9
"""Angular frequency in rad/s, and damping ratio, with which the actuators follow their targets."""


@dataclass(frozen=True)
class _Legs:
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
class _Gait:
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
class _Walk:
    """A planned walk: times (steps,), where the hip is then, and strikes (n,) of alternating feet with their places."""

    time: np.ndarray
    hip: np.ndarray
    strikes: np.ndarray
    places: np.ndarray


def footsteps_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """Two legs with shoes walk across a ground, or step on the spot."""
    stage, legs = Stage(rng), _draw_legs(rng)
    follows = bool(rng.random() < 0.7)
    gait = _draw_gait(rng, longest=0.7 if follows else 0.3)
    walk = _plan_walk(gait, seconds, rng)
    view = _draw_stand(rng)
    steps, start = round(seconds / STEP), round(AROUND / STEP)
    clip = slice(start, start + steps + 1)
    ends = np.array([walk.hip[clip].min(), walk.hip[clip].max()])
    heading = _draw_heading(view, float(np.abs(ends).max()), rng)
    along = np.array([np.cos(heading), np.sin(heading), 0.0])
    shoes = [stage.thing("rubber") for _ in "lr"]
    _add_ground(stage)
    _add_legs(stage, legs, shoes, heading)
    _add_surroundings(stage, view, ends[:, None] * along)
    model, data = stage.compile()
    model.light_pos *= 2.0  # people walk under higher lamps than those of a table
    goals = _goals(walk, gait, legs)[clip]
    controls = _targets(model, data, goals)[:steps]
    _place(model, data, goals, gait.press)
    recording = simulate(model, data, stage.owners(model), controls)
    cameras = draw_cameras(view, seconds, rng)
    path = follows * gaussian_filter1d(walk.hip, 0.15 / STEP)[clip, None] * along
    for _, camera in cameras:
        _carry(camera, path)
    return Scene(
        seconds, "A walking person {} with the feet.", "A person stands still.",
        partial(film, model, recording.positions, cameras), stage.materials, "rubber", recording.contacts,
    )  # fmt: skip


def _draw_legs(rng: np.random.Generator) -> _Legs:
    size = rng.uniform(0.88, 1.08)
    foot = size * rng.uniform(0.26, 0.31)
    return _Legs(
        thigh=size * rng.uniform(0.41, 0.45), shank=size * rng.uniform(0.4, 0.44), ankle=size * rng.uniform(0.08, 0.11),
        heel=0.24 * foot, ball=0.46 * foot, tip=0.76 * foot, width=foot * rng.uniform(0.3, 0.38),
        apart=rng.uniform(0.13, 0.24),
    )  # fmt: skip


def _draw_gait(rng: np.random.Generator, *, longest: float) -> _Gait:
    """How a person walks with steps of up to `longest` metres, or steps on the spot."""
    length = 0.0 if rng.random() < 0.25 else rng.uniform(0.12, longest)
    period = 1 / rng.uniform(1.4, 2.4)
    stride = min(length / 0.4, 1.0)
    return _Gait(
        period=period, length=length, swing=rng.uniform(0.35, 0.45), lift=rng.uniform(0.03, 0.12 - 0.05 * stride),
        late=rng.uniform(1.0, 1.8), toes_up=0.05 + stride * rng.uniform(0.05, 0.35),
        heel_up=rng.uniform(0.2, 0.45) + 0.45 * stride, roll=rng.uniform(0.45, 0.65) * period,
        flat=rng.uniform(0.035, 0.05), press=rng.uniform(0.0015, 0.003),
    )  # fmt: skip


def _plan_walk(gait: _Gait, seconds: float, rng: np.random.Generator) -> _Walk:
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
    return _Walk(time, hip, strikes, places)


def _draw_rest(seconds: float, rng: np.random.Generator) -> tuple[float, float]:
    """From when to when the person stands still, in seconds."""
    kind = str(rng.choice(["none", "starts", "stops", "waits"], p=[0.55, 0.18, 0.15, 0.12]))
    if kind == "starts":
        return -np.inf, seconds * rng.uniform(0.15, 0.5)
    if kind == "stops":
        return seconds * rng.uniform(0.4, 0.8), np.inf
    begin = seconds * rng.uniform(0.2, 0.5)
    return (begin, begin + rng.uniform(0.8, 2.0)) if kind == "waits" else (np.inf, np.inf)


def _goals(walk: _Walk, gait: _Gait, legs: _Legs) -> np.ndarray:
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


def _foot_path(walk: _Walk, gait: _Gait, legs: _Legs, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _leg_angles(ankle: np.ndarray, pitch: np.ndarray, toe: np.ndarray, legs: _Legs) -> np.ndarray:
    """Angles (steps, 4) of hip, knee, ankle and toes for an ankle (steps, 2) as seen from the hip."""
    a, b = legs.thigh, legs.shank
    far = np.minimum(np.hypot(*ankle.T), 0.999 * (a + b))
    bend = np.pi - np.arccos((a**2 + b**2 - far**2) / (2 * a * b))
    hip = np.arctan2(ankle[:, 0], -ankle[:, 1]) + np.arccos((a**2 + far**2 - b**2) / (2 * a * far))
    return np.column_stack([hip, bend, pitch - hip + bend, toe])


def _targets(model: Any, data: Any, goals: np.ndarray) -> np.ndarray:
    """Targets (steps, 10) with which the actuators, which lag, bring the joints to `goals` but for contacts."""
    speeds = np.gradient(goals, STEP, axis=0)
    accelerations = np.gradient(speeds, STEP, axis=0)
    joints, forces = _joints(model), np.zeros_like(goals)
    flags = int(model.opt.disableflags)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    for step, goal in enumerate(goals):
        data.qpos[model.jnt_qposadr[joints]] = goal
        data.qvel[model.jnt_dofadr[joints]] = speeds[step]
        data.qacc[model.jnt_dofadr[joints]] = accelerations[step]
        mujoco.mj_inverse(model, data)
        forces[step] = data.qfrc_inverse[model.jnt_dofadr[joints]]
    model.opt.disableflags = flags
    return goals + 2 * DAMPING / SPEED * speeds + forces / model.actuator_gainprm[:, 0]


def _place(model: Any, data: Any, goals: np.ndarray, press: float) -> None:
    """Set the joints to the first of `goals` and let them move on, with soles that press the ground only a little."""
    joints = _joints(model)
    data.qpos[model.jnt_qposadr[joints]] = goals[0]
    data.qpos[model.jnt_qposadr[joints[1]]] += 0.8 * press
    data.qvel[model.jnt_dofadr[joints]] = (goals[1] - goals[0]) / STEP
    data.qacc[:] = data.qacc_warmstart[:] = 0


def _joints(model: Any) -> np.ndarray:
    """The joints in the order of their actuators."""
    return np.array(model.actuator_trnid[:, 0])


def _add_ground(stage: Stage) -> None:
    shares = np.sqrt([LABELLED_EVENTS[name] for name in GROUNDS])
    target = floor(stage, str(stage.rng.choice(GROUNDS, p=shares / shares.sum())))
    stage.spec.body(f"body{target.thing}").pos = [0, 0, LEVEL]


def _add_legs(stage: Stage, legs: _Legs, shoes: list[int], heading: float) -> None:
    """Add the hip with actuators x (ahead) and z (up), and of each leg the hip, knee, ankle and toes."""
    rng = stage.rng
    skin = stage.plain(np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.85, 1.05))
    cloth = stage.backdrop() if rng.random() < 0.6 else stage.plain(rng.uniform(0.03, 0.7, 3))
    bare = rng.random()
    shank = skin if bare < 0.25 else cloth
    thigh = skin if bare < 0.1 else cloth
    upper, sole = _shoe_paints(stage)
    trunk = stage.world.add_body(name="trunk", pos=[0, 0, LEVEL], gravcomp=1)
    trunk.quat = [np.cos(heading / 2), 0, 0, np.sin(heading / 2)]
    for name, axis in (("x", [1, 0, 0]), ("z", [0, 0, 1])):
        trunk.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, name=name, armature=TRUNK)
        _add_motor(stage, name, TRUNK)
    half = 0.5 * legs.apart + 0.06
    stage.geom(trunk, "ellipsoid", (0.11, half, 0.12), cloth, pos=[0, 0, 0.05], mass=1.0)
    thick = rng.uniform(0.85, 1.2)
    shape = str(rng.choice(["shoe", "boot"], p=[0.7, 0.3]))
    for number, shoe in enumerate(shoes):
        side = (0.5 - number) * legs.apart
        ankle = _add_leg(stage, trunk, legs, f".{number}", side, thick, thigh, shank, skin)
        _add_shoe(stage, ankle, legs, f".{number}", shoe, shape, upper, sole)


def _add_leg(
    stage: Stage, trunk: Any, legs: _Legs, mark: str, side: float, thick: float, thigh: str, shank: str, skin: str
) -> Any:
    """Add a leg without its shoe; returns the body of the foot."""
    hip = trunk.add_body(name="hip" + mark, pos=[0, side, 0], gravcomp=1)
    _add_hinge(stage, hip, "hip", mark, -1)
    stage.geom(hip, "capsule", (0.075 * thick,), thigh, fromto=[0, 0, -0.03, 0, 0, -0.55 * legs.thigh], mass=0.5)
    stage.geom(hip, "capsule", (0.062 * thick,), thigh, fromto=[0, 0, -0.4 * legs.thigh, 0, 0, -legs.thigh], mass=0.3)
    knee = hip.add_body(name="knee" + mark, pos=[0, 0, -legs.thigh], gravcomp=1)
    _add_hinge(stage, knee, "knee", mark, 1)
    hem = legs.shank * (1.0 if shank == skin else stage.rng.uniform(0.86, 0.99))
    cuff = (0.042 if shank == skin else 0.052) * thick
    stage.geom(knee, "capsule", (0.056 * thick,), shank, fromto=[0, 0, 0, 0, 0, -0.5 * hem], mass=0.2)
    stage.geom(knee, "capsule", (cuff,), shank, fromto=[0, 0, -0.35 * hem, 0, 0, -hem + cuff], mass=0.15)
    calf = stage.geom(knee, "ellipsoid", np.array([0.056, 0.054, 0.11]) * thick, shank, mass=0.1)
    calf.pos = [-0.014, 0, -0.33 * legs.shank]
    stage.geom(knee, "capsule", (0.034 * thick,), skin, fromto=[0, 0, -0.5 * legs.shank, 0, 0, -legs.shank], mass=0.05)
    ankle = knee.add_body(name="ankle" + mark, pos=[0, 0, -legs.shank], gravcomp=1)
    _add_hinge(stage, ankle, "ankle", mark, -1)
    return ankle


def _add_shoe(stage: Stage, ankle: Any, legs: _Legs, mark: str, thing: int, shape: str, upper: str, sole: str) -> None:
    """Add a shoe with a sole that bends at the ball of the foot."""
    half, thick, high = 0.5 * legs.width, legs.sole, legs.ankle
    toe = ankle.add_body(name="toe" + mark, pos=[legs.ball, 0, thick - high], gravcomp=1)
    _add_hinge(stage, toe, "toe", mark, -1)
    rear, front = 0.5 * (legs.ball + legs.heel), 0.5 * (legs.tip - legs.ball)
    for body, place in ((ankle, [thick - legs.heel, 0, thick - high]), (toe, [0, 0, 0])):
        tread = stage.geom(body, "sphere", (thick,), sole, owner=thing, pos=place, mass=0.05)
        # Soles grip, whatever the ground: a foot that stands does not slide.
        tread.solref, tread.priority, tread.friction = (0.008, 1.0), 2, (0.9, 0.005, 0.0001)
    stage.geom(ankle, "box", (rear, 0.85 * half, thick), sole, mass=0.06, pos=[legs.ball - rear, 0, thick - high])
    stage.geom(toe, "box", (0.7 * front, 0.9 * half, thick), sole, mass=0.03, pos=[0.7 * front, 0, 0])
    edge = stage.geom(toe, "ellipsoid", (1.35 * front, half, 1.6 * thick), sole, mass=0.02)
    edge.pos = [0.65 * front, 0, 0.6 * thick]
    cap = stage.geom(toe, "ellipsoid", (1.3 * front, 0.95 * half, 0.38 * high), upper, mass=0.03)
    cap.pos = [0.55 * front, 0, thick + 0.14 * high]
    stage.geom(
        ankle, "capsule", (0.72 * half,), upper, mass=0.08,
        fromto=[0.72 * half - legs.heel, 0, 1.6 * thick + 0.7 * half - high, legs.ball, 0, 0.7 * half + thick - high],
    )  # fmt: skip
    instep = stage.geom(ankle, "ellipsoid", (0.85 * rear, 0.82 * half, 0.58 * high), upper, mass=0.06)
    instep.pos, instep.quat = [0.42 * legs.ball, 0, -0.48 * high], [np.cos(0.15), 0, np.sin(0.15), 0]
    top = 0.9 * high if shape == "boot" else 0.05 * high
    stage.geom(ankle, "capsule", (0.78 * half,), upper, fromto=[-0.01, 0, -0.4 * high, -0.01, 0, top], mass=0.04)


def _add_hinge(stage: Stage, body: Any, joint: str, mark: str, sign: int) -> None:
    """Add a hinge with its actuator; with a `sign` of -1 what hangs from it turns ahead."""
    body.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, sign, 0], name=joint + mark, armature=JOINTS[joint])
    _add_motor(stage, joint + mark, 1.5 * JOINTS[joint])


def _add_motor(stage: Stage, joint: str, inertia: float) -> None:
    motor = stage.spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    motor.gainprm[0], motor.biasprm[1] = inertia * SPEED**2, -inertia * SPEED**2
    motor.biasprm[2] = -2 * DAMPING * inertia * SPEED


def _shoe_paints(stage: Stage) -> tuple[str, str]:
    """Paints of the upper and of the sole."""
    rng = stage.rng
    gray = np.full(3, rng.uniform(0.02, 0.95))
    leather = np.array([0.35, 0.2, 0.1]) * rng.uniform(0.4, 1.6)
    color = (gray, leather, rng.uniform(0.05, 0.95, 3))[rng.integers(3)]
    upper = stage.backdrop() if rng.random() < 0.2 else stage.plain(color, rng.uniform(0.05, 0.7))
    sole = np.full(3, rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.6, 0.95)])) * rng.uniform(0.85, 1.0, 3)
    return upper, stage.plain(sole)


def _draw_stand(rng: np.random.Generator) -> View:
    """A low view of feet and shins."""
    view = draw_view(np.zeros(3), rng, height=(0.4, 1.3))
    center = np.array([0.0, 0.0, rng.uniform(0.2, 0.38) * view.height])
    return replace(view, center=center, elevation=float(np.radians(rng.uniform(5, 45))))


def _draw_heading(view: View, reach: float, rng: np.random.Generator) -> float:
    """Direction of the walk in radians: across the view, the less aslant the farther it goes from the middle."""
    aslant = np.arcsin(min(1.0, 0.35 * view.distance / max(reach, 1e-3)))
    return float(view.azimuth + rng.choice([-1, 1]) * np.pi / 2 + aslant * rng.uniform(-1, 1))


def _add_surroundings(stage: Stage, view: View, ends: np.ndarray) -> None:
    """Scenery beside the way between `ends` (2, 3); its walls stand behind the way and behind the camera."""
    eye = np.array([np.cos(view.azimuth), np.sin(view.azimuth)])

    def keep_clear(position: np.ndarray, radius: float) -> bool:
        beside = min(
            float(np.linalg.norm(position[:2] - place))
            for place in ends[0, :2] + np.linspace(0, 1, 40)[:, None] * (ends[1] - ends[0])[:2]
        )
        return beside > radius + 0.35 and position[:2] @ eye < 0.5 * float(np.linalg.norm(position[:2]))

    add_scenery(stage, keep_clear)
    _add_distance(stage)
    camera = view.center + view.distance * view.axes[:, 2]
    inside = np.concatenate([ends, camera + ends])[:, :2]
    for wall in stage.world.geoms:
        if wall.type == mujoco.mjtGeom.mjGEOM_BOX and wall.size[0] == 0.05:  # the walls of `add_scenery`
            place = np.array(wall.pos)
            away = place[:2] / np.linalg.norm(place[:2])
            wall.pos = [*(away * max(float(place[:2] @ away), float((inside @ away).max()) + 0.45)), place[2]]


def _add_distance(stage: Stage) -> None:
    """What a low camera sees far away: a sky, or what is as bright as one, and perhaps walls or hedges."""
    rng, sky = stage.rng, stage.spec.add_texture(name=stage.name("texture"))
    sky.type, sky.builtin = mujoco.mjtTexture.mjTEXTURE_SKYBOX, mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.width, sky.height = 64, 384
    sky.rgb1 = (rng.uniform(0.05, 0.9) + rng.uniform(-0.15, 0.15, 3)).clip(0, 1)
    sky.rgb2 = (rng.uniform(0.3, 0.95) + rng.uniform(-0.1, 0.1, 3)).clip(0, 1)
    for turn in np.arange(4) * np.pi / 2:
        if rng.random() < 0.6:
            wall = stage.geom(stage.world, "box", (0.1, 5.0, rng.uniform(0.2, 3.0)), stage.backdrop())
            wall.pos, wall.quat = [5 * np.cos(turn), 5 * np.sin(turn), 0], [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]


def _carry(camera: HandheldCamera, path: np.ndarray) -> None:
    """Move the camera along `path` (steps, 3) as far as it stays above the ground."""
    view = camera.view
    camera.shift = camera.shift + path @ view.axes[:, :2]
    height = view.center[2] + view.distance * view.axes[2, 2]
    camera.shift[:, 1] = np.maximum(camera.shift[:, 1], (0.06 - height) / max(view.axes[2, 1], 0.3))
