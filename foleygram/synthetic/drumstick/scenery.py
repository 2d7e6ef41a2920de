"""Around the stick in a rendered frame: backdrop, outlines of objects, silent things that move."""

import numpy as np
from scipy.ndimage import zoom


def backdrop(canvas: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A wall above a table with clutter: smooth, so that only objects show a material's texture."""
    height, width = canvas
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    horizon = rng.uniform(0.25, 0.75) * height
    colors = rng.uniform(0.1, 0.9, (2, 1)) * (1 + 0.22 * rng.standard_normal((2, 3)))
    image = np.where((yy < horizon)[..., None], *colors)
    blur = zoom(rng.standard_normal((5, 6)), (height / 5, width / 6), order=1)[:height, :width]
    image = image * (1 + rng.uniform(0, 0.25) * blur + rng.uniform(-0.3, 0.3) * (xx / width - 0.5))[..., None]
    for _ in range(rng.integers(0, 6)):
        cx, cy, rx, ry = rng.uniform(0, width), rng.uniform(0, height), *rng.uniform(4, 22, 2)
        power = rng.choice([2, 4])
        inside = (np.abs((xx - cx) / rx) ** power + np.abs((yy - cy) / ry) ** power) < 1
        image[inside] = 0.25 * image[inside] + 0.75 * rng.uniform(0.05, 0.95, 3)
    return image.clip(0.02, 1)


def outline(shape: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roughly the distance (H, W) outside an object whose top is touched at u = v = 0, both (H, W); negative inside."""
    wobble = 0.025 * np.sin(u * rng.uniform(4, 9))
    if shape == "floor":
        return wobble - v
    if shape == "tuft":
        blades = np.interp(u, np.linspace(-4, 4, 160), rng.uniform(-0.02, 0.22, 160))
        return np.maximum(np.abs(u) - rng.uniform(1, 3), -blades - v)
    if shape == "box":
        return np.maximum(np.abs(u) - 1, np.maximum(-v, v - 1.4))
    if shape == "slab":
        return np.maximum(np.abs(u) - 1.1, np.maximum(wobble - v, v - rng.uniform(0.5, 0.8)))
    if shape == "pool":
        return np.maximum((u / 1.1) ** 2 + (v.clip(0) / 1.1) ** 2 - 1, -v)
    if shape == "mound":
        return np.maximum(1 - 1 / (1 + 1.5 * u**6) + wobble - v, v - 1.3)
    if shape == "bag":
        angle = np.arctan2(v - 1, u) + np.pi / 2
        rim = 1 + 0.09 * np.sin(5 * angle) + 0.06 * np.sin(9 * angle)
        return (np.abs(u) ** 3 + np.abs(v - 1) ** 3) ** (1 / 3) - rim
    return (np.abs(u) ** 3 + np.abs(v - 1) ** 3) ** (1 / 3) - 1


class Mover:
    """Something that moves and makes no sound: a swinging thing, a rolling ball, a hand's shadow."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, light: np.ndarray) -> None:
        self.kind = str(rng.choice(["swing", "ball", "shadow"]))
        self.center = rng.uniform(0.05, 0.95, 2) * (width, height)
        self.reach = rng.uniform(0.05, 0.45, 2) * (width, height)
        self.speed, self.phase = rng.uniform(0.15, 0.9, 2), rng.uniform(0, 6.28, 2)
        self.radius = rng.uniform(14, 30) if self.kind == "shadow" else rng.uniform(4, 12)
        self.color = (rng.uniform(0, 1, 3) * light * (0.1 if self.kind == "shadow" else 1)).astype(np.float32)
        self.opacity = rng.uniform(0.2, 0.45) if self.kind == "shadow" else 0.9
        self.width = width

    def draw(self, image: np.ndarray, time: float, grid_x: np.ndarray, grid_y: np.ndarray) -> None:
        """Paint the thing as it is at `time` seconds into image (height, width, 3)."""
        x, y = self.center + self.reach * np.sin(2 * np.pi * self.speed * time + self.phase)
        if self.kind == "ball":
            lap = self.width + 4 * self.radius
            x, y = (
                (self.center[0] + 0.4 * self.width * self.speed[0] * time) % lap - 2 * self.radius,
                self.center[1],
            )
        left, top = (max(0, int(c - self.radius)) for c in (x, y))
        box = np.s_[top : max(0, int(y + self.radius) + 2), left : max(0, int(x + self.radius) + 2)]
        far = np.sqrt((grid_x[box] - np.float32(x)) ** 2 + (grid_y[box] - np.float32(y)) ** 2)
        edge = 0.6 * self.radius if self.kind == "shadow" else 1.0
        cover = ((np.float32(self.radius) - far) / np.float32(edge)).clip(0, 1) * np.float32(self.opacity)
        image[box] += cover[..., None] * (self.color - image[box])
