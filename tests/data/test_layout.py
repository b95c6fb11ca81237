from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skystill.data.annotations import Annotations, Record
from skystill.data.formats import FORMATS, read_annotations
from skystill.data.layout import write_dataset
from skystill.errors import ConfigError, DataError

BOX = np.array([[1.0, 2.0, 11.0, 12.0]])


def make(folder: Path, *names: str) -> Annotations:
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for name in names:
        Image.new("L", (32, 24)).save(folder / name)
        flags = np.zeros(1, dtype=np.bool_)
        records.append(Record(folder / name, 32, 24, BOX, np.array([1]), flags, flags.copy(), name))
    return Annotations(("car", "ship"), records)


@pytest.mark.parametrize("place", ["copy", "link"])
@pytest.mark.parametrize("format", FORMATS)
def test_subsets_written_one_after_another_form_one_data_set(format: str, place: str, tmp_path: Path) -> None:
    for subset, names in (("train", ("a.png", "b.png")), ("val", ("c.png",))):
        source = make(tmp_path / "source", *names)
        write_dataset(source, tmp_path / "out", format, subset, place)  # type: ignore[arg-type]
    again = {
        "coco": tmp_path / "out" / "{}.json",
        "dota": tmp_path / "out" / "labelTxt" / "{}",
        "yolo": tmp_path / "out" / "data.yaml#{}",
        "voc": tmp_path / "out" / "ImageSets" / "Main" / "{}.txt",
    }[format]
    for subset, names in (("train", ["a.png", "b.png"]), ("val", ["c.png"])):
        found = read_annotations(str(again).format(subset), classes=["car", "ship"])
        assert [r.image.name for r in found.records] == names
        for record in found.records:
            assert record.image.is_relative_to(tmp_path / "out")
            assert record.image.is_symlink() == (place == "link")
            np.testing.assert_allclose(record.boxes, BOX)
            assert record.labels.tolist() == [1]


def test_images_left_in_place_are_found_from_coco(tmp_path: Path) -> None:
    path = write_dataset(make(tmp_path / "source", "a.png"), tmp_path / "out", "coco")
    assert read_annotations(path).records[0].image.resolve() == tmp_path / "source" / "a.png"
    assert not (tmp_path / "out" / "images").exists()


def test_images_that_lie_where_they_belong_stay(tmp_path: Path) -> None:
    source = make(tmp_path / "images" / "train", "a.png")
    before = (tmp_path / "images" / "train" / "a.png").read_bytes()
    for format, place in (("coco", "copy"), ("yolo", "link")):
        write_dataset(source, tmp_path, format, "train", place)  # type: ignore[arg-type]
    assert (tmp_path / "images" / "train" / "a.png").read_bytes() == before


@pytest.mark.parametrize("format", FORMATS)
def test_a_split_that_is_there_stays_as_it_is(format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_dataset(make(tmp_path / "source", "a.png", "b.png"), out, format, "train", "copy")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"train\S* is there already. Remove it, or give another"):
        write_dataset(make(tmp_path / "source", "a.png"), out, format, "train", "copy")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_images_of_others_are_neither_overwritten_nor_taken_for_empty_ones(tmp_path: Path) -> None:
    out = tmp_path / "out"
    stranger = out / "images" / "train" / "z.png"
    make(stranger.parent, "z.png")
    with pytest.raises(DataError, match=r"z.png is no image of this split"):
        write_dataset(make(tmp_path / "source", "a.png"), out, "dota", "train", "copy")
    stranger.rename(stranger.with_name("a.png"))
    Image.new("L", (40, 24)).save(stranger.with_name("a.png"))
    with pytest.raises(DataError, match=r"a.png is there already and differs from .*source"):
        write_dataset(make(tmp_path / "source", "a.png"), out, "dota", "train", "link")
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["a.png"]


def test_faults_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = make(tmp_path / "one", "a.png")
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="'kitti' is unknown"):
        write_dataset(source, out, "kitti")
    for format in ("dota", "yolo", "voc"):
        with pytest.raises(ConfigError, match=rf"{format.upper()} pairs images .* --place_images copy or link"):
            write_dataset(source, out, format)
    twins = Annotations(source.classes, source.records + make(tmp_path / "two", "a.png").records)
    with pytest.raises(DataError, match="would share one place"):
        write_dataset(twins, out, "coco", "train", "copy")
    (tmp_path / "one" / "a.png").unlink()
    with pytest.raises(DataError, match="does not exist"):
        write_dataset(source, out, "coco", "train", "copy")
    assert not out.exists()


def test_voc_does_not_overwrite_an_image_of_another_subset(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "a.png")
    write_dataset(source, tmp_path / "out", "voc", "train", "copy")
    with pytest.raises(DataError, match=r"image a is in .*train.txt already"):
        write_dataset(source, tmp_path / "out", "voc", "val", "copy")
