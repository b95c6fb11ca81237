"""What a scene shows, how often, and at what scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from skystill.data.synthetic import blocks, roads
from skystill.data.synthetic.airfield import airfield
from skystill.data.synthetic.river import river
from skystill.data.synthetic.waters import harbour, marina, open_water, sea
from skystill.data.synthetic.world import World

Theme = Callable[[World], None]
Themes = tuple[tuple[float, float, float, Theme], ...]  # share, finest and coarsest metres a pixel, plan


def town(world: World) -> None:
    """Streets, houses, flats, car parks."""
    roads.cover(world, blocks.CITY, world.rng.uniform(45, 80), world.rng.uniform(8, 12))


def industry(world: World) -> None:
    """Tank farms, yards, warehouses."""
    roads.cover(world, blocks.INDUSTRY, world.rng.uniform(80, 150), world.rng.uniform(8, 12))


def sports(world: World) -> None:
    """Courts, pitches and tracks."""
    roads.cover(world, blocks.PLAY, world.rng.uniform(100, 190), world.rng.uniform(6, 9))


def countryside(world: World) -> None:
    """Fields and woods."""
    roads.cover(world, blocks.WILD, world.rng.uniform(90, 200), world.rng.uniform(3, 6))


THEMES: Themes = (
    (0.16, 0.30, 1.50, harbour),
    (0.08, 0.14, 0.50, marina),
    (0.09, 0.25, 1.40, sea),
    (0.15, 0.16, 0.90, airfield),
    (0.15, 0.11, 0.50, town),
    (0.12, 0.25, 0.90, industry),
    (0.11, 0.20, 0.90, sports),
    (0.14, 0.25, 0.90, river),
)
# Scenes without an object: whatever the plan puts there, only its clutter stays.
EMPTY: Themes = (
    (0.35, 0.30, 1.50, countryside),
    (0.20, 0.30, 1.50, open_water),
    (0.30, 0.25, 0.90, industry),
    (0.15, 0.15, 0.50, town),
)


def draw(rng: Random, themes: Themes) -> tuple[float, Theme]:
    """Metres a pixel and plan of a scene."""
    _, low, high, plan = rng.choices(themes, [theme[0] for theme in themes])[0]
    return math.exp(rng.uniform(math.log(low), math.log(high))), plan
