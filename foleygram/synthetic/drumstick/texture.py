"""Procedural textures that tell the rendered materials apart."""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

Size = tuple[int, int]


def texture(kind: str, size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A surface (height, width, 3) in 0..1 of a kind around `color` (3,); raises KeyError for an unknown kind."""
    return _KINDS[kind](size, np.asarray(color, float), rng).clip(0, 1)


def _value_noise(size: Size, cell: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit deviation; `cell` is its grain in pixels, down and across."""
    shape = [int(np.ceil(s / c)) + 2 for s, c in zip(size, cell, strict=True)]
    coarse = rng.standard_normal(shape)
    noise = zoom(coarse, [max(c, 1.0) for c in cell], order=1)[: size[0], : size[1]]
    return np.pad(noise, [(0, s - n) for s, n in zip(size, noise.shape, strict=True)], mode="edge")


def _tint(color: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return color * (1 + gain[..., None])


def _grain(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    fine = _value_noise(size, (rng.uniform(1.5, 3), rng.uniform(20, 50)), rng)
    rings = np.sin(_value_noise(size, (12, 60), rng) * 3 + np.arange(size[0])[:, None] * rng.uniform(0.3, 0.7))
    return _tint(color, 0.12 * fine + 0.14 * rings)


def _brushed(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    streaks = _value_noise(size, (1, 40), rng)
    band = np.exp(-(((np.arange(size[1]) - rng.uniform(0, size[1])) / rng.uniform(10, 30)) ** 2))
    return _tint(color, 0.05 * streaks + 0.7 * band[None, :])


def _noise(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _tint(color, 0.18 * _value_noise(size, (2, 2), rng) + 0.2 * _value_noise(size, (12, 12), rng))


def _rough(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    facets = np.sign(_value_noise(size, (14, 18), rng)) * 0.22 + 0.12 * _value_noise(size, (5, 5), rng)
    return _tint(color, gaussian_filter(facets, 1) + 0.05 * rng.standard_normal(size))


def _blobs(size: Size, rng: np.random.Generator, count: int, radius: tuple[float, float], stretch: float) -> np.ndarray:
    """Index of the topmost of `count` overlapping ellipses at each pixel, -1 where there is none."""
    top = np.full(size, -1)
    yy, xx = np.mgrid[: size[0], : size[1]]
    for index in range(count):
        cy, cx, r, turn = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(*radius), rng.uniform(0, np.pi)
        reach = int(r * stretch) + 1
        window = np.s_[max(0, int(cy) - reach) : int(cy) + reach, max(0, int(cx) - reach) : int(cx) + reach]
        dy, dx = yy[window] - cy, xx[window] - cx
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        top[window][(u / (r * stretch)) ** 2 + (v / r) ** 2 < 1] = index
    return top


def _leaves(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top = _blobs(size, rng, 260, (2.5, 5.0), 2.2)
    palette = (color * rng.uniform(0.5, 1.5, (261, 1)) * (1 + 0.18 * rng.standard_normal((261, 3)))).clip(0, 1)
    return palette[top]


def _cells(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top = _blobs(size, rng, 700, (1.8, 3.8), 1.2)
    palette = color * rng.uniform(0.55, 1.4, (701, 1))
    palette[-1] = color * 0.3
    edges = (top != np.roll(top, 1, 0)) | (top != np.roll(top, 1, 1))
    return palette[top] * np.where(edges, 0.55, 1.0)[..., None]


def _gloss(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = _tint(color, 0.02 * _value_noise(size, (30, 30), rng))
    return image + 0.6 * _spot(size, rng, rng.uniform(8, 16))[..., None]


def _spot(size: Size, rng: np.random.Generator, radius: float) -> np.ndarray:
    yy, xx = np.mgrid[: size[0], : size[1]]
    cy, cx = rng.uniform(0.6, 0.95) * size[0], rng.uniform(0.25, 0.75) * size[1]
    return np.exp(-(((yy - cy) / radius) ** 2 + ((xx - cx) / radius) ** 2))


def _weave(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    period, (yy, xx) = rng.uniform(3, 5), np.mgrid[: size[0], : size[1]]
    threads = np.sin(2 * np.pi * xx / period) * np.sin(2 * np.pi * yy / period)
    return _tint(color, 0.2 * threads + 0.22 * _value_noise(size, (22, 10), rng))


def _sheet(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = _tint(color, 0.02 * _value_noise(size, (20, 20), rng))
    ruled = (np.arange(size[0]) % int(rng.integers(6, 10))) == 0
    image[ruled] *= np.array([0.72, 0.8, 0.95])
    return image


def _blades(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _tint(color, 0.35 * _value_noise(size, (11, 1.2), rng) + 0.15 * _value_noise(size, (16, 16), rng))


def _waves(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    yy = np.arange(size[0])[:, None] + 3 * _value_noise(size, (10, 25), rng)
    crests = np.sin(2 * np.pi * yy / rng.uniform(6, 11))
    return _tint(color, 0.2 * crests) + 0.5 * (crests > 0.9)[..., None] * rng.uniform(0.3, 0.9)


def _wall(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = _tint(color, 0.03 * rng.standard_normal(size))
    image[:, int(rng.uniform(0.2, 0.8) * size[1]) :][:, :2] *= 0.7  # the joint between two boards
    yy, xx = np.mgrid[: size[0], : size[1]]
    for cy in range(10, size[0], int(rng.integers(18, 26))):
        image[(yy - cy) ** 2 + (xx - 0.5 * size[1]) ** 2 < 3] *= 0.5  # screws
    return image


def _crinkle(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ridges = np.abs(_value_noise(size, (7, 9), rng)) + 0.6 * np.abs(_value_noise(size, (4, 4), rng))
    return _tint(color, 0.35 - 0.5 * ridges) + 0.5 * (ridges < 0.12)[..., None]


def _glaze(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = np.ones((*size, 3)) * np.array([0.93, 0.92, 0.88])
    stripe = (np.arange(size[0]) // int(rng.integers(7, 12))) % 2 == 0
    image[stripe] = color
    return image * (1 + 0.02 * _value_noise(size, (20, 20), rng))[..., None] + 0.4 * _spot(size, rng, 9)[..., None]


def _grid(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    period = int(rng.integers(12, 20))
    yy, xx = np.mgrid[: size[0], : size[1]]
    image = _tint(color, 0.1 * _value_noise(size, (period, period), rng))
    image[(yy % period < 2) | (xx % period < 2)] = rng.uniform(0.15, 0.35)
    return image


def _pile(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _tint(color, 0.4 * rng.standard_normal(size) + 0.12 * _value_noise(size, (25, 25), rng))


def _glass(size: Size, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    yy, xx = np.mgrid[: size[0], : size[1]]
    beams = np.sin((xx + rng.uniform(0.5, 1.5) * yy) / rng.uniform(7, 12)) > 0.75
    return 0.75 * color * (1 - 0.2 * np.linspace(0, 1, size[0]))[:, None, None] + 0.4 * beams[..., None]


_KINDS = {
    "grain": _grain, "brushed": _brushed, "noise": _noise, "rough": _rough, "leaves": _leaves,
    "cells": _cells, "gloss": _gloss, "weave": _weave, "sheet": _sheet, "blades": _blades, "waves": _waves,
    "wall": _wall, "crinkle": _crinkle, "glaze": _glaze, "grid": _grid, "pile": _pile, "glass": _glass,
}  # fmt: skip
