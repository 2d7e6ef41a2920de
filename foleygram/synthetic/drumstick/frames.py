"""Frames of a rendered scene: textured objects, and the stick over its exposure."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from scipy.ndimage import zoom

from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.motion import tip_height, tip_position
from foleygram.synthetic.drumstick.scene import Scene, Thing
from foleygram.synthetic.drumstick.scenery import Mover, backdrop, outline
from foleygram.synthetic.drumstick.texture import texture

SIZES = ((160, 120), (176, 144), (192, 108), (128, 128), (160, 90), (144, 176))
SIZE_SHARES = (0.27, 0.2, 0.2, 0.15, 0.12, 0.06)
RATES = tuple(map(Fraction, ("15", "20", "24000/1001", "24", "25", "30000/1001", "30")))
MARGIN = 10
"""Pixels of the static layers beyond the frame, for camera drift."""
MOMENTS = 8
"""Points of the stick's path looked at within one exposure."""
SHAPES = {
    "dirt": ("floor", "mound"), "leaf": ("floor", "mound"), "gravel": ("floor", "mound"), "grass": ("tuft",),
    "water": ("pool", "floor"), "plastic-bag": ("bag",), "paper": ("slab", "box"),
    "carpet": ("slab", "floor"), "cloth": ("mound", "slab"), "drywall": ("box", "floor"),
    "tile": ("box", "floor"), "rock": ("mound", "bag"),
    "wood": ("box", "slab", "floor"), "glass": ("round", "box"), "ceramic": ("round", "pool"),
}  # fmt: skip
"""Outlines a material comes in; any other: box or round."""
BANDS = {"metal": (0.75, 3.5), "cloth": (0.45, 9.0)}
"""Bands of light across an object, depth and number: reflections of bent metal, folds of cloth."""
SKIN = np.array([0.85, 0.62, 0.48])


def write_video(
    path: Path, scene: Scene, audio: np.ndarray, sample_rate: int, seed: tuple[int, int], rate: Fraction | None = None
) -> None:
    """Encode the scene's frames (H.264) and `audio` (samples,) (AAC) into an MP4 file at `path`.

    `rate` is that of the frames, by default the one that the seed draws.
    """
    renderer = FrameRenderer(scene, seed, rate)
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=renderer.rate)
        video.width, video.height, video.pix_fmt = renderer.width, renderer.height, "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
        sound = container.add_stream("aac", rate=sample_rate, layout="mono", options={"aac_coder": "fast"})
        for index in range(renderer.num_frames):
            frame = av.VideoFrame.from_ndarray(renderer.frame(index), format="rgb24")
            frame.pts, frame.time_base = index, 1 / renderer.rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = sample_rate, 0, Fraction(1, sample_rate)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))


class Stick(NamedTuple):
    """What one stick does, and its path through every exposure, in pixels."""

    scene: Scene
    path: np.ndarray  # (F, M, 2) contact points
    lifts: np.ndarray  # (F, M) heights


class FrameRenderer:
    """Draws any frame of a scene; frame i is stamped i / rate and exposed around that moment.

    `rate`, in frames per second, replaces the one that the seed draws, and leaves everything else as it is.
    """

    def __init__(self, scene: Scene, seed: tuple[int, int], rate: Fraction | None = None) -> None:
        self.scene = scene
        rng = np.random.default_rng((*seed, 3))
        self.width, self.height = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
        drawn = RATES[rng.integers(len(RATES))]
        self.rate = rate or drawn
        self.num_frames = int(np.floor(scene.seconds * self.rate))
        self.exposure = rng.uniform(0.3, 0.9) / float(self.rate)
        self.light = 255 * rng.uniform(0.75, 1.15) * (1 + 0.07 * rng.standard_normal(3)).clip(0.85, 1.15)
        self.flicker = float(rng.choice([0.0, rng.uniform(0.01, 0.05)]))
        self.canvas = (self.height + 2 * MARGIN, self.width + 2 * MARGIN)
        self.grid_y, self.grid_x = np.mgrid[: self.height, : self.width].astype(np.float32)
        self.backdrop = (backdrop(self.canvas, rng) * self.light).astype(np.float32)
        self.layers = [self._object_layer(thing) for thing in scene.things]
        self.still = self.backdrop.copy()
        for number in range(len(self.layers)):
            self._lay(self.still, number, 0, np.s_[:, :])
        noise = 255 * rng.uniform(0.003, 0.025)
        self.bank = rng.standard_normal(self.height * self.width * 3 + 4096).astype(np.float32) * np.float32(noise)
        self.drift = (rng.uniform(0, 1, 2) * rng.choice([0, 4, 8]), rng.uniform(0.1, 0.5, 2), rng.uniform(0, 6.28, 2))
        self._draw_stick(rng)
        movers = rng.choice([0, 1, 2], p=[0.4, 0.45, 0.15])
        self.movers = [Mover(rng, self.width, self.height, self.light) for _ in range(movers)]
        self.sticks = [self._follow(player) for player in scene.players]

    def _draw_stick(self, rng: np.random.Generator) -> None:
        wood = np.array([0.78, 0.62, 0.42]) * (1 + 0.1 * rng.standard_normal(3))
        # A stick as bright as what lies behind it would hide the motion.
        dark = self.still.mean() / 255 > rng.uniform(0.45, 0.6)
        color = wood * (rng.uniform(0.2, 0.45) if dark else rng.uniform(1.0, 1.25))
        tip = np.array([1.0, 0.97, 0.9]) * rng.uniform(0.9, 1.0) if rng.random() < 0.8 else color
        self.stick_color, self.tip_color = (np.clip(c, 0, 1).astype(np.float32) * 235 for c in (color, tip))
        self.stick_width = rng.uniform(0.013, 0.028) * self.width
        self.angle = rng.choice([-1, 1]) * rng.uniform(0.35, 1.1)  # from the vertical
        self.length = rng.uniform(0.6, 1.2) * self.height
        self.hand = (SKIN * rng.uniform(0.35, 1.05) * self.light).clip(0, 255).astype(np.float32)

    def _follow(self, player: Scene) -> Stick:
        inside = (np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5
        moments = np.arange(self.num_frames)[:, None] / float(self.rate) + self.exposure * inside  # (F, M)
        shape = (self.num_frames, MOMENTS)
        position = tip_position(player, moments.ravel()) * (self.width, self.height)
        lifts = tip_height(player, moments.ravel()) * self.height
        return Stick(player, position.reshape(*shape, 2), lifts.reshape(shape))

    def _object_layer(self, thing: Thing) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(thing.seed)
        yy, xx = np.mgrid[: self.canvas[0], : self.canvas[1]].astype(np.float32)
        cx, top = thing.position[0] * self.width + MARGIN, thing.position[1] * self.height + MARGIN
        rx = (0.55 + 0.45 * thing.size) * rng.uniform(0.3, 0.46) * self.width
        ry = (0.55 + 0.45 * thing.size) * rng.uniform(0.3, 0.46) * self.height
        if len(self.scene.things) > 1:
            rx = min(rx, 0.19 * self.width)
        u, v = (xx - cx) / rx, (yy - top) / ry
        outside = outline(str(rng.choice(SHAPES.get(thing.material, ("box", "round")))), u, v, rng)
        alpha = np.clip(0.5 - outside * ry / 1.4, 0, 1)
        scale = rng.uniform(0.9, 1.35) * self.height / 120
        small = (int(np.ceil(self.canvas[0] / scale)) + 1, int(np.ceil(self.canvas[1] / scale)) + 1)
        surface = zoom(texture(MATERIALS[thing.material].texture, small, thing.color, rng), (scale, scale, 1), order=1)
        surface = surface[: self.canvas[0], : self.canvas[1]]
        shade = (1 + rng.uniform(-0.2, 0.2) * u + rng.uniform(-0.25, 0.05) * v).clip(0.55, 1.3)
        shade = shade * (0.72 + 0.28 * np.clip(-outside * ry / 3, 0, 1))  # a darker rim
        depth, number = BANDS.get(thing.material, (0.0, 1.0))
        bands = np.cos(number * rng.uniform(0.8, 1.3) * (u + rng.uniform(-0.2, 0.2) * v) + rng.uniform(0, 6.28))
        shade = shade * (1 + depth * bands)
        return (surface * shade[..., None] * self.light).astype(np.float32), alpha.astype(np.float32)

    def _lay(self, image: np.ndarray, number: int, lift: int, view: tuple[slice, slice]) -> None:
        surface, alpha = self.layers[number]
        if lift:
            rows = np.clip(np.arange(len(alpha)) - lift, 0, len(alpha) - 1)
            surface, alpha = surface[rows], alpha[rows]
        image += alpha[view][..., None] * (surface[view] - image)

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (height, width, 3)."""
        time = index / float(self.rate)
        amount, speed, phase = self.drift
        shift = amount * np.sin(2 * np.pi * speed * time + phase)
        dx, dy = (MARGIN + shift.round().astype(int)).clip(0, 2 * MARGIN)
        view = np.s_[dy : dy + self.height, dx : dx + self.width]
        lifts = [self._reaction(number, time) for number in range(len(self.layers))]
        image = (self.backdrop if any(lifts) else self.still)[view].copy()
        if any(lifts):
            for number, lift in enumerate(lifts):
                self._lay(image, number, lift, view)
        offset = np.array([MARGIN - dx, MARGIN - dy])
        for mover in self.movers:
            mover.draw(image, time, self.grid_x, self.grid_y)
        for number, stick in enumerate(self.sticks):
            self._debris(image, stick.scene, time, offset)
            # Two sticks lean away from each other.
            angle = self.angle if len(self.sticks) == 1 else abs(self.angle) * (2 * number - 1)
            self._stick(image, stick.path[index], stick.lifts[index], angle, offset)
        if self.flicker:
            image *= np.float32(1 + self.flicker * np.sin(37 * time + index))
        start = index * 1_327 % 4096
        image += self.bank[start : start + image.size].reshape(image.shape)
        return np.clip(image, 0, 255, out=image).astype(np.uint8)

    def _reaction(self, number: int, time: float) -> int:
        """Pixels by which an object gives way after a strike."""
        kind = MATERIALS[self.scene.things[number].material].reaction
        if kind not in ("jiggle", "deform"):
            return 0
        lift = 0.0
        for event in self.scene.events:
            since = time - event.time
            if event.thing == number and 0 <= since < 0.4:
                lift += 3.5 * event.speed * np.exp(-since / 0.1) * (np.cos(50 * since) if kind == "jiggle" else 1)
        return round(lift)

    def _debris(self, image: np.ndarray, player: Scene, time: float, offset: np.ndarray) -> None:
        for event in player.events:
            thing = player.things[event.thing]
            since = time - event.time
            if MATERIALS[thing.material].reaction not in ("scatter", "splash") or not 0 <= since < 0.45:
                continue
            rng = np.random.default_rng(event.seed)
            count = int(4 + 8 * event.speed)
            velocity = rng.uniform([-0.6, -1.0], [0.6, -0.2], (count, 2)) * (0.4 + event.speed) * self.height
            origin = tip_position(player, np.array([event.time]))[0] * (self.width, self.height) + offset
            spots = origin + velocity * since + np.array([0, 1.8 * self.height]) * since**2
            color = (thing.color * 1.2 + 0.1).clip(0, 1) * self.light
            for x, y in spots.round().astype(int):
                image[max(0, y) : max(0, y + 2), max(0, x) : max(0, x + 2)] = color

    def _stick(
        self, image: np.ndarray, path: np.ndarray, heights: np.ndarray, angle: float, offset: np.ndarray
    ) -> None:
        """Paint a stick that leans by `angle` over its way (M, 2) and heights (M,) within one exposure."""
        travel = np.hypot(*np.ptp(path, axis=0)) + np.ptp(heights)
        steps = 1 << int(np.clip(np.ceil(np.log2(max(travel / 2, 1))), 0, 3))
        points = path.reshape(steps, -1, 2).mean(1) + offset
        lifts = heights.reshape(steps, -1).mean(1)
        self._shadow(image, points.mean(0), float(lifts.mean()))
        angles = angle * (1 + 0.5 * lifts / self.height)
        ways = np.stack([np.sin(angles), -np.cos(angles)], -1).astype(np.float32)
        tips = (points - np.stack([0 * lifts, lifts + 0.6 * self.stick_width], -1)).astype(np.float32)
        hands = tips + ways * np.float32(self.length)
        ends, reach = np.concatenate([tips, hands]), 3.2 * self.stick_width + 1
        (left, top), (right, bottom) = np.maximum([ends.min(0) - reach, ends.max(0) + reach], 0).astype(int)
        box = np.s_[top:bottom, left:right]
        if not image[box].size:
            return
        cover, tint, fist = np.zeros((3, *image[box].shape[:2]), np.float32)
        for tip, way, hand in zip(tips, ways, hands, strict=True):
            inside, along = self._capsule(self.grid_x[box] - tip[0], self.grid_y[box] - tip[1], way)
            cover += inside
            tint += inside * (along < 4 * self.stick_width)
            far = np.sqrt((self.grid_x[box] - hand[0]) ** 2 + (self.grid_y[box] - hand[1]) ** 2)
            fist += (np.float32(3 * self.stick_width) - far).clip(0, 1)
        bright = (tint / np.maximum(cover, 1e-6))[..., None]
        color = self.stick_color + bright * (self.tip_color - self.stick_color)
        image[box] += (cover / steps)[..., None] * (color - image[box])
        image[box] += (fist / steps)[..., None] * (self.hand - image[box])

    def _capsule(self, right: np.ndarray, down: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coverage by the tapered stick, and the distance along it, at offsets from its tip in pixels."""
        along = (right * way[0] + down * way[1]).clip(0, np.float32(self.length))
        across = np.sqrt((right - along * way[0]) ** 2 + (down - along * way[1]) ** 2)
        taper = 0.62 + 0.38 * np.minimum(1, along / np.float32(3 * self.stick_width))
        return (np.float32(self.stick_width) * taper - across + 0.5).clip(0, 1), along

    def _shadow(self, image: np.ndarray, point: np.ndarray, lift: float) -> None:
        """A soft shadow on the surface under the tip: it darkens and narrows as the tip comes down."""
        near = float(np.exp(-lift / (0.12 * self.height)))
        radius = self.stick_width * (3.5 - 1.5 * near)
        low, high = (np.round(point + s * 2 * radius).astype(int).clip(0) for s in (-1, 1))
        box = np.s_[low[1] : high[1], low[0] : high[0]]
        spread = ((self.grid_x[box] - point[0]) ** 2 + (3 * (self.grid_y[box] - point[1])) ** 2) / radius**2
        image[box] *= (1 - np.float32(0.45 * near) * np.exp(-spread.astype(np.float32)))[..., None]
