"""Scenes repeat, their truth fits what is painted, and a series holds what a detector needs to learn from."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from skystill.data.synthetic import CLASSES, Scene, compose, render
from skystill.data.synthetic.aircraft import airplane
from skystill.data.synthetic.canvas import OVER, Canvas, Placed, Sprite
from skystill.data.synthetic.fixtures import bridge, sports_ground, tank
from skystill.data.synthetic.geometry import area, clip, rect, ring, sweep, turn
from skystill.data.synthetic.palette import SMOOTH
from skystill.data.synthetic.truth import tabulate, visible
from skystill.data.synthetic.vehicles import car, truck
from skystill.data.synthetic.vessels import boat, ship
from skystill.errors import ConfigError


@pytest.fixture(scope="module")
def series() -> list[Scene]:
    return [render(index, seed=11) for index in range(200)]


def digest(scene: Scene) -> str:
    parts = (scene.image, scene.corners, scene.labels, scene.boxes)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def lengths(scene: Scene) -> NDArray[np.float64]:
    corners = scene.corners.astype(np.float64).reshape(-1, 4, 2)
    sides = np.linalg.norm(corners[:, 1:3] - corners[:, 0:2], axis=2)
    return sides.max(axis=1)


# The series


@pytest.mark.parametrize("size", [64, 250, 256, 600])
def test_shapes_and_types(size: int) -> None:
    scene = render(4, size=size)
    m = len(scene.labels)
    assert (scene.image.shape, scene.image.dtype) == ((size, size, 3), np.uint8)
    assert (scene.corners.shape, scene.corners.dtype) == ((m, 8), np.float32)
    assert (scene.boxes.shape, scene.boxes.dtype) == ((m, 4), np.float32)
    assert (scene.labels.shape, scene.labels.dtype) == ((m,), np.int64)


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from skystill.data.synthetic import render; s = render(7, seed=3, size=200);"
        "print(hashlib.sha256(b''.join(p.tobytes() for p in (s.image, s.corners, s.labels, s.boxes))).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(render(7, seed=3, size=200))


def test_a_scene_does_not_depend_on_those_drawn_before() -> None:
    alone = digest(render(5))
    render(4)
    assert digest(render(5)) == alone


def test_seed_index_and_size_each_change_the_scene() -> None:
    base = render(2, seed=1)
    for other in (render(2, seed=2), render(3, seed=1), render(1, seed=2)):
        assert np.abs(base.image.astype(int) - other.image.astype(int)).mean() > 5
    larger = render(2, seed=1, size=260)
    assert digest(Scene(larger.image[:256, :256], *(larger.corners, larger.labels, larger.boxes))) != digest(base)


def test_boxes_are_inside_and_within_the_corners(series: list[Scene]) -> None:
    for scene in series:
        x1, y1, x2, y2 = scene.boxes.T
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= 256).all()
        assert (y2 <= 256).all()
        assert (np.maximum(x2 - x1, y2 - y1) >= 4).all()
        assert (np.minimum(x2 - x1, y2 - y1) > 0).all()
        xs, ys = scene.corners[:, 0::2], scene.corners[:, 1::2]
        assert (xs.min(1) <= x1 + 1e-2).all()
        assert (xs.max(1) >= x2 - 1e-2).all()
        assert (ys.min(1) <= y1 + 1e-2).all()
        assert (ys.max(1) >= y2 - 1e-2).all()


def test_corners_are_rectangles(series: list[Scene]) -> None:
    corners = np.concatenate([scene.corners for scene in series]).astype(np.float64).reshape(-1, 4, 2)
    edges = np.roll(corners, -1, axis=1) - corners
    lengths_ = np.linalg.norm(edges, axis=2)
    cosines = (edges * np.roll(edges, -1, axis=1)).sum(2) / (lengths_ * np.roll(lengths_, -1, axis=1))
    assert np.abs(cosines).max() < 1e-3
    assert np.allclose(lengths_[:, 0], lengths_[:, 2], atol=1e-2)


def test_every_class_occurs_and_none_rules(series: list[Scene]) -> None:
    images = Counter(label for scene in series for label in set(scene.labels.tolist()))
    assert sorted(images) == list(range(len(CLASSES)))
    assert min(images.values()) >= 15
    assert max(images.values()) <= 150


def test_objects_per_scene_and_empty_scenes(series: list[Scene]) -> None:
    counts = [len(scene.labels) for scene in series]
    empty = counts.count(0)
    assert 1 <= empty <= 16
    assert all(count == 0 or 3 <= count <= 40 for count in counts)
    assert len(set(counts)) > 20


def test_large_scenes_hold_more() -> None:
    counts = [len(render(index, size=1024).labels) for index in range(3)]
    assert all(count == 0 or 3 <= count <= 640 for count in counts)
    assert max(counts) > 40


def test_sizes_span_from_six_to_two_hundred_pixels(series: list[Scene]) -> None:
    pixels = np.concatenate([lengths(scene) for scene in series])
    assert np.percentile(pixels, 2) >= 5.5
    assert np.percentile(pixels, 15) <= 12
    assert 100 <= pixels.max() <= 215


def test_headings_go_everywhere(series: list[Scene]) -> None:
    corners = np.concatenate([scene.corners for scene in series])
    angles = np.arctan2(corners[:, 3] - corners[:, 1], corners[:, 2] - corners[:, 0])
    share = np.histogram(angles, bins=12, range=(-np.pi, np.pi))[0] / len(angles)
    assert share.min() > 0.03


def test_brightness_is_neither_burnt_nor_black(series: list[Scene]) -> None:
    burnt = np.mean([(scene.image == 255).mean() for scene in series])
    black = np.mean([(scene.image == 0).mean() for scene in series])
    assert burnt < 0.02
    assert black < 0.02


@pytest.mark.parametrize(("index", "seed", "size"), [(-1, 0, 256), (0, -1, 256), (0, 0, 63)])
def test_impossible_requests_are_named(index: int, seed: int, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"index {index}, seed {seed} and size {size} cannot work") as caught:
        render(index, seed=seed, size=size)
    assert "\n" not in str(caught.value)


# The truth against the paint

MAKERS: dict[str, Callable[[Random], Sprite | None]] = {
    "container ship, tanker or other": lambda rng: ship(rng, rng.uniform(30, 110)),
    "boat": lambda rng: boat(rng, rng.uniform(20, 60)),
    "jet": lambda rng: airplane(rng, rng.uniform(25, 80)),
    "propeller plane": lambda rng: airplane(rng, 12.5),
    "car": car,
    "truck": truck,
    "tank": lambda rng: tank(rng, rng.uniform(5, 40), 1 + 1j),
    "sports ground": lambda rng: sports_ground(rng, (110, 70)),
    "bridge": lambda rng: bridge(rng, rng.uniform(30, 90), 12, (90, 90, 90)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_box_fits_the_paint(name: str) -> None:
    """Paint alone on a colour that nothing else has; the box of the changed pixels is the oracle."""
    rng = Random(name)
    for _ in range(12):
        spin, heading = (np.exp(2j * np.pi * rng.random()) for _ in range(2))
        canvas = Canvas(256, rng.uniform(0.5, 0.8), complex(spin), 0.5 + 0.5j)
        canvas.fill((1, 254, 3), SMOOTH)
        sprite = MAKERS[name](rng)
        assert sprite is not None
        canvas.put(sprite, complex(rng.uniform(-8, 8), rng.uniform(-8, 8)), complex(heading), 0)
        _, boxes, _ = tabulate(canvas.placed, 256)
        ys, xs = np.nonzero((np.asarray(canvas.colour)[..., :3] != (1, 254, 3)).any(axis=2))
        painted = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / OVER
        assert np.abs(painted - boxes[0]).max() <= 1.0


def test_truth_is_what_the_rasters_show() -> None:
    """Every placed body drawn alone as a mask, large enough to see beyond the border, is the oracle of clipping."""
    size, pad, fine = 256, 256, 2
    for index in range(25):
        canvas = compose(index, seed=21, size=size)
        for thing in canvas.placed:
            mask = Image.new("1", ((size + 2 * pad) * fine,) * 2)
            draw = ImageDraw.Draw(mask)
            for outline in thing.body:
                draw.polygon([((z.real + pad) * fine, (z.imag + pad) * fine) for z in outline], fill=1)
            whole = np.asarray(mask)
            inner = whole[pad * fine : (pad + size) * fine, pad * fine : (pad + size) * fine]
            share = inner.sum() / whole.sum()
            seen = visible(thing, size)
            if seen is None:
                assert share < 0.48 or np.count_nonzero(inner.any(0)) <= 5 * fine
                continue
            assert share > 0.3
            ys, xs = np.nonzero(inner)
            box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / fine
            assert np.abs(box - seen[1]).max() <= 1.1


PUT = Canvas.put


class Owners:
    """Beside Canvas.put, paints every body with a number of its own; starts anew with each canvas."""

    def __init__(self) -> None:
        self.canvas: Canvas | None = None

    def put(
        self, canvas: Canvas, sprite: Sprite, place: complex, heading: complex = 1, label: int | None = None
    ) -> None:
        PUT(canvas, sprite, place, heading, label)
        if canvas is not self.canvas:
            self.canvas, self.last, self.full = canvas, Image.new("I", canvas.colour.size), list[int]()
        shift, factor = canvas.origin + canvas.scale * place, canvas.scale * heading
        alone = Image.new("1", self.last.size)
        for outline in sprite.body:
            points = [(z.real, z.imag) for z in turn(outline, factor, shift)]
            ImageDraw.Draw(self.last).polygon(points, fill=len(self.full) + 1)
            ImageDraw.Draw(alone).polygon(points, fill=1)
        self.full.append(int(np.count_nonzero(alone)) if label is not None else 0)

    def hidden(self) -> list[float]:
        """The share of each object's pixels that later things cover."""
        left = np.bincount(np.asarray(self.last).ravel(), minlength=len(self.full) + 1)[1:]
        return [1 - left[i] / full for i, full in enumerate(self.full) if full > 60]


def test_no_object_is_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[float] = []
    owners = Owners()
    monkeypatch.setattr(Canvas, "put", lambda canvas, *args: owners.put(canvas, *args))
    for index in range(60):
        if compose(index, seed=31).placed:
            hidden += owners.hidden()
    assert len(hidden) > 500
    assert np.mean(np.array(hidden) > 0.5) < 0.005
    assert np.mean(hidden) < 0.03


# Geometry

points = st.complex_numbers(max_magnitude=300, allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(points, st.floats(5, 150), st.floats(3, 100), st.floats(0, 6.28))
def test_clip_area_is_the_share_of_points_inside(centre: complex, length: float, width: float, angle: float) -> None:
    spin = complex(np.exp(1j * angle))
    outline = turn(rect(-length / 2, -width / 2, length / 2, width / 2), spin, centre)
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 81), np.linspace(-0.5, 0.5, 81)), -1).reshape(-1, 2)
    z = (grid[:, 0] * length + 1j * grid[:, 1] * width) * spin + centre
    share = np.mean((z.real >= 0) & (z.real <= 100) & (z.imag >= 0) & (z.imag <= 100))
    inside = clip(outline, 100)
    assert abs((abs(area(inside)) if inside else 0.0) / (length * width) - share) < 0.03
    assert all(-1e-6 <= p.real <= 100 + 1e-6 and -1e-6 <= p.imag <= 100 + 1e-6 for p in inside)


@settings(max_examples=100, deadline=None)
@given(points, st.floats(0.5, 20), st.integers(3, 16))
def test_sweep_is_the_hull_of_both_ends(by: complex, radius: float, corners: int) -> None:
    """Area of a swept convex outline: its own plus the shift times its width across the shift."""
    outline = ring(3 - 2j, radius, corners)
    across = [(z * by.conjugate()).imag / abs(by) if by else 0.0 for z in outline]
    expected = abs(area(outline)) + abs(by) * (max(across) - min(across))
    for way in (outline, outline[::-1]):
        assert abs(area(sweep(way, by))) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_thing_cut_by_more_than_sixty_percent_is_no_object() -> None:
    body = [[z + 50j for z in rect(-61, 0, 39, 10)]]
    assert visible(Placed(0, body, 1 + 0j), 100) is None
    seen = visible(Placed(0, [[z + 2 for z in body[0]]], 1 + 0j), 100)
    assert seen is not None
    assert seen[1] == pytest.approx([0, 50, 41, 60])
    assert seen[0] == pytest.approx([50j, 41 + 50j, 41 + 60j, 60j])
