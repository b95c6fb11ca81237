"""Synthetic aerial scenes with exact oriented truth, drawn in milliseconds from nothing but a seed.

Harbours, marinas, open sea, airfields, towns, industry, sports grounds and rivers, at 0.1 to 1.5 m a pixel, any
heading, one sun a scene; with shadows, haze, cloud shadow, blur and noise. Clutter looks like objects: containers and
trailers like trucks, ponds and tree crowns like tanks, wave caps, rocks and pontoons like boats, roof units and solar
panels like vehicles. Ships and boats, vehicles and trucks differ by shape and context more than by size, since the
scale differs from scene to scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from skystill.data.synthetic.atmosphere import develop
from skystill.data.synthetic.canvas import Canvas
from skystill.data.synthetic.themes import EMPTY, THEMES, Themes, draw
from skystill.data.synthetic.truth import tabulate
from skystill.data.synthetic.world import CLASSES, FEWEST, World
from skystill.errors import ConfigError

__all__ = ["CLASSES", "EMPTY_SHARE", "Scene", "compose", "render"]

EMPTY_SHARE = 0.03
SMALLEST_SIDE = 64
_ATTEMPTS = 40


@dataclass(frozen=True, slots=True)
class Scene:
    """An image (H, W, 3) uint8 and what is true of it.

    corners: (M, 8) float32, four corners x y in drawing order, pixels: the oriented rectangle of the visible part.
    Where the border cuts an object, a corner may lie outside. labels: (M,) int64 into CLASSES. boxes: (M, 4) float32,
    x1 y1 x2 y2 of the visible outline, always inside the image and tighter than the box around the corners.
    """

    image: NDArray[np.uint8]
    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]


def render(index: int, *, seed: int = 0, size: int = 256) -> Scene:
    """Scene `index` of the endless series `seed`, `size` pixels a side; the same on every call, in every process.

    A scene has 3 to 40 objects (the upper limit grows with the area above 256 x 256); 3 % of scenes have none. Objects
    with less than 40 % of their area inside the image are left out of the truth. Scenes of different index, seed or
    size are independent, so training and validation may share a seed and differ in their range of indexes.
    index, seed: not negative. size: pixels, 64 or more. Raises ConfigError for others.
    """
    rng, arrays = _sources(index, seed, size)
    canvas = _plan(rng, size)
    corners, boxes, labels = tabulate(canvas.placed, size)
    return Scene(develop(canvas, rng, arrays), corners, labels, boxes)


def compose(index: int, *, seed: int = 0, size: int = 256) -> Canvas:
    """The painted layers and placed objects of a scene, before light, air and camera: for tests and for looking."""
    return _plan(_sources(index, seed, size)[0], size)


def _sources(index: int, seed: int, size: int) -> tuple[Random, np.random.Generator]:
    """Python's generator for the plan (fast for single numbers), NumPy's for the fields."""
    if index < 0 or seed < 0 or size < SMALLEST_SIDE:
        raise ConfigError(
            f"synthetic scene: index {index}, seed {seed} and size {size} cannot work. "
            f"Use index and seed from 0 and a size from {SMALLEST_SIDE} pixels."
        )
    words = np.random.SeedSequence((seed, index, size)).generate_state(4, np.uint64)
    return Random(int(words[0]) << 64 | int(words[1])), np.random.Generator(np.random.PCG64(words[2:].tolist()))


def _plan(rng: Random, size: int) -> Canvas:
    if rng.random() < EMPTY_SHARE:
        world = _world(rng, size, EMPTY)
        world.things = [thing for thing in world.things if thing.label is None]
        world.build()
        return world.canvas
    for _ in range(_ATTEMPTS):
        world = _world(rng, size, THEMES)
        if sum(thing.label is not None for thing in world.things) < FEWEST:
            continue
        world.build()
        if len(tabulate(world.canvas.placed, size)[2]) >= FEWEST:
            break
    return world.canvas


def _world(rng: Random, size: int, themes: Themes) -> World:
    gsd, theme = draw(rng, themes)
    world = World(rng, size, gsd)
    theme(world)
    return world
