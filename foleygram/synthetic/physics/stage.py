"""A scene in the making: MuJoCo's specification with surfaces, meshes, lights and things that sound."""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from foleygram.synthetic.physics.surfaces import backdrop, surface

TOOL = -1
"""Owner of the geoms that strike; things that sound are numbered from 0."""
SOFT = {
    "cloth": 0.02, "leaf": 0.02, "grass": 0.02, "carpet": 0.012, "paper": 0.01, "plastic-bag": 0.015, "water": 0.03,
    "dirt": 0.01, "gravel": 0.006, "plastic": 0.005, "drywall": 0.005,
}  # fmt: skip
"""Time constant of a contact with a material, in seconds; 0.003 for any other."""
STRIKES, SOUNDS = 1, 2
"""Collision bits: what strikes touches what sounds; things that sound touch each other."""


@dataclass
class Target:
    """A thing to be struck: its number, and places (n, 2) above its top, in metres."""

    thing: int
    places: np.ndarray


@dataclass
class Stage:
    """Builds the model of one scene; `materials` lists what the things that sound are made of."""

    rng: np.random.Generator
    spec: Any = field(default_factory=mujoco.MjSpec)
    materials: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.spec.option.timestep = 0.001
        self.spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self.spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        self.spec.visual.quality.shadowsize = 512
        self.spec.visual.quality.offsamples = 0
        self.spec.visual.map.znear = 0.01
        self.spec.stat.extent, self.spec.stat.center = 2.0, (0, 0, 0)

    @property
    def world(self) -> Any:
        """The body that all others are attached to."""
        return self.spec.worldbody

    def name(self, kind: str) -> str:
        """A name that no other part of the model has."""
        self.count += 1
        return f"{kind}.{self.count}"

    def paint(self, image: np.ndarray, *, flat: bool = False, repeat: float = 1.0, shine: float | None = None) -> str:
        """A material with an image (size, size, 3) on it: on all sides of a body, or flat on a plane."""
        size = len(image)
        texture, material = self.spec.add_texture(name=self.name("texture")), self.spec.add_material()
        texture.type = mujoco.mjtTexture.mjTEXTURE_2D if flat else mujoco.mjtTexture.mjTEXTURE_CUBE
        texture.width, texture.height, texture.nchannel = size, size if flat else 6 * size, 3
        texture.data = (image if flat else np.tile(image, (6, 1, 1))).tobytes()
        material.name = self.name("paint")
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
        material.texrepeat, material.texuniform = (repeat, repeat), flat
        material.specular = self.rng.uniform(0, 0.5) if shine is None else shine
        material.shininess = self.rng.uniform(0.1, 0.9)
        return str(material.name)

    def plain(self, color: ArrayLike, shine: float = 0.1) -> str:
        """A material of one colour (3,) in 0..1."""
        material = self.spec.add_material(name=self.name("paint"))
        material.rgba, material.specular = (*np.clip(color, 0, 1), 1.0), shine
        return str(material.name)

    def surface(self, material: str, *, flat: bool = False) -> str:
        """A material that looks like one of `materials`, drawn anew; returns its name."""
        shiny = {"metal": 0.9, "glass": 0.9, "ceramic": 0.8, "plastic": 0.6, "water": 0.8, "tile": 0.5}
        shine = shiny.get(material, 0.1) * self.rng.uniform(0.4, 1.0)
        repeat = self.rng.uniform(1.5, 4.0) if flat else 1.0
        return self.paint(surface(material, self.rng), flat=flat, repeat=repeat, shine=shine)

    def backdrop(self, *, flat: bool = False) -> str:
        """A material for walls and floors, drawn anew; returns its name."""
        return self.paint(backdrop(self.rng), flat=flat, repeat=self.rng.uniform(0.6, 2.5))

    def thing(self, material: str) -> int:
        """The number of a new thing that sounds."""
        self.materials.append(material)
        return len(self.materials) - 1

    def geom(self, body: Any, kind: str, size: ArrayLike, paint: str, *, owner: int | None = None, **more: Any) -> Any:
        """Add a geom; with an `owner` (`TOOL` or a thing's number) it collides and its contacts are heard."""
        geom = body.add_geom(
            type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"), material=paint,
            size=np.resize([*np.atleast_1d(size), 0, 0, 0], 3), **more,
        )  # fmt: skip
        geom.contype = geom.conaffinity = 0
        geom.name = self.name("scenery" if owner is None else "tool" if owner == TOOL else f"thing{owner}")
        if owner is not None:
            geom.contype = STRIKES if owner == TOOL else SOUNDS
            geom.conaffinity = 0 if owner == TOOL else STRIKES | SOUNDS
            geom.condim, geom.friction = 3, (0.4, 0.005, 0.0001)
            if owner >= 0:
                geom.solref, geom.priority = (SOFT.get(self.materials[owner], 0.003), 1.0), 1
        return geom

    def mesh(self, vertices: np.ndarray, faces: np.ndarray, *, smooth: bool = True) -> str:
        """A mesh of vertices (n, 3) in metres and triangles (m, 3)."""
        mesh = self.spec.add_mesh(name=self.name("mesh"))
        mesh.uservert, mesh.userface = vertices.astype(float).ravel(), faces.astype(np.int32).ravel()
        mesh.smoothnormal = smooth
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        return str(mesh.name)

    def compile(self) -> tuple[Any, Any]:
        """The lit scene's model and data, as MuJoCo simulates them."""
        self.light()
        self.world.add_camera(name="camera")
        model = self.spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        return model, data

    def owners(self, model: Any) -> np.ndarray:
        """Owner of each of the model's geoms: a thing's number, `TOOL`, or -2 for scenery."""
        owners = np.full(model.ngeom, -2)
        for index in range(model.ngeom):
            kind = model.geom(index).name.partition(".")[0]
            if kind == "tool":
                owners[index] = TOOL
            elif kind.startswith("thing"):
                owners[index] = int(kind.removeprefix("thing"))
        return owners

    def light(self) -> None:
        """One or two lamps, the first with a shadow in most scenes, over ambient light."""
        rng, head = self.rng, self.spec.visual.headlight
        head.ambient, head.diffuse = [rng.uniform(0.15, 0.45)] * 3, [rng.choice([0.0, rng.uniform(0, 0.35)])] * 3
        head.specular = [0.0] * 3
        for number in range(rng.integers(1, 3)):
            height, turn, distance = rng.uniform(0.8, 2.5), rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.8)
            position = np.array([distance * np.cos(turn), distance * np.sin(turn), height])
            tint = (1 + 0.08 * rng.standard_normal(3)) * rng.uniform(0.35, 0.8) / (1 + number)
            lamp = self.world.add_light(pos=position, dir=-position / np.linalg.norm(position), diffuse=tint.clip(0, 1))
            lamp.type = (
                mujoco.mjtLightType.mjLIGHT_DIRECTIONAL if rng.random() < 0.3 else mujoco.mjtLightType.mjLIGHT_SPOT
            )
            lamp.cutoff, lamp.exponent = rng.uniform(50, 85), rng.uniform(0, 3)
            lamp.castshadow = bool(number == 0 and rng.random() < 0.7)


def find_spots(model: Any, data: Any, target: Target, owners: np.ndarray) -> np.ndarray:
    """Where rays from above meet the target first: (n, 3); raises ValueError where none does."""
    spots, hit, down = [], np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0])
    for x, y in target.places:
        start = np.array([x, y, 2.0])
        distance = mujoco.mj_ray(model, data, start, down, None, 1, -1, hit)
        if distance >= 0 and owners[hit[0]] == target.thing:
            spots.append(start + distance * down)
    if not spots:
        raise ValueError("no part of the target can be reached from above")
    return np.array(spots)
