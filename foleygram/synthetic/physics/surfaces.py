"""Procedural images for the surfaces of rendered objects: what a material looks like, and prints on it."""

from collections.abc import Callable
from colorsys import hsv_to_rgb

import numpy as np
from scipy.ndimage import gaussian_filter

from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.texture import texture

PRINTED = {
    "cloth": 0.5,
    "paper": 0.5,
    "plastic": 0.35,
    "plastic-bag": 0.4,
    "carpet": 0.4,
    "ceramic": 0.25,
    "metal": 0.1,
}
"""Share of a material's objects that carry a print."""
ODD_COLOR = 0.3
"""Share of objects in a colour that is unusual for their material: painted wood, white metal."""
NATURAL = ("dirt", "leaf", "grass", "gravel", "rock", "water")
"""Materials that people do not paint."""


def surface(material: str, rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """An image (size, size, 3) uint8 of a material's surface, its colour and pattern drawn anew."""
    image = texture(MATERIALS[material].texture, (size, size), _color(material, rng), rng)
    contrast = rng.uniform(0.35, 1.0)
    image = image.mean((0, 1)) + contrast * (image - image.mean((0, 1)))
    if rng.random() < PRINTED.get(material, 0.0):
        image = _print(image, rng)
    return _bytes(_weathered(image, rng))


def backdrop(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """An image (size, size, 3) uint8 of a wall, a floor or a piece of furniture that is not to be struck."""
    if rng.random() < 0.45:
        material = str(rng.choice(list(MATERIALS)))
        return surface(material, rng, size)
    value, saturation = (
        rng.uniform(0.08, 0.95),
        rng.choice([rng.uniform(0, 0.2), rng.uniform(0.2, 0.7)], p=[0.65, 0.35]),
    )
    image = np.ones((size, size, 3)) * np.array(hsv_to_rgb(rng.random(), saturation, value))
    if rng.random() < 0.4:
        image = _print(image, rng)
    return _bytes(_weathered(image, rng))


def fractal(size: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Tileable noise (size, size) of unit deviation whose amplitude falls as frequency ** -exponent."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * radius**-exponent, (size, size))
    return noise / noise.std()


def _color(material: str, rng: np.random.Generator) -> np.ndarray:
    ranges = MATERIALS[material]
    hue, saturation, value = (rng.uniform(*r) for r in (ranges.hue, ranges.saturation, ranges.brightness))
    if material not in NATURAL and rng.random() < ODD_COLOR:
        hue, saturation, value = rng.random(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.95)
    return np.array(hsv_to_rgb(hue % 1, saturation * rng.uniform(0.6, 1.0), value * rng.uniform(0.7, 1.1)))


def _weathered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stains at all scales, as on real surfaces, whose images have spectra of about 1 / frequency."""
    size = len(image)
    stains = rng.uniform(0.01, 0.12) * fractal(size, rng.uniform(0.9, 1.6), rng)
    grain = rng.uniform(0.0, 0.06) * fractal(size, rng.uniform(0.2, 0.6), rng)
    return image * (1 + stains + grain)[..., None]


def _print(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind: Callable[[np.ndarray, np.random.Generator], np.ndarray] = (
        _lettering, _stripes, _patches, _ornament, _frames,
    )[rng.integers(5)]  # fmt: skip
    return kind(image.copy(), rng)


def _ink(rng: np.random.Generator) -> np.ndarray:
    return np.array(hsv_to_rgb(rng.random(), rng.uniform(0, 1), rng.choice([rng.uniform(0, 0.3), rng.uniform(0.5, 1)])))


def _lettering(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lines of marks the size of letters, as on boxes and books."""
    size, ink = len(image), _ink(rng)
    row = int(rng.integers(3, 30))
    while row < size - 8:
        height = int(rng.choice([3, 4, 6, 12]))
        column, end = int(rng.integers(4, 40)), int(rng.integers(size // 2, size))
        while column < end:
            width = int(rng.integers(1, height))
            image[row : row + height, column : column + width] = ink
            if height > 4:
                image[row + height // 3 : row + height // 2, column + 1 : column + width] = 1 - ink
            column += width + int(rng.integers(1, 1 + height))
        row += height + int(rng.integers(2, 24))
    return image


def _stripes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = len(image)
    for axis in range(rng.integers(1, 3)):
        for _ in range(rng.integers(1, 4)):
            period, width = rng.integers(8, 40), rng.integers(1, 7)
            band = (np.arange(size) + rng.integers(size)) % period < width
            view = image[band] if axis else image[:, band]
            mixed = 0.4 * view + 0.6 * _ink(rng)
            if axis:
                image[band] = mixed
            else:
                image[:, band] = mixed
    return image


def _patches(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Areas of different colours with smooth borders, as of camouflage or marble."""
    noise = gaussian_filter(rng.standard_normal(image.shape[:2]), rng.uniform(3, 10), mode="wrap")
    levels = np.digitize(noise, np.quantile(noise, np.linspace(0, 1, int(rng.integers(3, 6)))[1:-1]))
    for level in range(1, levels.max() + 1):
        image[levels == level] = 0.3 * image[levels == level] + 0.7 * _ink(rng)
    return image


def _ornament(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A repeated figure of waves, mirrored, as on cushions and carpets."""
    tile = int(rng.choice([16, 32, 64]))
    yy, xx = np.mgrid[:tile, :tile] * (2 * np.pi / tile)
    field = sum(
        rng.standard_normal() * np.cos(rng.integers(0, 4) * xx + rng.integers(0, 4) * yy + rng.uniform(0, 6.28))
        for _ in range(5)
    )
    field = np.asarray(field) + np.asarray(field)[:, ::-1]
    levels = np.digitize(field, np.quantile(field, [0.3, 0.55, 0.8]))
    palette = np.array([_ink(rng) for _ in range(3)])
    repeats = len(image) // tile
    levels = np.tile(levels, (repeats, repeats))
    for level in range(1, 4):
        image[levels == level] = 0.25 * image[levels == level] + 0.75 * palette[level - 1]
    return image


def _frames(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few rectangles, one inside another: labels, panels, screens."""
    size = len(image)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(0, size - 20, 2)
        height, width = rng.integers(10, size // 2, 2)
        image[top : top + height, left : left + width] = _ink(rng)
        edge = int(rng.integers(1, 4))
        image[top + edge : top + height - edge, left + edge : left + width - edge] = _ink(rng)
    return image


def _bytes(image: np.ndarray) -> np.ndarray:
    return (255 * image.clip(0, 1)).astype(np.uint8)
