"""Colours of the ground and of things, and how each material is textured."""

from __future__ import annotations

from random import Random

import numpy as np

Colour = tuple[int, int, int]

# A material is an index into TEXTURE.
SMOOTH, PAVED, GRASS, FOREST, SOIL, WATER, ROOF, CROP = range(8)

# Relative brightness amplitude of fine grain, grain of a few pixels, patches, tree crowns, waves; last, drift in hue.
TEXTURE = np.array(
    [
        (0.015, 0.010, 0.00, 0.00, 0.000, 0.00),  # SMOOTH
        (0.020, 0.016, 0.05, 0.00, 0.000, 0.10),  # PAVED
        (0.045, 0.060, 0.07, 0.03, 0.000, 0.90),  # GRASS
        (0.050, 0.050, 0.08, 0.42, 0.000, 0.60),  # FOREST
        (0.040, 0.060, 0.09, 0.00, 0.000, 0.60),  # SOIL
        (0.014, 0.010, 0.06, 0.00, 0.070, 0.25),  # WATER
        (0.020, 0.018, 0.03, 0.00, 0.000, 0.08),  # ROOF
        (0.035, 0.045, 0.07, 0.02, 0.000, 0.60),  # CROP
    ],
    dtype=np.float32,
)

GRASSES: tuple[Colour, ...] = ((92, 106, 62), (112, 118, 72), (132, 128, 86), (80, 98, 58), (146, 138, 100))
CROPS: tuple[Colour, ...] = (
    (104, 122, 66),
    (136, 140, 82),
    (172, 156, 104),
    (150, 128, 96),
    (122, 100, 76),
    (84, 104, 58),
    (186, 172, 124),
)
FORESTS: tuple[Colour, ...] = ((58, 76, 48), (66, 80, 46), (50, 70, 50), (74, 82, 50))
SOILS: tuple[Colour, ...] = ((158, 134, 104), (140, 116, 92), (176, 156, 124), (128, 110, 92))
ASPHALTS: tuple[Colour, ...] = ((92, 93, 96), (108, 108, 108), (80, 82, 86), (120, 117, 112))
CONCRETES: tuple[Colour, ...] = ((164, 161, 153), (176, 173, 166), (150, 148, 144), (170, 162, 148))
WATERS: tuple[Colour, ...] = ((32, 62, 78), (40, 76, 88), (46, 76, 74), (26, 50, 66), (58, 92, 96), (62, 80, 70))
ROOFS: tuple[Colour, ...] = (
    (158, 92, 68),
    (172, 108, 80),
    (134, 84, 68),
    (120, 118, 118),
    (98, 96, 98),
    (146, 130, 112),
    (186, 182, 174),
)
FLATS: tuple[Colour, ...] = (
    (178, 176, 172),
    (150, 150, 150),
    (204, 202, 196),
    (118, 120, 124),
    (140, 150, 160),
    (166, 150, 130),
)
CARS: tuple[Colour, ...] = (
    (226, 227, 228),
    (232, 232, 230),
    (186, 189, 192),
    (150, 153, 157),
    (96, 99, 104),
    (44, 45, 50),
    (38, 39, 44),
    (150, 38, 36),
    (44, 70, 124),
    (60, 92, 70),
    (176, 160, 130),
    (196, 130, 40),
)
CONTAINERS: tuple[Colour, ...] = (
    (150, 58, 46),
    (44, 82, 128),
    (62, 110, 82),
    (186, 186, 184),
    (196, 128, 50),
    (98, 60, 48),
    (120, 130, 138),
)
DECKS: tuple[Colour, ...] = (
    (122, 66, 54),
    (88, 104, 92),
    (104, 108, 112),
    (134, 92, 72),
    (82, 96, 112),
    (150, 142, 128),
)
TANKS: tuple[Colour, ...] = (
    (222, 222, 218),
    (206, 204, 196),
    (182, 186, 188),
    (196, 184, 160),
    (164, 148, 130),
    (148, 160, 152),
)
GLASS: Colour = (40, 46, 54)
WHITE: Colour = (228, 228, 224)
PAINT: Colour = (206, 206, 200)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made brighter or darker."""
    r, g, b = colour
    return min(255, int(r * factor)), min(255, int(g * factor)), min(255, int(b * factor))


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """From a (share 0) to b (share 1)."""
    return (
        int(a[0] + (b[0] - a[0]) * share),
        int(a[1] + (b[1] - a[1]) * share),
        int(a[2] + (b[2] - a[2]) * share),
    )


def pick(rng: Random, colours: tuple[Colour, ...], spread: float = 0.08) -> Colour:
    """One of the colours, a little off in brightness and hue."""
    r, g, b = rng.choice(colours)
    light = 1 + rng.uniform(-spread, spread)
    warm = rng.uniform(-spread, spread) * 12
    return (
        max(0, min(255, int(r * light + warm))),
        max(0, min(255, int(g * light))),
        max(0, min(255, int(b * light - warm))),
    )
