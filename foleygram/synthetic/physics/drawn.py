"""Videos without contact that need no simulation: a face that talks, and a recorded screen, drawn simply."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from foleygram.synthetic.physics.camera import Sensor
from foleygram.synthetic.physics.motion import STEP, wander
from foleygram.synthetic.physics.scene import Scene
from foleygram.synthetic.physics.surfaces import backdrop
from foleygram.synthetic.physics.tools import SKINS

CANVAS = 256
"""Pixels of the square on which is drawn, before it is fitted to the frame."""

Draw = Callable[[float], Image.Image]
"""The picture (CANVAS, CANVAS) at a time in seconds."""


def talking_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """A face that talks, blinks and sways."""
    return _drawn_scene(seconds, "A person talks to the camera.", _talking_face(seconds, rng))


def screen_scene(seconds: float, rng: np.random.Generator) -> Scene:
    """A recorded screen: windows open, close and move, text scrolls, a pointer travels."""
    return _drawn_scene(seconds, "A recorded computer screen.", _computer_screen(seconds, rng), recorded=True)


def _drawn_scene(seconds: float, caption: str, draw: Draw, *, recorded: bool = False) -> Scene:
    return Scene(seconds, "{}", caption, partial(_film, draw, recorded), [], "", [])


def _film(draw: Draw, recorded: bool, times: np.ndarray, sensor: Sensor) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 of a drawing; a `recorded` screen passes no lens."""
    height, width = sensor.size
    for time in times:
        image = draw(float(time)).resize((max(height, width),) * 2, Image.Resampling.BILINEAR)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        light = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
        if time == times[0]:
            sensor.meter(light)
        yield light.astype(np.uint8) if recorded else sensor.record(light, float(time))


def _talking_face(seconds: float, rng: np.random.Generator) -> Draw:
    steps = round(seconds / STEP) + 1
    scale, ground = rng.uniform(0.6, 1.3), Image.fromarray(backdrop(rng, CANVAS)).filter(ImageFilter.GaussianBlur(2))
    skin = _color(np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.7, 1.0))
    hair, shirt, lip = (_color(rng.uniform(0, 0.8, 3)) for _ in range(3))
    sway = rng.uniform(2, 14) * np.stack([wander(steps, 0.9, rng) for _ in "xy"], -1)
    gate = wander(steps, 1.2, rng) > rng.uniform(-0.8, 0.4)
    mouth = gate * np.abs(wander(steps, rng.uniform(0.08, 0.15), rng)) * rng.uniform(4, 13)
    blinks = rng.uniform(0, seconds, rng.poisson(0.5 * seconds) + 1)
    hand = rng.uniform(10, 50) * np.stack([wander(steps, 0.35, rng) for _ in "xy"], -1) if rng.random() < 0.5 else None

    def draw(time: float) -> Image.Image:
        step, image = min(round(time / STEP), steps - 1), ground.copy()
        pen, (x, y) = ImageDraw.Draw(image), sway[step] + [128, 120]

        def oval(dx: float, dy: float, rx: float, ry: float, color: tuple[int, ...]) -> None:
            box = ((dx - rx) * scale + x, (dy - ry) * scale + y, (dx + rx) * scale + x, (dy + ry) * scale + y)
            pen.ellipse(box, fill=color)

        oval(0, 150, 95, 75, shirt)
        oval(0, 70, 22, 40, skin)
        oval(0, -12, 58, 70, hair)
        oval(0, 0, 50, 65, skin)
        closed = bool((np.abs(time - blinks) < 0.08).any())
        for side in (-1, 1):
            oval(side * 20, -12, 9, 1.5 if closed else 5.5, (235, 235, 230))
            oval(side * 20, -12, 3.5, 1 if closed else 3.5, (40, 30, 25))
            oval(side * 20, -25, 12, 2.5, hair)
        oval(0, 10, 6, 9, tuple(int(0.85 * value) for value in skin))
        oval(0, 36, 18, 3.5 + mouth[step], lip)
        oval(0, 36, 14, mouth[step], (60, 20, 25))
        if hand is not None:
            oval(75 + hand[step, 0], 105 + hand[step, 1], 19, 24, skin)
        return image

    return draw


def _computer_screen(seconds: float, rng: np.random.Generator) -> Draw:
    desktop = Image.fromarray(backdrop(rng, CANVAS))
    windows = []
    for _ in range(rng.integers(1, 5)):
        start = rng.choice([0.0, rng.uniform(0, seconds)])
        corner, size = rng.integers(0, 130, 2), rng.integers(60, 220, 2)
        page = _page(rng, int(size[0]), 1200)
        scroll = rng.choice([0.0, rng.uniform(20, 200)]) * np.cumsum(rng.random(round(seconds * 20) + 2) < 0.15) / 4
        windows.append((start, start + rng.uniform(0.5, 1.5 * seconds), corner, size, page, scroll))
    keys = rng.uniform(10, 246, (int(2 * seconds) + 2, 2))

    def draw(time: float) -> Image.Image:
        image = desktop.copy()
        for start, end, corner, size, page, scroll in windows:
            if start <= time < end:
                top = int(scroll[int(20 * time)]) % 900
                image.paste(page.crop((0, top, int(size[0]), top + int(size[1]))), (int(corner[0]), int(corner[1])))
        x, y = (np.interp(2 * time, np.arange(len(keys)), keys[:, axis]) for axis in (0, 1))
        pointer = [(x, y), (x, y + 16), (x + 4, y + 12), (x + 11, y + 11)]
        ImageDraw.Draw(image).polygon(pointer, fill=(250, 250, 250), outline=(0, 0, 0))
        return image

    return draw


def _page(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Lines of marks as long as words, and some pictures."""
    dark = rng.random() < 0.4
    paper, ink = rng.integers(10, 50, 3), rng.integers(140, 250, 3)
    paper, ink = (paper, ink) if dark else (255 - paper // 3, 255 - ink)
    page = Image.new("RGB", (width, height), _color(paper / 255))
    pen, row = ImageDraw.Draw(page), 6
    line = int(rng.integers(6, 12))
    while row < height:
        if rng.random() < 0.06:
            pen.rectangle((8, row, width - 8, row + 5 * line), fill=_color(rng.uniform(0.1, 0.9, 3)))
            row += 5 * line
        column = 8
        while column < rng.uniform(0.5, 0.95) * width:
            word = int(rng.integers(3, 30))
            pen.rectangle((column, row, column + word, row + line // 2), fill=_color(ink / 255))
            column += word + 4
        row += line + int(rng.random() < 0.1) * line
    return page


def _color(rgb: np.ndarray) -> tuple[int, ...]:
    return tuple(int(255 * value) for value in np.clip(rgb, 0, 1))
