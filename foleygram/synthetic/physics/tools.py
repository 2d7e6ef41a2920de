"""An arm on actuators that holds what strikes: drumstick, hammer, knife, knuckles or a flat hand."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from foleygram.synthetic.physics.stage import TOOL, Stage

FOREARM = 0.27
"""Metres from elbow to wrist."""
SKINS = ((0.87, 0.66, 0.53), (0.78, 0.56, 0.42), (0.6, 0.4, 0.28), (0.4, 0.26, 0.18), (0.93, 0.75, 0.66))


@dataclass(frozen=True)
class Tool:
    """What an arm holds: its name, the material that it is of, and its tip seen from the wrist, in metres."""

    name: str
    material: str
    reach: float
    drop: float


def draw_tool(name: str, rng: np.random.Generator) -> Tool:
    """Draw a tool's size; raises ValueError unless `name` is stick, hammer, knife, knuckles or hand."""
    if name == "stick":
        return Tool(name, "wood" if rng.random() < 0.9 else "plastic", rng.uniform(0.28, 0.42), 0.0)
    if name == "hammer":
        return Tool(name, "metal" if rng.random() < 0.7 else "rubber", rng.uniform(0.22, 0.32), rng.uniform(0.03, 0.06))
    if name == "knife":
        return Tool(name, "metal", rng.uniform(0.2, 0.3), 0.012)
    if name == "knuckles":
        return Tool(name, "skin", 0.09, 0.03)
    if name == "hand":
        return Tool(name, "skin", 0.15, 0.012)
    raise ValueError(f"{name}: no such tool")


def add_arm(stage: Stage, tool: Tool) -> None:
    """Add the arm with actuators x, y, z (elbow, metres), yaw, elbow and wrist pitch (radians, positive: down)."""
    rng, spec = stage.rng, stage.spec
    skin = stage.plain(np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.85, 1.05))
    sleeve = stage.backdrop() if rng.random() < 0.75 else skin
    elbow = stage.world.add_body(name="elbow", gravcomp=1)
    for number, axis in enumerate(np.eye(3)):
        elbow.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, name="xyz"[number])
    elbow.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1], name="yaw", armature=0.02)
    elbow.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 1, 0], name="elbow", armature=0.02)
    thick = rng.uniform(0.028, 0.045)
    cuff = rng.uniform(0.6, 0.97) * FOREARM
    stage.geom(elbow, "capsule", (thick,), sleeve, fromto=[-0.02, 0, 0, cuff - thick, 0, 0], mass=0.6)
    stage.geom(elbow, "capsule", (0.72 * thick,), skin, fromto=[0.3 * FOREARM, 0, 0, FOREARM, 0, 0], mass=0.2)
    stage.geom(elbow, "capsule", (1.2 * thick,), sleeve, fromto=[0, 0, 0, -0.3, rng.uniform(-0.1, 0.1), 0.05], mass=0.1)
    hand = elbow.add_body(name="wrist", pos=[FOREARM, 0, 0], gravcomp=1)
    hand.add_joint(type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 1, 0], name="wrist", armature=0.003)
    _HOLDS[tool.name](stage, hand, tool, skin)
    hand.add_site(name="tip", pos=[tool.reach, 0, -tool.drop])
    speeds = {"x": 9, "y": 9, "z": 9, "yaw": 9, "elbow": 11, "wrist": 15}
    masses = {"x": 1.3, "y": 1.3, "z": 1.3, "yaw": 0.06, "elbow": 0.08, "wrist": 0.009}
    for name, speed in speeds.items():
        omega, damping = 2 * np.pi * speed * rng.uniform(0.85, 1.15), rng.uniform(0.75, 1.0)
        stiffness = masses[name] * omega**2
        motor = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        motor.gainprm[0], motor.biasprm[1] = stiffness, -stiffness
        motor.biasprm[2] = -2 * damping * masses[name] * omega


def joint_targets(
    tool: Tool,
    tip: np.ndarray,
    yaw: np.ndarray,
    pitch: np.ndarray,
    forearm: np.ndarray,
    lift: np.ndarray,
    *,
    at_contact: tuple[float, float],
) -> np.ndarray:
    """Targets (steps, 6) of the actuators.

    The elbow stands where the tip meets `tip` (steps, 3) when the tool and the forearm are pitched as `at_contact`;
    from there they turn to `pitch` and `forearm` (steps,), and the arm rises by `lift` metres.
    """
    rest_pitch, rest_forearm = at_contact
    out = FOREARM * np.cos(rest_forearm) + tool.reach * np.cos(rest_pitch) - tool.drop * np.sin(rest_pitch)
    down = FOREARM * np.sin(rest_forearm) + tool.reach * np.sin(rest_pitch) + tool.drop * np.cos(rest_pitch)
    along = np.stack([np.cos(yaw), np.sin(yaw)], -1)
    return np.column_stack([tip[:, :2] - out * along, tip[:, 2] + down + lift, yaw, forearm, pitch - forearm])


def _fist(stage: Stage, hand: Any, skin: str) -> None:
    stage.geom(hand, "ellipsoid", (0.05, 0.036, 0.034), skin, pos=[0.035, 0, 0.006], mass=0.12)
    for number in range(4):
        x = 0.022 + 0.019 * number
        stage.geom(hand, "capsule", (0.0105,), skin, fromto=[x, -0.026, 0.012, x + 0.004, -0.008, -0.02], mass=0.01)
        stage.geom(hand, "capsule", (0.0105,), skin, fromto=[x + 0.004, -0.008, -0.02, x, 0.02, -0.016], mass=0.01)
    stage.geom(hand, "capsule", (0.011,), skin, fromto=[0.03, 0.03, 0.012, 0.095, 0.014, 0.006], mass=0.02)


def _stick(stage: Stage, hand: Any, tool: Tool, skin: str) -> None:
    rng = stage.rng
    _fist(stage, hand, skin)
    wood = np.array([0.86, 0.68, 0.42]) * rng.uniform(0.75, 1.12) * (1 + 0.06 * rng.standard_normal(3))
    if rng.random() < 0.15:
        wood = rng.uniform(0.03, 0.9, 3)
    paint, radius, end = stage.plain(wood, 0.3), rng.uniform(0.0065, 0.0095), tool.reach
    stage.geom(hand, "capsule", (radius,), paint, owner=TOOL, fromto=[-0.07, 0, 0, end - 0.09, 0, 0], mass=0.035)
    stage.geom(
        hand, "capsule", (0.8 * radius,), paint, owner=TOOL, fromto=[end - 0.1, 0, 0, end - 0.04, 0, 0], mass=0.006
    )
    stage.geom(hand, "capsule", (0.62 * radius,), paint, owner=TOOL, fromto=[end - 0.05, 0, 0, end, 0, 0], mass=0.004)
    bead = stage.geom(hand, "ellipsoid", (1.4 * radius, 0.85 * radius, 0.85 * radius), paint, owner=TOOL, mass=0.002)
    bead.pos = [end - radius, 0, 0]


def _hammer(stage: Stage, hand: Any, tool: Tool, skin: str) -> None:
    rng = stage.rng
    _fist(stage, hand, skin)
    stage.geom(hand, "capsule", (0.013,), stage.backdrop(), fromto=[-0.05, 0, 0, tool.reach, 0, 0], mass=0.1)
    gray = np.full(3, rng.uniform(0.15, 0.6)) if tool.material == "metal" else rng.uniform(0.03, 0.5, 3)
    paint, radius = stage.plain(gray, 0.8), rng.uniform(0.012, 0.022)
    ends = [tool.reach, 0, tool.drop, tool.reach, 0, -tool.drop]
    stage.geom(hand, "cylinder", (radius,), paint, owner=TOOL, fromto=ends, mass=0.25)


def _knife(stage: Stage, hand: Any, tool: Tool, skin: str) -> None:
    _fist(stage, hand, skin)
    stage.geom(hand, "capsule", (0.012,), stage.backdrop(), fromto=[-0.03, 0, 0, 0.11, 0, 0], mass=0.05)
    half = (tool.reach - 0.1) / 2
    blade = stage.geom(hand, "box", (half, 0.0012, 0.014), stage.plain([0.75] * 3, 1.0), owner=TOOL, mass=0.05)
    blade.pos = [0.1 + half, 0, 0.002]


def _knuckles(stage: Stage, hand: Any, tool: Tool, skin: str) -> None:
    _fist(stage, hand, skin)
    for number in range(4):
        joint = stage.geom(hand, "sphere", (0.0125,), skin, owner=TOOL, mass=0.03)
        joint.pos = [tool.reach - 0.003 * abs(number - 1), 0.02 * (number - 1.5), 0.0125 - tool.drop]


def _hand(stage: Stage, hand: Any, tool: Tool, skin: str) -> None:
    stage.geom(hand, "box", (0.045, 0.04, 0.012), skin, owner=TOOL, pos=[0.045, 0, 0], mass=0.15)
    for number in range(4):
        y, end = 0.021 * (number - 1.5), tool.reach + 0.02 - 0.014 * abs(number - 1.3)
        stage.geom(hand, "capsule", (0.0095,), skin, owner=TOOL, fromto=[0.08, y, 0, end, 1.15 * y, -0.003], mass=0.02)
    stage.geom(hand, "capsule", (0.011,), skin, fromto=[0.02, 0.04, 0, 0.075, 0.075, -0.005], mass=0.02)


_HOLDS = {"stick": _stick, "hammer": _hammer, "knife": _knife, "knuckles": _knuckles, "hand": _hand}
