"""Scenes with an arm: it strikes and scrapes things with a tool, misses them, or waves."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from foleygram.synthetic.physics.camera import View, draw_cameras, draw_view
from foleygram.synthetic.physics.contacts import simulate
from foleygram.synthetic.physics.filming import film
from foleygram.synthetic.physics.motion import Habit, arm_targets, draw_habit, plan_strokes, waving_targets
from foleygram.synthetic.physics.scene import Scene
from foleygram.synthetic.physics.shapes import add_scenery, add_target
from foleygram.synthetic.physics.stage import Stage, find_spots
from foleygram.synthetic.physics.statistics import LABELLED_EVENTS
from foleygram.synthetic.physics.tools import Tool, add_arm, draw_tool

TOOLS = {
    "stick": "a wooden stick", "hammer": "a hammer", "knife": "a knife", "knuckles": "the knuckles",
    "hand": "a flat hand",
}  # fmt: skip
TOOL_SHARES = (0.76, 0.06, 0.04, 0.06, 0.08)


def draw_materials(rng: np.random.Generator) -> list[str]:
    """One to three materials, each drawn in proportion to the square root of its annotated events."""
    names = list(LABELLED_EVENTS)
    shares = np.sqrt([LABELLED_EVENTS[name] for name in names])
    count = int(rng.choice([1, 2, 3], p=[0.72, 0.22, 0.06]))
    return [str(name) for name in rng.choice(names, count, replace=False, p=shares / shares.sum())]


@dataclass(frozen=True)
class _Setting:
    """An arm with a tool, and things within its reach; `spots` are the places (n, 3) where each can be struck."""

    stage: Stage
    model: Any
    data: Any
    owners: np.ndarray
    spots: list[np.ndarray]
    view: View
    heading: float
    tool: Tool
    habit: Habit


def strike_scene(seconds: float, rng: np.random.Generator, *, misses: float = 0.0, slow_motion: float = 1.0) -> Scene:
    """An arm strikes and scrapes one to three objects with a tool; a share `misses` of the strokes is meant to miss.

    The video is `slow_motion` times slower than the motion. Raises ValueError where no stroke falls into it.
    """
    setting = _draw_setting(rng)
    materials, habit = setting.stage.materials, setting.habit
    strokes = plan_strokes(setting.spots, materials, seconds / slow_motion, habit, rng, misses=misses)
    if not strokes:
        raise ValueError(f"no stroke falls into {seconds} seconds")
    controls = arm_targets(setting.tool, strokes, habit, setting.heading, seconds / slow_motion, rng)
    spot = np.mean([stroke.spot for stroke in strokes], 0)
    name = TOOLS[setting.tool.name]
    return _film_arm(
        setting, controls, spot, seconds, rng, silent=f"A person swings {name} and touches nothing.",
        slow_motion=slow_motion,
    )  # fmt: skip


def wave_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """An arm waves a tool above things, without meaning to touch them."""
    setting = _draw_setting(rng)
    spot = setting.spots[0][0]
    controls = waving_targets(setting.tool, spot, setting.habit, setting.heading, seconds, rng)
    silent = f"A person waves {TOOLS[setting.tool.name]}."
    return _film_arm(setting, controls, spot, seconds, rng, silent=silent)


def still_scene(seconds: float, rng: np.random.Generator, *, cut_share: float = 0.0) -> Scene:
    """Only the camera moves; the arm is at rest. A `cut_share` of the videos has cuts."""
    setting = _draw_setting(rng)
    spot = setting.spots[0][0]
    away = spot + rng.uniform([-0.15, -0.15, 0.0], [0.15, 0.15, 0.1])
    waving = waving_targets(setting.tool, away, setting.habit, setting.heading, seconds, rng)
    controls = waving[:1].repeat(len(waving), axis=0)
    unrest = rng.uniform(1.0, 6.0)
    return _film_arm(
        setting, controls, spot, seconds, rng, silent="A person holds still.", unrest=unrest, cut_share=cut_share
    )


def _draw_setting(rng: np.random.Generator) -> _Setting:
    materials = draw_materials(rng)
    stage = Stage(rng)
    spread = rng.uniform(0.12, 0.22) if len(materials) > 1 else 0.0
    turn = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(len(materials)) / len(materials)
    asides = spread * np.stack([np.cos(turn), np.sin(turn)], -1)
    targets = [add_target(stage, material, aside) for material, aside in zip(materials, asides, strict=True)]
    view = draw_view(np.zeros(3), rng)
    heading = _arm_heading(view, rng)
    tool = draw_tool(str(rng.choice(list(TOOLS), p=TOOL_SHARES)), rng)
    add_arm(stage, tool)
    arm, eye = -np.array([np.cos(heading), np.sin(heading)]), np.array([np.cos(view.azimuth), np.sin(view.azimuth)])

    def keep_clear(position: np.ndarray, radius: float) -> bool:
        far = float(np.linalg.norm(position[:2]))
        way = position[:2] / max(far, 1e-6)
        return far > radius + 0.3 and way @ arm < 0.75 and way @ eye < 0.6

    add_scenery(stage, keep_clear)
    model, data = stage.compile()
    owners = stage.owners(model)
    spots = [find_spots(model, data, target, owners) for target in targets]
    return _Setting(stage, model, data, owners, spots, view, heading, tool, draw_habit(tool, rng))


def _film_arm(
    setting: _Setting,
    controls: np.ndarray,
    spot: np.ndarray,
    seconds: float,
    rng: np.random.Generator,
    *,
    silent: str,
    slow_motion: float = 1.0,
    unrest: float | None = None,
    cut_share: float = 0.06,
) -> Scene:
    """Simulate the arm that follows `controls` (steps, 6), and film it around `spot` (3,)."""
    model, data, tool = setting.model, setting.data, setting.tool
    joints = [model.joint(name).id for name in ("x", "y", "z", "yaw", "elbow", "wrist")]
    data.qpos[model.jnt_qposadr[joints]] = controls[0]
    recording = simulate(model, data, setting.owners, controls).slowed(slow_motion)
    cameras = draw_cameras(_frame_target(setting.view, spot, rng), seconds, rng, unrest=unrest, cut_share=cut_share)
    return Scene(
        seconds, f"A person {{}} with {TOOLS[tool.name]}.", silent, partial(film, model, recording.positions, cameras),
        setting.stage.materials, tool.material, recording.contacts,
    )  # fmt: skip


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
