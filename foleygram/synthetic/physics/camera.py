"""The camera of a rendered video: where it stands, how a hand moves it, and how lens and sensor record the light."""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from foleygram.synthetic.physics.motion import STEP, wander


@dataclass(frozen=True)
class View:
    """A camera's stand: what it looks at (3,), its direction as angles in radians, its distance in metres."""

    center: np.ndarray
    azimuth: float
    elevation: float
    distance: float
    roll: float
    fovy: float
    """Vertical field of view, in degrees."""

    @property
    def axes(self) -> np.ndarray:
        """Columns: right, up, backward (towards the camera), as MuJoCo has a camera's axes: (3, 3)."""
        back = np.array([
            np.cos(self.elevation) * np.cos(self.azimuth), np.cos(self.elevation) * np.sin(self.azimuth),
            np.sin(self.elevation),
        ])  # fmt: skip
        right = np.array([-np.sin(self.azimuth), np.cos(self.azimuth), 0.0])
        up = np.cross(back, right)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.column_stack([cos * right + sin * up, cos * up - sin * right, back])

    @property
    def height(self) -> float:
        """Metres that the frame is high at the distance of what is looked at."""
        return 2 * self.distance * np.tan(np.radians(self.fovy) / 2)


def draw_view(center: np.ndarray, rng: np.random.Generator, *, height: tuple[float, float] = (0.26, 0.7)) -> View:
    """A view of `center` (3,) in a frame that is `height` metres high there."""
    fovy = rng.uniform(22, 55)
    distance = rng.uniform(*height) / (2 * np.tan(np.radians(fovy) / 2))
    elevation = np.radians(rng.uniform(22, 75))
    roll = rng.normal(0, 0.06) if rng.random() < 0.75 else rng.uniform(-0.5, 0.5)
    return View(center, rng.uniform(-np.pi, np.pi), elevation, distance, roll, fovy)


class HandheldCamera:
    """A view that a hand moves: drift, tremor, pans and zooms over a video."""

    def __init__(self, view: View, seconds: float, rng: np.random.Generator, *, unrest: float | None = None) -> None:
        self.view = view
        steps = round(seconds / STEP) + 1
        if unrest is None:
            unrest = rng.choice([0.0, rng.uniform(0.1, 0.6), rng.uniform(0.6, 2.0), 4.0], p=[0.4, 0.35, 0.2, 0.05])
        drift, tremor = 0.012 * unrest * view.height, 0.0016 * unrest * view.height
        self.shift = np.stack([drift * wander(steps, 1.2, rng) + tremor * wander(steps, 0.08, rng) for _ in "xy"], -1)
        self.turn = 0.006 * unrest * wander(steps, 1.0, rng)
        ramp = np.clip((np.arange(steps) * STEP - rng.uniform(0, seconds)) / rng.uniform(0.3, 2.5), 0, 1)
        ramp = ramp**2 * (3 - 2 * ramp)
        zoom = rng.uniform(-0.35, 0.5) if rng.random() < 0.08 * (1 + unrest) else 0.0
        pan = rng.normal(0, 0.3, 2) * view.height if rng.random() < 0.06 * (1 + unrest) else np.zeros(2)
        self.zoom, self.shift = np.exp(zoom * ramp), self.shift + pan * ramp[:, None]

    def pose(self, time: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Position (3,), axes (3, 3) and vertical field of view (degrees) at `time` seconds."""
        step = int(np.clip(round(time / STEP), 0, len(self.turn) - 1))
        axes, view = self.view.axes, self.view
        position = view.center + view.distance * axes[:, 2] + axes[:, :2] @ self.shift[step]
        angle = self.turn[step]
        spin = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        half = np.tan(np.radians(view.fovy) / 2) / self.zoom[step]
        return position, axes @ spin, float(np.degrees(2 * np.arctan(half)))


def draw_cameras(
    view: View, seconds: float, rng: np.random.Generator, *, unrest: float | None = None, cut_share: float = 0.06
) -> list[tuple[float, HandheldCamera]]:
    """Cameras with their start times (s): the first has `view`; a `cut_share` of the videos has cuts to others."""
    cameras = [(0.0, HandheldCamera(view, seconds, rng, unrest=unrest))]
    if rng.random() < cut_share:
        for time in np.sort(rng.uniform(0.3, seconds, rng.integers(1, 5))):
            other = View(
                view.center, view.azimuth + rng.uniform(-0.9, 0.9),
                float(np.clip(view.elevation + rng.uniform(-0.4, 0.4), 0.25, 1.4)),
                view.distance * rng.uniform(0.6, 1.7), rng.normal(0, 0.1), view.fovy,
            )  # fmt: skip
            cameras.append((float(time), HandheldCamera(other, seconds, rng, unrest=unrest)))
    return cameras


@dataclass
class Sensor:
    """Turns rendered light into a recorded frame: exposure, colour, focus, vignette, noise."""

    rng: np.random.Generator
    seconds: float
    size: tuple[int, int]
    """Height and width."""
    shutter: float = field(init=False)
    """Exposure as a share of the time between frames."""
    readout: float = field(init=False)
    """Time from the first row's exposure to the last's, as a share of the time between frames: a rolling shutter."""

    def __post_init__(self) -> None:
        rng, steps = self.rng, round(self.seconds / STEP) + 1
        self.shutter = rng.uniform(0.25, 0.95)
        self.readout = rng.choice([0.0, rng.uniform(0.1, 0.6)])
        self.level = rng.uniform(55, 145)
        self.gain = (1 + rng.choice([0.0, 0.03, 0.12]) * wander(steps, 1.5, rng)).clip(0.4)
        if rng.random() < 0.08:  # a lamp goes on, or the automatic exposure steps
            self.gain[int(rng.integers(steps)) :] *= rng.uniform(0.6, 1.6)
        self.tint = (1 + 0.07 * rng.standard_normal(3)).clip(0.8, 1.25)
        self.gamma, self.contrast = rng.uniform(0.75, 1.15), rng.uniform(0.8, 1.25)
        self.saturation = rng.uniform(0.5, 1.35)
        self.softness = rng.choice([0.0, rng.uniform(0.3, 0.8)])
        self.noise = rng.choice([rng.uniform(0.5, 3.0), rng.uniform(3.0, 9.0)], p=[0.75, 0.25])
        self.focus = np.zeros(steps)
        if rng.random() < 0.12:  # the lens hunts for focus
            hunt = (np.arange(steps) * STEP - rng.uniform(0, self.seconds)) / rng.uniform(0.15, 0.5)
            self.focus = rng.uniform(1.0, 3.0) * np.exp(-(hunt**2))
        self.hum = (rng.choice([0.0, 0.0, rng.uniform(0.01, 0.06)]), rng.uniform(5, 60))
        yy, xx = np.mgrid[-1 : 1 : self.size[0] * 1j, -1 : 1 : self.size[1] * 1j]
        self.vignette = (1 - rng.uniform(0, 0.25) * (xx**2 + yy**2))[..., None].astype(np.float32)

    def meter(self, light: np.ndarray) -> None:
        """Set the exposure for frames like `light` (height, width, 3) in 0..255, as a camera's automatic does."""
        mean = 255 * float(((light / 255) ** self.gamma).mean())
        self.gain = self.gain * np.clip(self.level / max(mean, 1.0), 0.5, 5.0)

    def record(self, light: np.ndarray, time: float) -> np.ndarray:
        """A frame (height, width, 3) uint8 of `light` in 0..255, exposed at `time` seconds."""
        step = int(np.clip(round(time / STEP), 0, len(self.gain) - 1))
        blur = float(np.hypot(self.softness, self.focus[step]))
        image = gaussian_filter(light, (blur, blur, 0)) if blur > 0.2 else light
        image = 255 * (np.maximum(image, 0) / 255) ** self.gamma * (self.gain[step] * self.tint).astype(np.float32)
        gray = image.mean(-1, keepdims=True)
        image = gray + self.saturation * (image - gray)
        image = (128 + self.contrast * (image - 128)) * self.vignette
        image *= 1 + self.hum[0] * np.sin(2 * np.pi * self.hum[1] * time)
        noise = self.rng.standard_normal(image.shape, np.float32) * self.noise
        return (image + noise).clip(0, 255).astype(np.uint8)
