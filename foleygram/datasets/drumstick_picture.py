"""Picture of a rendered scene: textured objects, the stick over its exposure, and things that move without sounding."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from foleygram.datasets.drumstick_scene import MATERIALS, Scene, Thing, tip_height, tip_position
from foleygram.datasets.drumstick_texture import texture

SIZES = ((160, 120), (176, 144), (192, 108), (128, 128), (144, 176), (160, 90))
RATES = (Fraction(15), Fraction(20), Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30))
MARGIN = 10
"""Pixels of the static layers beyond the frame, for camera drift."""


def write_video(path: Path, scene: Scene, audio: np.ndarray, sample_rate: int, seed: tuple[int, int]) -> None:
    """Encode the scene's frames (H.264) and `audio` (samples,) (AAC) into an MP4 file at `path`."""
    picture = Picture(scene, seed)
    num_frames = int(np.floor(scene.seconds * picture.rate))
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=picture.rate)
        video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
        sound = container.add_stream("aac", rate=sample_rate, layout="mono")
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture.frame(index), format="rgb24")
            frame.pts, frame.time_base = index, 1 / picture.rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = sample_rate, 0, Fraction(1, sample_rate)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))


class Picture:
    """Draws frame after frame of a scene; frame i is stamped i / rate and exposed around that moment."""

    def __init__(self, scene: Scene, seed: tuple[int, int]) -> None:
        self.scene = scene
        self.rng = np.random.default_rng((*seed, 3))
        rng = self.rng
        self.width, self.height = SIZES[rng.integers(len(SIZES))]
        self.rate = RATES[rng.integers(len(RATES))]
        self.exposure = rng.uniform(0.25, 0.9) / float(self.rate)
        self.light = rng.uniform(0.75, 1.15) * (1 + 0.12 * rng.standard_normal(3)).clip(0.75, 1.25)
        self.flicker = rng.choice([0.0, rng.uniform(0.01, 0.05)])
        self.noise = rng.uniform(0.003, 0.03)
        self.drift = rng.uniform(0, 1, 2) * rng.choice([0, 4, 8]), rng.uniform(0.1, 0.5, 2), rng.uniform(0, 6.28, 2)
        self.stick_color = np.array([0.78, 0.62, 0.42]) * rng.uniform(0.55, 1.25) * (1 + 0.08 * rng.standard_normal(3))
        self.stick_width = rng.uniform(0.012, 0.028) * self.width
        self.angle = rng.choice([-1, 1]) * rng.uniform(0.35, 1.1)  # from the vertical
        self.length = rng.uniform(0.7, 1.2)
        canvas = (self.height + 2 * MARGIN, self.width + 2 * MARGIN)
        self.grid_y, self.grid_x = np.mgrid[: self.height, : self.width].astype(np.float32)
        self.background = self._background(canvas)
        self.layers = [self._object_layer(thing, canvas) for thing in scene.things]
        self.bank = rng.standard_normal((self.height * self.width * 3 + 4096)).astype(np.float32) * self.noise
        self.movers = [_Mover(rng, self.width, self.height) for _ in range(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15]))]

    def _background(self, canvas: tuple[int, int]) -> np.ndarray:
        rng = self.rng
        kind = str(rng.choice(["flat", "noise", "grain", "rough", "weave"]))
        color = rng.uniform(0.1, 0.9) * (1 + 0.25 * rng.standard_normal(3))
        base = texture(kind, canvas, color.clip(0.05, 0.95), rng)
        horizon = int(rng.uniform(0.2, 0.7) * canvas[0])
        base[:horizon] = 0.6 * base[:horizon] + 0.4 * rng.uniform(0.1, 0.9, 3)
        yy, xx = np.mgrid[: canvas[0], : canvas[1]]
        for _ in range(rng.integers(0, 5)):  # clutter
            cx, cy, rx, ry = rng.uniform(0, canvas[1]), rng.uniform(0, canvas[0]), *rng.uniform(4, 22, 2)
            inside = (np.abs((xx - cx) / rx) ** 4 + np.abs((yy - cy) / ry) ** 4) < 1
            base[inside] = 0.3 * base[inside] + 0.7 * rng.uniform(0.05, 0.95, 3)
        return base.astype(np.float32)

    def _object_layer(self, thing: Thing, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(thing.seed)
        height, width = canvas
        yy, xx = np.mgrid[:height, :width].astype(np.float32)
        cx, top = thing.position[0] * self.width + MARGIN, thing.position[1] * self.height + MARGIN
        rx, ry = thing.size * rng.uniform(0.24, 0.42) * self.width, thing.size * rng.uniform(0.24, 0.45) * self.height
        if len(self.scene.things) > 1:
            rx = min(rx, 0.19 * self.width)
        u, v = (xx - cx) / rx, (yy - top) / ry
        if thing.shape == "floor":
            edge = v + 0.02 * np.sin(u * rng.uniform(2, 9))
        elif thing.shape == "box":
            edge = np.maximum(np.abs(u) - 1, np.maximum(-v, v - 1.4))
        elif thing.shape == "round":
            edge = u**2 + ((v - 1) / 1.0) ** 2 - 1
        else:
            edge = np.maximum(1.0 - 1.0 / (1 + 1.5 * u**4) - v, v - 1.3) + 0.02 * np.sin(9 * u + rng.uniform(0, 6))
        softness = 1.2 / ry
        alpha = np.clip(edge / softness if thing.shape != "floor" else -edge / softness, -1, 1)
        alpha = 0.5 - 0.5 * alpha if thing.shape != "floor" else 0.5 - 0.5 * alpha
        surface = texture(MATERIALS[thing.material].texture, canvas, thing.color, rng)
        slope = rng.uniform(-0.25, 0.25) * u + rng.uniform(-0.3, 0.1) * v
        shaded = surface * (1 + slope[..., None]).clip(0.5, 1.4)
        return shaded.astype(np.float32), alpha.astype(np.float32)

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (height, width, 3)."""
        time = index / float(self.rate)
        amount, speed, phase = self.drift
        shift = amount * np.sin(2 * np.pi * speed * time + phase)
        dx, dy = (MARGIN + shift.round().astype(int)).clip(0, 2 * MARGIN)
        view = np.s_[dy : dy + self.height, dx : dx + self.width]
        image = self.background[view].copy()
        for number, (surface, alpha) in enumerate(self.layers):
            lift = self._reaction(number, time)
            moved = np.s_[max(0, dy + lift) : max(0, dy + lift) + self.height, dx : dx + self.width]
            cover = alpha[moved]
            if cover.shape != image.shape[:2]:
                moved, cover = view, alpha[view]
            image += cover[..., None] * (surface[moved] - image)
        for mover in self.movers:
            mover.draw(image, time, self.grid_x, self.grid_y)
        offset = np.array([MARGIN - dx, MARGIN - dy], np.float32)
        self._debris(image, time, offset)
        self._stick(image, time, offset)
        image *= self.light * (1 + self.flicker * np.sin(37 * time + index))
        start = self.rng.integers(4096)
        image += self.bank[start : start + image.size].reshape(image.shape)
        return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    def _reaction(self, thing: int, time: float) -> int:
        kind = MATERIALS[self.scene.things[thing].material].reaction
        if kind not in ("jiggle", "deform"):
            return 0
        lift = 0.0
        for event in self.scene.events:
            since = time - event.time
            if event.thing == thing and 0 <= since < 0.4:
                lift += 3.5 * event.speed * np.exp(-since / 0.1) * (np.cos(50 * since) if kind == "jiggle" else 1)
        return -round(lift)

    def _debris(self, image: np.ndarray, time: float, offset: np.ndarray) -> None:
        for event in self.scene.events:
            thing = self.scene.things[event.thing]
            since = time - event.time
            if MATERIALS[thing.material].reaction not in ("scatter", "splash") or not 0 <= since < 0.45:
                continue
            rng = np.random.default_rng(event.seed)
            count = int(4 + 8 * event.speed)
            velocity = rng.uniform([-0.6, -1.0], [0.6, -0.2], (count, 2)) * (0.4 + event.speed) * self.height
            origin = tip_position(self.scene, np.array([event.time]))[0] * (self.width, self.height) + offset
            spots = origin + velocity * since + np.array([0, 1.8 * self.height]) * since**2
            color = (thing.color * 1.2 + 0.1).clip(0, 1)
            for x, y in spots.round().astype(int):
                image[max(0, y) : max(0, y + 2), max(0, x) : max(0, x + 2)] = color

    def _stick(self, image: np.ndarray, time: float, offset: np.ndarray) -> None:
        edges = time + self.exposure * np.array([-0.5, 0.5])
        travel = np.abs(np.diff(tip_height(self.scene, edges)))[0] * self.height
        steps = int(np.clip(np.ceil(travel / 2.5), 1, 7))
        moments = time + self.exposure * ((np.arange(steps) + 0.5) / steps - 0.5)
        height = tip_height(self.scene, moments)
        tips = tip_position(self.scene, moments) * (self.width, self.height) + offset
        cover = np.zeros(image.shape[:2], np.float32)
        for (x, y), lift in zip(tips, height, strict=True):
            angle = self.angle * (1 + 0.5 * lift)
            y = y - lift * self.height - 0.6 * self.stick_width
            direction = np.array([np.sin(angle), -np.cos(angle)], np.float32)
            along = (self.grid_x - x) * direction[0] + (self.grid_y - y) * direction[1]
            along = along.clip(0, self.length * self.height)
            across = np.hypot(self.grid_x - x - along * direction[0], self.grid_y - y - along * direction[1])
            radius = self.stick_width * (0.62 + 0.38 * np.minimum(1, along / (3 * self.stick_width)))
            cover += (radius - across + 0.5).clip(0, 1)
        image += (cover / steps)[..., None] * (self.stick_color.astype(np.float32) - image)


class _Mover:
    """Something that crosses or swings in the picture and makes no sound."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.center = rng.uniform(0.05, 0.95, 2) * (width, height)
        self.reach = rng.uniform(0.05, 0.45, 2) * (width, height)
        self.speed, self.phase = rng.uniform(0.15, 0.9, 2), rng.uniform(0, 6.28, 2)
        self.radius = rng.uniform(4, 16)
        self.color = rng.uniform(0, 1, 3).astype(np.float32)
        self.opacity = rng.choice([0.35, 0.9])

    def draw(self, image: np.ndarray, time: float, grid_x: np.ndarray, grid_y: np.ndarray) -> None:
        x, y = self.center + self.reach * np.sin(2 * np.pi * self.speed * time + self.phase)
        cover = (self.radius - np.hypot(grid_x - x, grid_y - y)).clip(0, 1) * self.opacity
        image += cover[..., None] * (self.color - image)


