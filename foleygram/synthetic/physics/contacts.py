"""Simulation of a scene, and the contacts in it: forces, sliding speeds, impacts and scrapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from foleygram.synthetic.physics.stage import TOOL

STEP = 0.001
QUIET = 0.025
"""Seconds without contact after which another touch is an impact of its own."""
STRIKE = 0.012
"""Seconds over which the force of an impact is summed."""
MIN_IMPULSE = 0.004
"""Impulse in newton seconds under which an impact is not heard."""
MIN_SPEED = 0.04
"""Sliding speed in metres per second under which a scrape is not heard."""
ROLLING = 0.3
"""Rolling at 1 m/s is as loud as sliding at this speed in m/s."""


@dataclass(frozen=True)
class Contact:
    """What touched `thing`: another thing or `TOOL`; its normal force (N) and sliding speed (m/s) at each step."""

    thing: int
    other: int
    force: np.ndarray
    speed: np.ndarray


@dataclass(frozen=True)
class Impact:
    """A touch: time in seconds, impulse in newton seconds, and the sliding that follows it (s, 0 for none)."""

    time: float
    thing: int
    other: int
    impulse: float
    sliding: float


@dataclass(frozen=True)
class Recording:
    """Positions (steps, nq) and contacts of a simulation, one each millisecond."""

    positions: np.ndarray
    contacts: list[Contact]

    def slowed(self, factor: float) -> "Recording":
        """The recording in slow motion, `factor` times as long."""
        if factor == 1:
            return self
        index = (np.arange(round(len(self.positions) * factor)) / factor).astype(int)
        contacts = [Contact(c.thing, c.other, c.force[index], c.speed[index]) for c in self.contacts]
        return Recording(self.positions[index], contacts)


@dataclass(frozen=True)
class Release:
    """A body held until `time` (s), then let go at `velocity` (6,): linear in m/s and angular in rad/s."""

    time: float
    joint: str
    velocity: np.ndarray


def simulate(
    model: Any, data: Any, owners: np.ndarray, controls: np.ndarray, releases: Sequence[Release] = ()
) -> Recording:
    """Run the scene with the actuators' targets (steps, nu) and bodies let go; one step lasts a millisecond.

    Raises FloatingPointError where it becomes unstable.
    """
    steps = len(controls)
    start = data.qpos.copy()
    positions = np.zeros((steps, model.nq), np.float32)
    force: dict[tuple[int, int], np.ndarray] = {}
    speed: dict[tuple[int, int], np.ndarray] = {}
    for step in range(steps):
        data.ctrl[:] = controls[step]
        for release in releases:
            if step <= round(release.time / STEP):
                joint = model.joint(release.joint)
                place, motion = joint.qposadr[0] + np.arange(7), joint.dofadr[0] + np.arange(6)
                data.qpos[place] = start[place]
                data.qvel[motion] = release.velocity if step == round(release.time / STEP) else 0
        mujoco.mj_step(model, data)
        positions[step] = data.qpos
        for number in range(data.ncon):
            pair = _pair(owners[data.contact.geom[number]])
            if pair is None:
                continue
            if pair not in force:
                force[pair], speed[pair] = np.zeros(steps), np.zeros(steps)
            force[pair][step] += _normal_force(model, data, number)
            rolling = ROLLING * _body_speed(model, data, number) if pair[1] != TOOL else 0.0
            speed[pair][step] = max(speed[pair][step], _sliding_speed(model, data, number), rolling)
    if not np.isfinite(positions).all() or data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
        raise FloatingPointError("the simulation became unstable")
    return Recording(positions, [Contact(*pair, force[pair], speed[pair]) for pair in sorted(force)])


def _pair(owners: np.ndarray) -> tuple[int, int] | None:
    """The thing that sounds and what touches it; None where neither is heard or both are one."""
    high, low = int(owners.max()), int(owners.min())
    return (high, low) if high >= 0 and low >= TOOL and high != low else None


def _normal_force(model: Any, data: Any, number: int) -> float:
    force = np.zeros(6)
    mujoco.mj_contactForce(model, data, number, force)
    return float(force[0])


def _sliding_speed(model: Any, data: Any, number: int) -> float:
    contact, relative, velocity = data.contact[number], np.zeros(3), np.zeros(6)
    for geom, sign in zip(contact.geom, (1.0, -1.0), strict=True):
        body = model.geom_bodyid[geom]
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)  # at xpos, not at xipos
        relative += sign * (velocity[3:] + np.cross(velocity[:3], contact.pos - data.xpos[body]))
    normal = contact.frame[:3]
    return float(np.linalg.norm(relative - (relative @ normal) * normal))


def _body_speed(model: Any, data: Any, number: int) -> float:
    """Speed in m/s of the faster of the two bodies that touch."""
    speeds, velocity = [], np.zeros(6)
    for geom in data.contact[number].geom:
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, model.geom_bodyid[geom], velocity, 0)
        speeds.append(float(np.linalg.norm(velocity[3:])))
    return max(speeds)


def find_impacts(contacts: list[Contact]) -> list[Impact]:
    """Audible touches in the order of time."""
    impacts = []
    for contact in contacts:
        touching = contact.force > 1e-6
        quiet, strike = round(QUIET / STEP), round(STRIKE / STEP)
        last = -quiet - 1
        for step in np.flatnonzero(touching):
            fresh, last = step - last > quiet, int(step)
            impulse = float(contact.force[step : step + strike].sum() * STEP)
            if fresh and step > 0 and impulse > MIN_IMPULSE:
                sliding = _sliding_time(contact, int(step))
                impacts.append(Impact(step * STEP, contact.thing, contact.other, impulse, sliding))
    return sorted(impacts, key=lambda impact: impact.time)


def _sliding_time(contact: Contact, step: int) -> float:
    """Seconds for which a touch at `step` goes on and slides."""
    ends = np.flatnonzero(contact.force[step:] <= 1e-6)
    # A scrape hops: gaps of under 15 ms belong to it.
    end = len(contact.force)
    for start in ends:
        if not (contact.force[step + start : step + start + 15] > 1e-6).any():
            end = step + int(start)
            break
    return float((contact.speed[step:end] > MIN_SPEED).sum() * STEP)
