"""Objects to strike: shapes for each of the 17 materials, and scenery around them."""

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from foleygram.synthetic.physics.stage import Stage, Target

Shape = Callable[[Stage, str], Target]


def add_target(stage: Stage, material: str, aside: np.ndarray) -> Target:
    """Add a thing of `material` at `aside` (2,) metres from the middle, in one of the shapes it comes in."""
    choices = SHAPES[material]
    target = choices[stage.rng.integers(len(choices))](stage, material)
    body = stage.spec.body(f"body{target.thing}")
    body.pos = np.array(body.pos) + np.array([*aside, 0.0])
    for geom in body.geoms if body.joints else ():
        geom.mass = 0.2 / len(body.geoms)
    target.places = target.places + aside
    return target


def _body(stage: Stage, thing: int, height: float, *, turn: float | None = None) -> Any:
    """The body of a thing, `height` metres above the ground, turned about the vertical."""
    angle = stage.rng.uniform(-np.pi, np.pi) if turn is None else turn
    body = stage.world.add_body(name=f"body{thing}", pos=[0, 0, height])
    body.quat = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
    return body


def _disc(stage: Stage, rx: float, ry: float | None = None, *, turn: float = 0.0, count: int = 24) -> np.ndarray:
    """Random places within an ellipse or, where it is flat, along a line: (count, 2)."""
    radius, angle = np.sqrt(stage.rng.random(count)), stage.rng.uniform(0, 2 * np.pi, count)
    x, y = rx * radius * np.cos(angle), (rx if ry is None else ry) * radius * np.sin(angle)
    return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], -1)


def _give(stage: Stage, body: Any, reach: float, amount: float) -> None:
    """Springs by which a thing gives way to a strike and swings back; `amount` is its softness in 0..1."""
    body.gravcomp = 1
    frequency = stage.rng.uniform(4, 9) / (0.4 + amount)
    for axis in ([1, 0, 0], [0, 1, 0]):
        _spring(body.add_joint(type=_kind("HINGE"), axis=axis, pos=[0, 0, -reach]), 0.4 * reach**2, frequency, 0.12)
    _spring(body.add_joint(type=_kind("SLIDE"), axis=[0, 0, 1]), 0.3, frequency, 0.25)


def _spring(joint: Any, inertia: float, frequency: float, damping: float) -> None:
    omega = 2 * np.pi * frequency
    joint.armature = inertia
    joint.stiffness, joint.damping = [inertia * omega**2, 0, 0], [2 * damping * inertia * omega, 0, 0]


def _kind(name: str) -> Any:
    return getattr(mujoco.mjtJoint, f"mjJNT_{name}")


def floor(stage: Stage, material: str) -> Target:
    """The ground itself."""
    thing = stage.thing(material)
    body = _body(stage, thing, 0.0005, turn=0.0)
    stage.geom(body, "plane", (4, 4, 0.1), stage.surface(material, flat=True), owner=thing)
    return Target(thing, _disc(stage, 0.2))


def mat(stage: Stage, material: str) -> Target:
    """A sheet on the ground: a carpet, a tile, a pane, a lid."""
    thing, turn = stage.thing(material), stage.rng.uniform(-0.7, 0.7)
    size, thick = stage.rng.uniform(0.15, 0.4, 2), stage.rng.uniform(0.003, 0.02)
    body = _body(stage, thing, thick, turn=turn)
    stage.geom(body, "box", (*size, thick), stage.surface(material), owner=thing)
    return Target(thing, _disc(stage, *(0.7 * size), turn=turn))


def box(stage: Stage, material: str) -> Target:
    """A box; soft materials and some of the others give way."""
    thing, rng, turn = stage.thing(material), stage.rng, stage.rng.uniform(-0.8, 0.8)
    size = rng.uniform([0.08, 0.08, 0.02], [0.28, 0.28, 0.18])
    body = _body(stage, thing, size[2], turn=turn)
    if rng.random() < 0.4:
        _give(stage, body, size[2], rng.random())
    stage.geom(body, "box", size, stage.surface(material), owner=thing)
    for _ in range(rng.integers(0, 4)):  # knobs, drawers, labels
        face = rng.uniform(-0.8, 0.8, 2) * size[:2]
        detail = rng.uniform(0.008, 0.05, 2)
        stage.geom(body, "box", (*detail, 0.002), stage.backdrop(), pos=[*face, size[2]])
    return Target(thing, _disc(stage, *(0.75 * size[:2]), turn=turn))


def table(stage: Stage, material: str) -> Target:
    """A board on legs: tables, stools, shelves."""
    thing, rng, turn = stage.thing(material), stage.rng, stage.rng.uniform(-0.5, 0.5)
    size, height = rng.uniform([0.2, 0.15, 0.01], [0.5, 0.35, 0.025]), rng.uniform(0.25, 0.6)
    body, paint = _body(stage, thing, height, turn=turn), stage.surface(material)
    stage.geom(body, "box", size, paint, owner=thing)
    legs = paint if rng.random() < 0.5 else stage.backdrop()
    for x in (-0.85, 0.85):
        for y in (-0.85, 0.85):
            stage.geom(body, "box", (0.02, 0.02, height / 2), legs, pos=[x * size[0], y * size[1], -height / 2])
    return Target(thing, _disc(stage, *(0.7 * size[:2]), turn=turn))


def rail(stage: Stage, material: str) -> Target:
    """A horizontal bar on two posts."""
    thing, rng, turn = stage.thing(material), stage.rng, stage.rng.uniform(-0.6, 0.6)
    radius, length, height = rng.uniform(0.008, 0.03), rng.uniform(0.3, 0.8), rng.uniform(0.05, 0.4)
    body, paint = _body(stage, thing, height, turn=turn), stage.surface(material)
    if rng.random() < 0.3:
        _give(stage, body, 0.2, 0.2)
    stage.geom(body, "capsule", (radius,), paint, owner=thing, fromto=[-length, 0, 0, length, 0, 0])
    for x in rng.uniform(-1, 1, 3) * length:
        stage.geom(body, "capsule", (0.8 * radius,), paint, fromto=[x, 0, 0, x, 0, -height])
    return Target(thing, _disc(stage, 0.3 * length, 0.0, turn=turn))


def cylinder(stage: Stage, material: str) -> Target:
    """A drum, a can, a log: standing."""
    thing, rng = stage.thing(material), stage.rng
    radius, half = rng.uniform(0.05, 0.2), rng.uniform(0.02, 0.2)
    body = _body(stage, thing, half)
    if rng.random() < 0.4:
        _give(stage, body, half, rng.random())
    stage.geom(body, "cylinder", (radius, half), stage.surface(material), owner=thing)
    return Target(thing, _disc(stage, 0.75 * radius))


def log(stage: Stage, material: str) -> Target:
    """A thick cylinder that is lying down."""
    thing, rng, turn = stage.thing(material), stage.rng, stage.rng.uniform(-0.7, 0.7)
    radius, half = rng.uniform(0.03, 0.12), rng.uniform(0.1, 0.4)
    body = _body(stage, thing, radius, turn=turn)
    geom = stage.geom(body, "cylinder", (radius, half), stage.surface(material), owner=thing)
    geom.quat = [np.cos(np.pi / 4), 0, np.sin(np.pi / 4), 0]
    return Target(thing, _disc(stage, 0.6 * half, 0.15 * radius, turn=turn))


def vessel(stage: Stage, material: str) -> Target:
    """A bowl, pot, cup, vase or bottle: a profile turned about its axis; its rim is struck."""
    thing, rng = stage.thing(material), stage.rng
    height, radius = rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.16)
    levels = np.linspace(0, 1, 9)
    shape = rng.uniform(0.3, 1.0) + (1 - rng.uniform(0.3, 1.0)) * levels ** rng.uniform(0.4, 2)
    shape = shape * (1 + rng.uniform(-0.2, 0.2) * np.sin(np.pi * levels))
    outer = radius * shape / shape[-1]
    profile = [(outer[i], height * levels[i]) for i in range(9)]
    profile += [(0.9 * outer[i], height * max(levels[i], 0.08)) for i in range(8, -1, -1)]
    vertices, faces = _turned(np.array([(0.0, 0.0), *profile, (0.0, 0.08 * height)]))
    body = _body(stage, thing, 0.0)
    if rng.random() < 0.6:
        _give(stage, body, 0.0, rng.random())
    stage.geom(body, "mesh", (), stage.surface(material), owner=thing, meshname=stage.mesh(vertices, faces))
    angle = rng.uniform(0, 2 * np.pi, 24)
    return Target(thing, 0.93 * outer[-1] * np.stack([np.cos(angle), np.sin(angle)], -1))


def _turned(profile: np.ndarray, sides: int = 20) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    rows = [np.column_stack([max(r, 1e-4) * ring, np.full(sides, z)]) for r, z in profile]
    faces = []
    for row in range(len(rows) - 1):
        for side in range(sides):
            a, b = row * sides + side, row * sides + (side + 1) % sides
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
    return np.concatenate(rows), np.array(faces)


def lump(stage: Stage, material: str) -> Target:
    """A rock, a heap, a cushion or a bag: a rounded mesh with bumps."""
    thing, rng = stage.thing(material), stage.rng
    soft = material in ("cloth", "plastic-bag", "paper", "leaf", "grass", "carpet", "plastic")
    size = rng.uniform([0.1, 0.1, 0.04], [0.3, 0.25, 0.16])
    vertices, faces = _sphere(14, 22)
    power = rng.uniform(0.5, 1.0)  # under 1: towards a box
    vertices = np.sign(vertices) * np.abs(vertices) ** power
    bumps = np.ones(len(vertices))
    for _ in range(14):
        way = rng.standard_normal(3) * rng.uniform(1, 7 if material != "cloth" else 3)
        bumps += rng.uniform(0.01, 0.07) * np.sin(vertices @ way + rng.uniform(0, 6.28))
    vertices = vertices * bumps[:, None] * size
    body = _body(stage, thing, 0.8 * size[2])
    if soft or rng.random() < 0.1:
        _give(stage, body, size[2], 1.0)
    mesh = stage.mesh(vertices, faces, smooth=material != "rock")
    stage.geom(body, "mesh", (), stage.surface(material), owner=thing, meshname=mesh)
    return Target(thing, _disc(stage, 0.5 * min(size[:2])))


def _sphere(rings: int, sides: int) -> tuple[np.ndarray, np.ndarray]:
    polar = np.linspace(0, np.pi, rings)
    vertices, faces = _turned(np.stack([np.sin(polar), -np.cos(polar)], -1), sides)
    return vertices, faces


def plant(stage: Stage, material: str) -> Target:
    """Blades or leaves on springs, which a strike bends, over a patch of ground."""
    thing, rng = stage.thing(material), stage.rng
    grass = material == "grass"
    ground = _body(stage, thing, 0.001, turn=0.0)
    stage.geom(ground, "cylinder", (0.3, 0.004), stage.surface(material), owner=thing)
    paints = [stage.surface(material) for _ in range(3)]
    for _ in range(46 if grass else 30):
        x, y = _disc(stage, 0.26, count=1)[0]
        length, turn, lean = rng.uniform(0.05, 0.16), rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9)
        stem = stage.world.add_body(name=stage.name("stem"), pos=[x, y, 0.003])
        stem.quat = [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]
        _spring(stem.add_joint(type=_kind("HINGE"), axis=[0, 1, 0]), 1e-4, rng.uniform(4, 9), 0.15)
        end = length * np.array([np.sin(lean), 0, np.cos(lean)])
        paint = paints[rng.integers(3)]
        if grass:
            stage.geom(stem, "capsule", (0.0022,), paint, owner=thing, fromto=[0, 0, 0, *end])
        else:
            stage.geom(stem, "capsule", (0.0015,), paint, fromto=[0, 0, 0, *end])
            leaf = stage.geom(
                stem, "ellipsoid", rng.uniform([0.02, 0.01, 0.002], [0.05, 0.03, 0.004]), paint, owner=thing
            )
            leaf.pos, leaf.quat = end, [np.cos(lean / 2), 0, np.sin(lean / 2), 0]
    return Target(thing, _disc(stage, 0.15))


def pool(stage: Stage, material: str) -> Target:
    """Water, or loose ground, in a basin."""
    thing, rng = stage.thing(material), stage.rng
    radius, rim = rng.uniform(0.18, 0.4), rng.uniform(0.01, 0.05)
    body = _body(stage, thing, 0.02, turn=0.0)
    stage.geom(body, "cylinder", (radius, 0.01), stage.surface(material), owner=thing)
    edge = stage.backdrop()
    for angle in np.arange(28) * 2 * np.pi / 28:
        piece = stage.geom(body, "box", (0.015, 0.13 * radius, 0.02 + rim), edge)
        piece.pos = [radius * np.cos(angle), radius * np.sin(angle), 0]
        piece.quat = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
    return Target(thing, _disc(stage, 0.6 * radius))


SHAPES: dict[str, tuple[Shape, ...]] = {
    "wood": (box, table, rail, log, floor, mat, box, table), "metal": (rail, vessel, box, cylinder, rail, mat, table),
    "dirt": (floor, floor, lump, pool), "rock": (lump, floor, box, lump), "leaf": (plant, plant, floor, lump),
    "plastic": (box, vessel, cylinder, lump, mat, table), "cloth": (lump, lump, mat, box, floor),
    "paper": (box, mat, lump, box), "grass": (plant, plant, floor), "water": (pool, pool, floor),
    "drywall": (floor, box), "gravel": (floor, pool, lump), "plastic-bag": (lump,),
    "ceramic": (vessel, vessel, mat, pool), "tile": (floor, mat),
    "carpet": (floor, mat), "glass": (vessel, mat, cylinder, table),
}  # fmt: skip
"""Shapes that a material comes in."""


def add_scenery(stage: Stage, keep_clear: Callable[[np.ndarray, float], bool]) -> None:
    """Ground, perhaps walls, and objects that nothing touches; none where `keep_clear(position, radius)`."""
    rng = stage.rng
    stage.geom(stage.world, "plane", (6, 6, 0.1), stage.backdrop(flat=True))
    for _ in range(rng.integers(0, 3)):
        turn, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.6)
        wall = stage.geom(
            stage.world, "box", (0.05, rng.choice([0.3, 1.0, 3.0]), rng.uniform(0.3, 1.5)), stage.backdrop()
        )
        wall.pos = [distance * np.cos(turn), distance * np.sin(turn), 0.3]
        wall.quat = [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]
    for _ in range(rng.integers(2, 12)):
        size = rng.uniform(0.02, 0.22, 3) * rng.choice([0.6, 1.0, 1.6])
        turn, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 1.1)
        position = np.array([distance * np.cos(turn), distance * np.sin(turn), size[2] * rng.uniform(0.2, 1.0)])
        if not keep_clear(position, float(np.hypot(*size[:2]))):
            continue
        kind = str(rng.choice(["box", "box", "cylinder", "ellipsoid", "capsule"]))
        piece = stage.geom(stage.world, kind, size, stage.backdrop(), pos=position)
        spin = rng.standard_normal(4) * [1, 0.1, 0.1, 1] if rng.random() < 0.8 else rng.standard_normal(4)
        piece.quat = spin / np.linalg.norm(spin)
