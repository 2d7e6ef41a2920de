"""Films a simulation: frames with motion blur by sub-frames, a rolling shutter, cuts."""

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np

from foleygram.synthetic.physics.camera import HandheldCamera, Sensor
from foleygram.synthetic.physics.contacts import STEP

MAX_MOMENTS = 6
"""Sub-frames of the fastest motion."""
MOTION_PER_MOMENT = 3.0
"""Pixels of motion for which one more sub-frame is rendered."""


def film(
    model: Any,
    positions: np.ndarray,
    cameras: list[tuple[float, HandheldCamera]],
    times: np.ndarray,
    sensor: Sensor,
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 at `times` in seconds.

    Each of `cameras` films from its time on until the next does. Needs `MUJOCO_GL` to name a working backend.
    """
    height, width = sensor.size
    data = mujoco.MjData(model)
    spacing = float(np.diff(times).mean()) if len(times) > 1 else 1 / 15
    with mujoco.Renderer(model, height, width) as renderer:
        for time in times:
            camera = [camera for start, camera in cameras if start <= time or start == cameras[0][0]][-1]
            window = spacing * (sensor.shutter + sensor.readout)
            count = _moments(model, data, positions, camera, time, window, height)
            light = np.zeros((height, width, 3), np.float32)
            weights = _exposure(count, sensor, height)
            for number in range(count):
                moment = time + window * ((number + 0.5) / count - 0.5)
                _pose(model, data, positions, moment)
                _aim(model, data, camera, moment)
                renderer.update_scene(data, camera=0)
                light += weights[number] * renderer.render()
            if time == times[0]:
                sensor.meter(light)
            yield sensor.record(light, float(time))


def _pose(model: Any, data: Any, positions: np.ndarray, time: float) -> None:
    data.qpos[:] = positions[int(np.clip(round(time / STEP), 0, len(positions) - 1))]
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    if model.nflex:
        mujoco.mj_flex(model, data)


def _aim(model: Any, data: Any, camera: HandheldCamera, time: float) -> None:
    position, axes, fovy = camera.pose(time)
    data.cam_xpos[0], data.cam_xmat[0], model.cam_fovy[0] = position, axes.ravel(), fovy


def _moments(
    model: Any, data: Any, positions: np.ndarray, camera: HandheldCamera, time: float, window: float, height: int
) -> int:
    """Sub-frames that the fastest body's motion within the exposure asks for."""
    _pose(model, data, positions, time - window / 2)
    before = np.concatenate([data.geom_xpos, data.site_xpos])
    _pose(model, data, positions, time + window / 2)
    after = np.concatenate([data.geom_xpos, data.site_xpos])
    start, end = camera.pose(time - window / 2), camera.pose(time + window / 2)
    travel = np.linalg.norm(after - before, axis=1).max() + np.linalg.norm(end[0] - start[0])
    return int(np.clip(np.ceil(travel * height / camera.view.height / MOTION_PER_MOMENT), 1, MAX_MOMENTS))


def _exposure(count: int, sensor: Sensor, height: int) -> np.ndarray:
    """Weights (count, height, 1, 1) of the sub-frames in each row: later rows are exposed later."""
    total = sensor.shutter + sensor.readout
    edges = np.linspace(0, total, count + 1)
    begin = sensor.readout * np.arange(height) / height
    shared = np.minimum(edges[1:, None], begin + sensor.shutter) - np.maximum(edges[:-1, None], begin)
    shared = shared.clip(0)
    return (shared / shared.sum(0)).astype(np.float32)[..., None, None]
