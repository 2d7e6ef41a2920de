"""Scenes of the physical world, drawn from a seed: what happens in them, and how often each kind occurs."""

from collections.abc import Callable
from functools import partial

import numpy as np

from foleygram.synthetic.physics.arm_scenes import still_scene, strike_scene, wave_scene
from foleygram.synthetic.physics.drawn import screen_scene, talking_scene
from foleygram.synthetic.physics.drops import drop_scene
from foleygram.synthetic.physics.footsteps import footsteps_scene
from foleygram.synthetic.physics.scene import Scene

DrawScene = Callable[[float, np.random.Generator], Scene]

WITH_CONTACT: dict[str, tuple[float, DrawScene]] = {
    "strikes": (0.40, strike_scene),
    "strikes and misses": (0.12, partial(strike_scene, misses=0.2)),
    "drops": (0.07, drop_scene),
    "footsteps": (0.07, footsteps_scene),
}
WITHOUT_CONTACT: dict[str, tuple[float, DrawScene]] = {
    "misses": (0.16, partial(strike_scene, misses=1.0)),
    "misses in slow motion": (0.03, partial(strike_scene, misses=1.0, slow_motion=4.0)),
    "waving": (0.05, wave_scene),
    "camera moves": (0.04, still_scene),
    "cuts": (0.02, partial(still_scene, cut_share=1.0)),
    "a talking face": (0.02, talking_scene),
    "a recorded screen": (0.02, screen_scene),
}
"""Kinds of scenes: the share of videos that are of it, and what draws one of a duration in seconds."""


def draw_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """A scene of a kind drawn by the shares above."""
    shares, kinds = zip(*WITH_CONTACT.values(), *WITHOUT_CONTACT.values(), strict=True)
    kind: DrawScene = kinds[rng.choice(len(kinds), p=shares)]
    return kind(seconds, rng)
