"""Deep images whose sensor had fewer bits than their files: told once, and nothing else is called dark."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from skystill.data.annotations import Annotations, without_objects
from skystill.data.config import DataConfig
from skystill.data.darkness import dark
from skystill.data.inspect import check_images
from skystill.data.module import DataModule
from skystill.data.spread import spread


def write(folder: Path, largest: Sequence[float], dtype: type = np.uint16) -> list[Path]:
    """One TIFF of 4 x 5 pixels for each largest value."""
    paths = [folder / f"{i}.tif" for i in range(len(largest))]
    for path, top in zip(paths, largest, strict=True):
        tifffile.imwrite(path, np.linspace(0, top, 20).reshape(4, 5).astype(dtype))
    return paths


@pytest.mark.parametrize(
    ("largest", "dtype", "white"),
    [([900, 4080, 30], np.uint16, 4095), ([16383], np.uint16, 16383), ([255], np.uint16, 255), ([999], np.int16, 1023)],
)
def test_the_value_of_white_is_the_largest_of_the_fewest_bits(
    largest: list[float], dtype: type, white: int, tmp_path: Path
) -> None:
    paths = write(tmp_path, largest, dtype)
    told = dark(paths)
    brightest = paths[int(np.argmax(largest))]
    assert told.startswith(f"16-bit images whose largest value is {max(largest)}, such as {brightest}, are read as")
    assert f"perhaps {white}: predict's --white, data.white in recipes." in told


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [([16384], np.uint16), ([30, 40000], np.uint16), ([9], np.uint8), ([0.1], np.float32), ([0, 0], np.uint16)],
)
def test_bright_shallow_float_and_black_images_are_not_called_dark(
    largest: list[float], dtype: type, tmp_path: Path
) -> None:
    assert dark(write(tmp_path, largest, dtype)) == ""


def test_images_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path, [30, 40])
    paths[0].write_bytes(b"no image")
    assert "largest value is 40," in dark(paths)
    assert dark(paths[:1]) == dark([]) == ""


def test_the_data_module_tells_once_whatever_its_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [path.name for path in write(tmp_path, [30, 40])]
    rows = ", ".join(f'{{"id": {i}, "file_name": "{n}", "width": 5, "height": 4}}' for i, n in enumerate(names))
    (tmp_path / "a.json").write_text(
        f'{{"images": [{rows}], "annotations": [], "categories": [{{"id": 1, "name": "a"}}]}}'
    )
    config = {"root": str(tmp_path), "train": "a.json", "val": "a.json", "test": "a.json", "crop": 4, "workers": 2}
    with caplog.at_level(logging.WARNING):
        for white in (4095, None, None):
            data = DataModule(DataConfig(**config, white=white))  # type: ignore[arg-type]
            data.setup("test")
            data.setup()
            assert len(list(data.train_dataloader())) == 1
    assert caplog.text.count("data.white: 16-bit images whose largest value is 40") == 1


def test_inspect_notes_it(tmp_path: Path) -> None:
    def notes(paths: list[Path]) -> list[str]:
        return check_images(Annotations((), [without_objects(path) for path in paths]))

    assert [note.partition(",")[0] for note in notes(write(tmp_path, [30]))] == [
        "16-bit images whose largest value is 30"
    ]
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    assert notes([tmp_path / "a.png"]) == []


@pytest.mark.parametrize("n", [1, 2, 3, 10, 12, 97, 700])
def test_every_place_comes_once_and_the_first_ones_lie_apart(n: int) -> None:
    for start in {0, n // 2, n - 1}:
        order = spread(n, start)
        assert sorted(order) == list(range(n))
        assert order[0] == start
        eighths = {place * 8 // n for place in order[:8]}
        assert n < 90 or len(eighths) >= 6
    assert spread(0) == []
