"""Materials of the drumstick world: the ranges that an object's sound, look and habits are drawn from."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Material:
    """Ranges from which an object of this material is drawn: sound in Hz and seconds, look, habits."""

    events: int
    """Events in the real set (Owens et al. 2016), for real shares."""
    fundamental: Range
    ratios: tuple[float, ...]
    decay: Range
    """RT60 of the lowest mode, in seconds."""
    noise: Range
    """Share of the noise burst in a hit's energy."""
    noise_center: Range
    noise_octaves: float
    noise_decay: Range
    grains: Range
    """Secondary impacts after a hit (grit, crackle, drops)."""
    grain_spread: float
    level: float
    attack: float
    scratch_share: float
    texture: str
    hue: Range
    saturation: Range
    brightness: Range
    reaction: str


BAR, PLATE, TUBE = (1.0, 2.76, 5.40), (1.0, 1.47, 1.93, 2.41, 2.83, 3.55, 4.12, 4.9), (1.0, 3.0, 5.0, 7.0)
SHELL, DULL, NONE = (1.0, 1.87, 2.79, 3.62), (1.0, 1.7), ()

# Events, f0, ratios, RT60, noise share, its centre, octaves, decay, grains, spread, level, attack,
# scratch share, texture, hue, saturation, brightness, reaction
MATERIALS: dict[str, Material] = {
    "wood": Material(4005, (380, 640), BAR, (0.10, 0.16), (0.10, 0.2), (900, 1500), 1.2, (0.010, 0.02),
        (0, 0), 0, 1.0, 0.0005, 0.2, "grain", (0.06, 0.10), (0.45, 0.75), (0.35, 0.75), "static"),
    "metal": Material(3543, (780, 1350), PLATE, (0.55, 0.8), (0.03, 0.08), (4000, 6000), 1.0, (0.005, 0.01),
        (0, 0), 0, 0.75, 0.0003, 0.2, "brushed", (0.55, 0.65), (0.02, 0.12), (0.45, 0.8), "static"),
    "dirt": Material(2994, (70, 110), DULL, (0.05, 0.08), (0.6, 0.75), (320, 520), 1.4, (0.03, 0.05),
        (4, 9), 0.08, 1.1, 0.002, 0.35, "noise", (0.05, 0.08), (0.5, 0.75), (0.16, 0.30), "scatter"),
    "rock": Material(2420, (1900, 2900), (1.0, 1.55, 2.2), (0.03, 0.05), (0.35, 0.5), (2600, 3800), 1.0,
        (0.008, 0.014), (0, 0), 0, 0.95, 0.0003, 0.25, "rough", (0.55, 0.7), (0.02, 0.14), (0.28, 0.55),
        "static"),
    "leaf": Material(2309, (300, 400), NONE, (0.05, 0.06), (1.0, 1.0), (2600, 3800), 1.2, (0.03, 0.05),
        (28, 45), 0.20, 0.75, 0.001, 0.4, "leaves", (0.02, 0.15), (0.6, 0.95), (0.4, 0.75), "scatter"),
    "plastic": Material(1853, (230, 370), TUBE, (0.20, 0.32), (0.10, 0.2), (1800, 2600), 0.8,
        (0.008, 0.015), (0, 0), 0, 1.0, 0.0008, 0.2, "gloss", (0.0, 1.0), (0.75, 1.0), (0.55, 0.95),
        "jiggle"),
    "cloth": Material(1789, (150, 200), NONE, (0.05, 0.06), (1.0, 1.0), (700, 1000), 1.0, (0.05, 0.08),
        (0, 0), 0, 0.8, 0.004, 0.3, "weave", (0.0, 1.0), (0.35, 0.65), (0.35, 0.75), "deform"),
    "paper": Material(1405, (500, 700), NONE, (0.03, 0.04), (1.0, 1.0), (1700, 2400), 2.2, (0.03, 0.05),
        (5, 10), 0.06, 0.85, 0.0005, 0.3, "sheet", (0.1, 0.16), (0.0, 0.12), (0.82, 1.0), "deform"),
    "grass": Material(921, (500, 700), NONE, (0.03, 0.04), (1.0, 1.0), (5600, 7000), 0.7, (0.10, 0.16),
        (0, 0), 0, 0.7, 0.006, 0.4, "blades", (0.23, 0.34), (0.6, 0.95), (0.3, 0.65), "jiggle"),
    "water": Material(677, (520, 900), (1.0, 1.35, 1.8), (0.10, 0.16), (0.3, 0.45), (3000, 4500), 1.6,
        (0.10, 0.15), (8, 14), 0.22, 0.9, 0.002, 0.2, "waves", (0.52, 0.6), (0.5, 0.85), (0.35, 0.7),
        "splash"),
    "drywall": Material(453, (105, 165), (1.0, 2.1, 3.3), (0.18, 0.26), (0.15, 0.25), (800, 1200), 1.0,
        (0.015, 0.025), (0, 0), 0, 1.1, 0.001, 0.2, "wall", (0.08, 0.14), (0.02, 0.1), (0.7, 0.9),
        "static"),
    "gravel": Material(433, (900, 1200), NONE, (0.02, 0.03), (0.55, 0.7), (1500, 2200), 0.9, (0.02, 0.03),
        (22, 38), 0.14, 1.0, 0.0008, 0.4, "cells", (0.05, 0.12), (0.03, 0.2), (0.4, 0.75), "scatter"),
    "plastic-bag": Material(383, (300, 400), NONE, (0.02, 0.03), (1.0, 1.0), (5200, 6600), 0.8,
        (0.02, 0.03), (16, 26), 0.38, 0.75, 0.0005, 0.3, "crinkle", (0.5, 0.62), (0.0, 0.25), (0.7, 1.0),
        "deform"),
    "ceramic": Material(351, (1450, 2100), SHELL, (0.22, 0.34), (0.05, 0.12), (4500, 6000), 0.8,
        (0.004, 0.008), (0, 0), 0, 0.9, 0.0003, 0.15, "glaze", (0.55, 0.66), (0.3, 0.6), (0.75, 1.0),
        "static"),
    "tile": Material(313, (900, 1250), (1.0, 1.6, 2.5, 3.4), (0.07, 0.11), (0.3, 0.4), (4000, 5500), 0.8,
        (0.008, 0.014), (0, 0), 0, 0.95, 0.0003, 0.2, "grid", (0.0, 0.12), (0.2, 0.5), (0.55, 0.9),
        "static"),
    "carpet": Material(281, (75, 100), DULL, (0.05, 0.07), (0.45, 0.6), (140, 220), 0.9, (0.04, 0.06),
        (0, 0), 0, 1.2, 0.003, 0.35, "pile", (0.92, 1.04), (0.55, 0.9), (0.3, 0.55), "deform"),
    "glass": Material(261, (2500, 3700), (1.0, 1.42, 1.9), (0.40, 0.6), (0.01, 0.04), (6000, 7000), 0.5,
        (0.003, 0.006), (0, 0), 0, 0.75, 0.0003, 0.1, "glass", (0.42, 0.52), (0.05, 0.25), (0.75, 1.0),
        "jiggle"),
}  # fmt: skip
