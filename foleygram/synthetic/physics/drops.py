"""Scenes with balls and other small objects that come into the frame, fall, bounce and roll."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.physics.camera import View, draw_cameras, draw_view
from foleygram.synthetic.physics.contacts import Release, simulate
from foleygram.synthetic.physics.filming import film
from foleygram.synthetic.physics.motion import STEP
from foleygram.synthetic.physics.scene import Scene
from foleygram.synthetic.physics.shapes import add_scenery, floor, mat, table
from foleygram.synthetic.physics.stage import Stage

OBJECTS = {
    "rubber": 0.9, "wood": 0.5, "plastic": 0.6, "metal": 0.45, "glass": 0.6, "rock": 0.35, "ceramic": 0.45,
    "paper": 0.2,
}  # fmt: skip
"""Materials of dropped objects, with the highest coefficient of restitution of each."""
GROUNDS = ("wood", "metal", "tile", "carpet", "dirt", "rock", "grass", "plastic", "glass", "cloth", "gravel")


def drop_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """One to five objects fall onto the ground or a table one after another; some roll in."""
    stage = Stage(rng)
    ball = bool(rng.random() < 0.6)
    count = int(rng.integers(1, 6))
    kinds = [str(kind) for kind in rng.choice(list(OBJECTS), count if rng.random() < 0.3 else 1)]
    things = [(kinds * count)[number] for number in range(count)]
    view = draw_view(np.zeros(3), rng, height=(0.4, 1.0))
    view = replace(view, elevation=float(np.radians(rng.uniform(15, 60))))
    objects = [stage.thing(material) for material in things]
    floor(stage, str(rng.choice(GROUNDS)))
    level = _add_surface(stage)
    view = replace(view, center=np.array([0.0, 0.0, level]))
    for number, material in zip(objects, things, strict=True):
        _add_object(stage, number, material, ball)
    releases = _releases(stage, objects, seconds, view)
    add_scenery(stage, lambda position, radius: bool(np.linalg.norm(position[:2]) > radius + 0.45))
    model, data = stage.compile()
    recording = simulate(model, data, stage.owners(model), np.zeros((round(seconds / STEP), 0)), releases)
    name = f"{'A' if count == 1 else 'Several'} {things[0]} {'ball' if ball else 'object'}{'' if count == 1 else 's'}"
    return Scene(
        seconds, f"{name} falls and {{}}." if count == 1 else f"{name} fall, and one {{}}.", "Nothing happens.",
        partial(film, model, recording.positions, draw_cameras(view, seconds, rng)), stage.materials, things[0],
        recording.contacts,
    )  # fmt: skip


def _add_surface(stage: Stage) -> float:
    """Add a mat or a table to half of the scenes; returns the height in metres of the surface that objects fall on."""
    choice = stage.rng.random()
    if choice < 0.5:
        return 0.0
    target = (mat if choice < 0.75 else table)(stage, str(stage.rng.choice(GROUNDS)))
    body = stage.spec.body(f"body{target.thing}")
    return float(body.pos[2] + body.geoms[0].size[2])


def _add_object(stage: Stage, thing: int, material: str, ball: bool) -> None:
    """A free body of `material`: a ball, or a small box, can or pebble."""
    rng = stage.rng
    body = stage.world.add_body(name=f"body{thing}", pos=[0, 0, 5])
    body.add_freejoint(name=f"free{thing}")
    radius = rng.uniform(0.015, 0.05)
    kind = "sphere" if ball else str(rng.choice(["box", "cylinder", "ellipsoid", "capsule"]))
    paint = stage.surface(material) if material in MATERIALS else stage.plain(rng.uniform(0.1, 0.9, 3))
    geom = stage.geom(body, kind, radius * rng.uniform(0.6, 1.4, 3), paint, owner=thing, mass=rng.uniform(0.02, 0.15))
    # The object's own contact counts, not the ground's: its damping ratio decides how much of its speed it keeps.
    kept = rng.uniform(0.3, 1.0) * OBJECTS[material]
    decay = -np.log(kept) / np.pi
    geom.solref, geom.priority = (0.02, decay / np.sqrt(1 + decay**2)), 2
    geom.condim, geom.friction = 6, (rng.uniform(0.3, 0.8), 0.005, 0.0003)


def _releases(stage: Stage, objects: list[int], seconds: float, view: View) -> list[Release]:
    """Where each object waits outside the frame, and when and how it comes in; sets the bodies' positions."""
    rng, releases = stage.rng, []
    right, toward = view.axes[:, 0], np.array([np.cos(view.azimuth), np.sin(view.azimuth), 0.0])
    rolls = rng.random() < 0.2
    times = np.sort(rng.uniform(0.0, max(0.5, 0.75 * seconds), len(objects)))
    for time, thing in zip(times, objects, strict=True):
        aside = rng.uniform(-0.25, 0.25) * view.height
        body = stage.spec.body(f"body{thing}")
        if rolls:
            side = rng.choice([-1.0, 1.0])
            place = view.center - side * right * 1.2 * view.height + toward * aside + np.array([0, 0, 0.06])
            velocity = side * right * rng.uniform(0.4, 1.6)
        else:
            height = (0.5 * view.height + 0.1) / np.cos(view.elevation) + rng.uniform(0.0, 0.3)
            place = view.center + right * aside + toward * rng.uniform(-0.1, 0.1) + np.array([0, 0, height])
            velocity = np.array([*rng.normal(0, 0.15, 2), rng.uniform(-1.0, 0.0)])
        body.pos = place
        body.quat = (1, 0, 0, 0) if rolls else _unit(rng.standard_normal(4))
        releases.append(Release(float(time), f"free{thing}", np.r_[velocity, rng.normal(0, 3, 3) * (not rolls)]))
    return releases


def _unit(vector: np.ndarray) -> Any:
    return vector / np.linalg.norm(vector)
