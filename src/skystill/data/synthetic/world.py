"""The plan of one scene: ground goes on the canvas at once, things wait until it is known how many there may be."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from random import Random

from skystill.data.synthetic.canvas import Canvas, Sprite
from skystill.data.synthetic.palette import WATERS, Colour, pick

SHIP, BOAT, AIRPLANE, VEHICLE, TRUCK, TANK, SPORTS, BRIDGE = range(8)
CLASSES = ("ship", "boat", "airplane", "vehicle", "truck", "storage-tank", "sports-ground", "bridge")
FEWEST, MOST = 3, 40  # objects in 256 x 256 pixels; the upper limit grows with the area
COMMON = (VEHICLE, BOAT, TRUCK)  # classes that give way when a scene is full


@dataclass(slots=True)
class Thing:
    """A sprite with its place (metres), heading (unit number) and label, None for clutter."""

    sprite: Sprite
    place: complex
    heading: complex
    label: int | None


class World:
    """A scene in the making. x and y are metres from the centre of the image; the whole world is turned at random."""

    def __init__(self, rng: Random, size: int, gsd: float) -> None:
        self.rng, self.size, self.gsd = rng, size, gsd
        low = rng.uniform(0.7, 2.2) if rng.random() < 0.8 else rng.uniform(2.2, 3.2)  # the sun's cotangent, roughly
        sun = cmath.rect(low * 0.6, rng.uniform(0, math.tau))
        self.canvas = Canvas(size, gsd, cmath.rect(1, rng.uniform(0, math.tau)), sun)
        self.sun = sun
        self.reach = size * gsd * 0.7072
        self.water: Colour = pick(rng, WATERS, 0.12)
        self.things: list[Thing] = []
        self.taken: list[tuple[complex, float]] = []
        self.fast = gsd <= 0.62  # whether road vehicles are large enough to be objects

    def add(self, sprite: Sprite, place: complex, heading: complex = 1, label: int | None = None) -> None:
        """Plan a thing, if it can be seen."""
        if self.canvas.sees(place, 0.5 * sum(sprite.extent())):
            self.things.append(Thing(sprite, place, heading, label))

    def sees(self, place: complex, radius: float = 0.0) -> bool:
        """Whether a disc of the world touches the image."""
        return self.canvas.sees(place, radius)

    def free(self, place: complex, radius: float) -> bool:
        """Take a disc of the ground, unless some of it is taken."""
        if any(abs(place - other) < radius + r for other, r in self.taken):
            return False
        self.taken.append((place, radius))
        return True

    def clear(self, place: complex, radius: float) -> bool:
        """Whether a disc stays off the middle of all planned objects: clutter may lean over objects, not cover them."""
        reach = radius + 1.0
        return not any(thing.label is not None and abs(thing.place - place) < reach for thing in self.things)

    def spot(self) -> complex:
        """Anywhere in the image."""
        half = self.size * self.gsd / 2
        z = complex(self.rng.uniform(-half, half), self.rng.uniform(-half, half))
        return z / (self.canvas.scale / abs(self.canvas.scale))

    def meters(self, pixels: float) -> float:
        """The length that so many pixels have here."""
        return pixels * self.gsd

    def build(self) -> None:
        """Put the things on the canvas; where there are too many objects, common ones are left out at random."""
        limit = MOST * max(1, self.size * self.size // 65536)
        objects = [thing for thing in self.things if thing.label is not None]
        surplus = len(objects) - limit
        left_out: set[int] = set()
        if surplus > 0:
            self.rng.shuffle(objects)
            objects.sort(key=lambda thing: thing.label not in COMMON)
            left_out = {id(thing) for thing in objects[:surplus]}
        for thing in self.things:
            if id(thing) not in left_out:
                self.canvas.put(thing.sprite, thing.place, thing.heading, thing.label)
