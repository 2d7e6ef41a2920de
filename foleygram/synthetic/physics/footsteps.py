"""Scenes with feet: two legs with shoes walk across a ground, or step on the spot."""

from dataclasses import replace
from functools import partial
from typing import Any

import mujoco
import numpy as np
from scipy.ndimage import gaussian_filter1d

from foleygram.synthetic.physics.camera import HandheldCamera, View, draw_cameras, draw_view
from foleygram.synthetic.physics.contacts import simulate
from foleygram.synthetic.physics.filming import film
from foleygram.synthetic.physics.gait import AROUND, Legs, draw_gait, draw_legs, joint_goals, plan_walk
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
JOINTS = {"hip": 0.2, "knee": 0.03, "ankle": 0.01, "toe": 0.002}
"""Inertia that each joint of a leg has of its own, in kg m^2, in the order of the actuators."""
TRUNK = 50.0
"""Mass of what the legs carry, in kg."""
SPEED, DAMPING = 2 * np.pi * 11, 0.9
"""Angular frequency in rad/s, and damping ratio, with which the actuators follow their targets."""


def footsteps_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """Two legs with shoes walk across a ground, or step on the spot."""
    stage, legs = Stage(rng), draw_legs(rng)
    follows = bool(rng.random() < 0.7)
    gait = draw_gait(rng, longest=0.7 if follows else 0.3)
    walk = plan_walk(gait, seconds, rng)
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
    goals = joint_goals(walk, gait, legs)[clip]
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


def _add_legs(stage: Stage, legs: Legs, shoes: list[int], heading: float) -> None:
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
    stage: Stage, trunk: Any, legs: Legs, mark: str, side: float, thick: float, thigh: str, shank: str, skin: str
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


def _add_shoe(stage: Stage, ankle: Any, legs: Legs, mark: str, thing: int, shape: str, upper: str, sole: str) -> None:
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
