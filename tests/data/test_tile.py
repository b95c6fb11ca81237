"""Tiles: they cover the image, keep its values, and show of the truth what lies in them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry import Polygon, box

from skystill.data.annotations import Record
from skystill.data.images import read_pixels, write_pixels
from skystill.data.tile import check_names, tile, windows
from skystill.errors import ConfigError, DataError

Make = Callable[..., Record]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.data())
def test_windows_cover_the_image_and_share_the_overlap(height: int, width: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    found = windows(height, width, size, overlap)
    seen = np.zeros((height, width), dtype=int)
    for top, left, h, w in found:
        assert (h, w) == (min(size, height), min(size, width))
        assert min(top, left, height - top - h, width - left - w) >= 0
        seen[top : top + h, left : left + w] += 1
    assert seen.min() == 1 or overlap
    assert seen.min() >= 1
    assert len(set(found)) == len(found)
    for starts in ({window[0] for window in found}, {window[1] for window in found}):
        steps = np.diff(sorted(starts))
        assert (steps <= size - overlap).all()
        assert (steps > 0).all()


def test_an_image_that_fits_exactly_is_not_cut_twice() -> None:
    assert windows(64, 128, 64) == [(0, 0, 64, 64), (0, 64, 64, 64)]
    assert windows(30, 20, 64) == [(0, 0, 30, 20)]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (8, 8), (8, -1)])
def test_what_leaves_no_step_is_refused(size: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="cut no tiles"):
        windows(64, 64, size, overlap)


@pytest.mark.parametrize(
    ("bands", "dtype", "suffix"),
    [
        (1, np.uint8, ".png"),
        (3, np.uint8, ".png"),
        (4, np.uint8, ".tif"),
        (1, np.uint16, ".tif"),
        (3, np.uint16, ".tif"),
        (6, np.float32, ".tif"),
    ],
)
def test_values_of_pixels_stay(bands: int, dtype: type, suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (bands, 5, 7)).astype(dtype)
    path = write_pixels(tmp_path / "P0001.v2__0_8", values)
    assert path.name == f"P0001.v2__0_8{suffix}"
    again = read_pixels(path)
    assert again.dtype == values.dtype
    np.testing.assert_array_equal(again, values)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(boxes, name="a"): a record of a noisy image of 100 x 60 pixels."""

    def record(boxes: NDArray[np.float64], name: str = "a", width: int = 100, folder: str = "") -> Record:
        pixels = np.random.default_rng(1).integers(0, 255, (3, 60, 100)).astype(np.uint8)
        path = write_pixels(tmp_path / folder / name, pixels)
        flags = np.zeros((2, len(boxes)), dtype=np.bool_)
        labels = np.arange(len(boxes))
        return Record(path, width, 60 if width else 0, boxes, labels, flags[0], flags[1], f"truth of {name}")

    return record


def slow_share(corners: NDArray[np.float64], left: int, top: int, width: int, height: int) -> float:
    """By shapely."""
    shape = Polygon(corners.reshape(-1, 2))
    return float(shape.intersection(box(left, top, left + width, top + height)).area / shape.area)


@pytest.mark.parametrize("kind", ["hbb", "obb"])
def test_tiles_show_what_lies_in_them(kind: str, make: Make, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    centres, sides = generator.uniform([8, 8], [92, 52], (40, 2)), generator.uniform(4, 15, (40, 2))
    if kind == "hbb":
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    else:
        angle = generator.uniform(0, np.pi, 40)
        along = np.stack([np.cos(angle), np.sin(angle)], 1) * sides[:, :1] / 2
        across = np.stack([-np.sin(angle), np.cos(angle)], 1) * sides[:, 1:] / 2
        four = [along + across, across - along, -along - across, along - across]
        boxes = corners = np.concatenate([centres + offset for offset in four], 1)
    record = make(boxes)
    whole = read_pixels(record.image)
    tiles = list(tile([record], tmp_path / "out", 32, 8))
    assert len(tiles) == 3 * 4
    for shown in tiles:
        left, top = map(int, shown.image.stem.split("__")[1].split("_"))
        np.testing.assert_array_equal(read_pixels(shown.image), whole[:, top : top + 32, left : left + 32])
        assert (shown.width, shown.height) == (32, 32)
        shares = np.array([slow_share(c, left, top, 32, 32) for c in corners])
        assert shown.labels.tolist() == np.flatnonzero(shares >= 0.01).tolist()
        assert shown.difficult.tolist() == (shares[shown.labels] < 0.4).tolist()
        moved = boxes[shown.labels] - np.tile([left, top], boxes.shape[1] // 2)
        np.testing.assert_allclose(shown.boxes, moved.clip(0, 32) if kind == "hbb" else moved, atol=1e-9)


def test_tiles_without_objects_stay_unless_they_are_unwanted(make: Make, tmp_path: Path) -> None:
    record = make(np.array([[2.0, 2, 9, 9], [31, 40, 99, 41]]))  # the second shows less than 40% on any
    found = [len(shown) for shown in tile([record], tmp_path / "all", 24)]
    assert found == [1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]
    some = list(tile([record], tmp_path / "some", 24, empty=False))
    assert [shown.image.name for shown in some] == ["a__0_0.png"]
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["a__0_0.png"]


def test_an_image_of_unknown_size_is_cut_too(make: Make, tmp_path: Path) -> None:
    assert len(list(tile([make(np.zeros((0, 4)), width=0)], tmp_path / "out", 50))) == 4


def test_near_infrared_that_the_file_calls_alpha_stays_where_it_is_asked_for(make: Make, tmp_path: Path) -> None:
    record = make(np.zeros((0, 4)))
    four = np.random.default_rng(0).integers(0, 256, (60, 100, 4), dtype=np.uint8)
    record.image = tmp_path / "near.tif"
    tifffile.imwrite(record.image, four, photometric="rgb", extrasamples=["unassalpha"])
    for bands, kept in ((None, 3), (4, 4)):
        shown = next(tile([record], tmp_path / str(kept), 50, bands=bands))
        assert np.array_equal(read_pixels(shown.image), np.moveaxis(four[:50, :50, :kept], -1, 0))


def test_truth_of_another_size_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"truth of a: image a\.png is 100 x 60 pixels, but its annotation says 200 x 60"
    ):
        list(tile([make(np.zeros((0, 4)), width=200)], tmp_path / "out", 50))


def test_two_images_of_one_name_are_refused(make: Make) -> None:
    none = np.zeros((0, 4))
    with pytest.raises(DataError, match="share names"):
        check_names([make(none), make(none, folder="other")])
