"""Scenes of the physical world, drawn from a seed: what is in them, how it moves, who films it from where."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mujoco
import numpy as np

from foleygram.datasets.captions import predicate
from foleygram.datasets.clip import Event
from foleygram.synthetic.physics.camera import HandheldCamera, Sensor, View, draw_view
from foleygram.synthetic.physics.contacts import Contact, Impact, find_impacts, simulate
from foleygram.synthetic.physics.events import annotate
from foleygram.synthetic.physics.filming import film
from foleygram.synthetic.physics.motion import arm_targets, draw_habit, plan_strokes
from foleygram.synthetic.physics.shapes import add_scenery, add_target
from foleygram.synthetic.physics.stage import Stage, find_spots
from foleygram.synthetic.physics.statistics import LABELLED_EVENTS
from foleygram.synthetic.physics.tools import add_arm, draw_tool

TOOLS = {
    "stick": "a wooden stick", "hammer": "a hammer", "knife": "a knife", "knuckles": "the knuckles",
    "hand": "a flat hand",
}  # fmt: skip
TOOL_SHARES = (0.76, 0.06, 0.04, 0.06, 0.08)


@dataclass(frozen=True)
class Scene:
    """A simulated scene: what touched what, and how it is filmed. `materials` are those of its things, by number."""

    seconds: float
    subject: str
    """Who does it with what, `{}` where the caption names actions and materials."""
    silent: str
    """The caption where nothing touches anything."""
    materials: list[str]
    tool_material: str
    contacts: list[Contact]
    model: Any
    positions: np.ndarray
    cameras: list[tuple[float, HandheldCamera]]

    @cached_property
    def impacts(self) -> list[Impact]:
        """The contacts that begin with a blow."""
        return find_impacts(self.contacts)

    @cached_property
    def events(self) -> list[Event]:
        """Hits and scrapes as an annotator would list them."""
        return annotate(self.impacts, self.materials)

    @property
    def caption(self) -> str:
        """A sentence on who does what to which materials."""
        what = predicate(self.events)
        return self.subject.format(what) if what else self.silent

    def film(self, times: np.ndarray, sensor: Sensor) -> Iterator[np.ndarray]:
        """Frames (height, width, 3) uint8 at `times` in seconds."""
        return film(self.model, self.positions, self.cameras, sensor, times)


def draw_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """Any of the scenes there are."""
    tool = str(rng.choice(list(TOOLS), p=TOOL_SHARES))
    misses = float(rng.choice([0.0, 0.15, 1.0], p=[0.75, 0.15, 0.1]))
    return strike_scene(draw_materials(rng), tool, seconds, rng, misses=misses)


def draw_materials(rng: np.random.Generator) -> list[str]:
    """One to three materials, between evenly and as often as annotated."""
    names = list(LABELLED_EVENTS)
    shares = np.sqrt([LABELLED_EVENTS[name] for name in names])
    count = int(rng.choice([1, 2, 3], p=[0.72, 0.22, 0.06]))
    return [str(name) for name in rng.choice(names, count, replace=False, p=shares / shares.sum())]


def strike_scene(
    materials: list[str], tool_name: str, seconds: float, rng: np.random.Generator, *, misses: float = 0.0
) -> Scene:
    """An arm strikes and scrapes one thing or several with a tool; a share `misses` of its strokes touches nothing."""
    stage = Stage(rng)
    spread = rng.uniform(0.12, 0.22) if len(materials) > 1 else 0.0
    turn = rng.uniform(0, 2 * np.pi)
    asides = [
        spread
        * np.array([np.cos(turn + 2 * np.pi * n / len(materials)), np.sin(turn + 2 * np.pi * n / len(materials))])
        for n in range(len(materials))
    ]
    targets = [add_target(stage, material, aside) for material, aside in zip(materials, asides, strict=True)]
    view = draw_view(np.zeros(3), rng)
    heading = _arm_heading(view, rng)
    tool = draw_tool(tool_name, rng)
    habit = draw_habit(tool, rng)
    add_arm(stage, tool)
    arm, eye = -np.array([np.cos(heading), np.sin(heading)]), np.array([np.cos(view.azimuth), np.sin(view.azimuth)])

    def keep_clear(position: np.ndarray, radius: float) -> bool:
        far = float(np.linalg.norm(position[:2]))
        way = position[:2] / max(far, 1e-6)
        return far > radius + 0.3 and way @ arm < 0.75 and way @ eye < 0.6

    add_scenery(stage, keep_clear)
    stage.light()
    stage.world.add_camera(name="camera")
    model = stage.spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    owners = stage.owners(model)
    spots = [find_spots(model, data, target, owners) for target in targets]
    strokes = plan_strokes(spots, materials, seconds, habit, rng, misses=misses)
    if not strokes:
        raise ValueError(f"no stroke falls into {seconds} seconds")
    controls = arm_targets(tool, strokes, habit, heading, seconds, rng)
    data.qpos[model.jnt_qposadr[[model.joint(name).id for name in ("x", "y", "z", "yaw", "elbow", "wrist")]]] = (
        controls[0]
    )
    recording = simulate(model, data, owners, controls)
    view = _frame_target(view, np.mean([stroke.spot for stroke in strokes], 0), rng)
    cameras = [(0.0, HandheldCamera(view, seconds, rng))]
    subject, silent = (
        f"A person {{}} with {TOOLS[tool.name]}.",
        f"A person swings {TOOLS[tool.name]} and touches nothing.",
    )
    return Scene(
        seconds,
        subject,
        silent,
        stage.materials,
        tool.material,
        recording.contacts,
        model,
        recording.positions,
        cameras,
    )


def _arm_heading(view: View, rng: np.random.Generator) -> float:
    """Direction of the tool over the ground, in radians, so that the arm enters from an edge of the frame."""
    side = rng.choice(["left", "right", "bottom", "top"], p=[0.5, 0.28, 0.17, 0.05])
    angle = {"left": np.pi, "right": 0.0, "bottom": -np.pi / 2, "top": np.pi / 2}[str(side)] + rng.uniform(-0.6, 0.6)
    right = np.array([-np.sin(view.azimuth), np.cos(view.azimuth)])
    away = -np.array([np.cos(view.azimuth), np.sin(view.azimuth)])
    towards_arm = np.cos(angle) * right + np.sin(angle) * away
    return float(np.arctan2(-towards_arm[1], -towards_arm[0]))


def _frame_target(view: View, spot: np.ndarray, rng: np.random.Generator) -> View:
    """The view moved so that `spot` (3,) is somewhere around the middle of the frame."""
    axes = view.axes
    aside = rng.uniform([-0.17, -0.15], [0.17, 0.12]) * view.height
    return View(spot + axes[:, :2] @ aside, view.azimuth, view.elevation, view.distance, view.roll, view.fovy)
