"""Each bad input gives one line that says what, where, and the mend."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skystill.data.annotations import Annotations, Record
from skystill.data.check import clean
from skystill.data.formats import FORMATS, guess, read_annotations
from skystill.data.formats.yolo import yaml_with
from skystill.errors import DataError

GOOD = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "ship"}],
}
BOX = "1 1 5 1 5 5 1 5"
XML = (
    "<annotation><size><width>64</width><height>48</height></size><object><name>ship</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "a.png")
    return tmp_path


def fails(*parts: str, **call: object) -> str:
    with pytest.raises(DataError) as caught:
        read_annotations(**call)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "in it."))
    for part in parts:
        assert part in message
    return message


def changed(**changes: object) -> str:
    return json.dumps(GOOD | changes)


def annotation(**changes: object) -> str:
    return changed(annotations=[GOOD["annotations"][0] | changes])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{", ["line 1", "no JSON"]),
        (XML, ["VOC"]),
        ("[]", ["a plain list"]),
        ('[{"image_id": 1, "score": 0.5}]', ["COCO results"]),
        ('{"shapes": [], "imagePath": "a.png"}', ["LabelMe"]),
        ('{"type": "FeatureCollection", "features": []}', ["GeoJSON"]),
        ('{"images": [], "annotations": []}', ["categories"]),
        ('{"images": [3], "annotations": [], "categories": []}', ["something else than objects"]),
        ("3", ["a single value"]),
        (changed(images=[{"id": 1, "width": 3, "height": 3}]), ["image id 1", "file_name"]),
        (changed(images=GOOD["images"] * 2), ["same id"]),
        (
            changed(images=[{"id": 1, "file_name": "a.png", "width": "wide", "height": 1}]),
            ["image id 1", "whole numbers"],
        ),
        (changed(categories=GOOD["categories"] * 2), ["categories share"]),
        (annotation(image_id=9), ["annotation id 5", "image id 9"]),
        (annotation(image_id=None), ["annotation id 5", "image_id"]),
        (annotation(category_id=9), ["annotation id 5", "category id 9"]),
        (annotation(bbox=[1, 2, 3]), ["annotation id 5", "4 numbers"]),
        (annotation(bbox=[1, 2, 3, "x"]), ["annotation id 5", "4 numbers"]),
        (annotation(bbox=None), ["annotation id 5", "4 numbers"]),
        (annotation(bbox=[1, 2, math.nan, 4]), ["image id 1 (a.png) annotation id 5", "no numbers"]),
        (annotation(bbox=[1, 2, 0, 4]), ["image id 1 (a.png) annotation id 5", "no area", "--fix true"]),
        (annotation(bbox=[1, 2, -3, 4]), ["image id 1 (a.png) annotation id 5", "no area"]),
        (annotation(bbox=[70, 2, 3, 4]), ["image id 1 (a.png) annotation id 5", "outside its image of 64 x 48"]),
    ],
)
def test_coco(text: str, parts: list[str], room: Path) -> None:
    path = room / "truth.json"
    path.write_text(text)
    fails(str(path), *parts, path=path)


def test_coco_without_polygon_cannot_be_oriented(room: Path) -> None:
    path = room / "truth.json"
    path.write_text(changed())
    fails("annotation id 5", "polygon of 4 points", path=path, kind="obb")
    told = fails("class 'ship' is unknown; the classes are plane, car. Fix", path=path, classes=["plane", "car"])
    assert told.endswith("add it to the class list (none may be left out), or remove its objects.")
    fails("the classes are car, Ship. Did you mean Ship? Fix the name", path=path, classes=["car", "Ship"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{BOX} shp 0\n", ["line 1", "'shp' is unknown", "ship, plane"]),
        (f"{BOX} ship 0\n1 2 3\n", ["line 2", "expected"]),
        (f"{BOX}\n", ["line 1", "expected"]),
        (XML, ["line 1", "VOC"]),
        (changed(), ["line 1", "COCO"]),
        ("0 0.5 0.5 0.1 0.1\n", ["line 1", "YOLO"]),
        ("0 0.5 0.5 0.1 0.1 0.2 0.2 0.3 0.3\n", ["line 1", "YOLO"]),
        ("nan 1 5 1 5 5 1 5 ship 0\n", ["a.txt line 1", "no numbers"]),
        ("1 1 1 1 1 1 1 1 ship 0\n", ["a.txt line 1", "no area"]),
        (f"{BOX} ship 0\n90 1 95 1 95 5 90 5 ship 0\n", ["a.txt line 2", "outside"]),
    ],
)
def test_dota(text: str, parts: list[str], room: Path) -> None:
    (room / "labels" / "a.txt").write_text(text)
    for kind in ("hbb", "obb"):
        fails("a.txt", *parts, path=room / "labels", format="dota", classes=["ship", "plane"], kind=kind)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2 0.5 0.5 0.1 0.1\n", ["line 1", "class 2 is unknown"]),
        ("-1 0.5 0.5 0.1 0.1\n", ["line 1", "class -1 is unknown"]),
        ("0 0.5 0.5 0.1 0.1\n0 0.5\n", ["line 2", "5 columns", "not 2"]),
        ("0 0.5 0.5 0.1 0.1 0.9\n", ["line 1", "predictions"]),
        ("0 30 20 5 5\n", ["line 1", "look like pixels"]),
        (f"{BOX} ship 0\n", ["line 1", "DOTA"]),
        (XML, ["line 1", "VOC"]),
        (changed(), ["line 1", "COCO"]),
        ("0 nan 0.5 0.1 0.1\n", ["a.txt line 1", "no numbers"]),
        ("0 0.5 0.5 0 0.1\n", ["a.txt line 1", "no area"]),
        ("0 1.5 0.5 0.1 0.1\n", ["a.txt line 1", "outside"]),
    ],
)
def test_yolo(text: str, parts: list[str], room: Path) -> None:
    (room / "labels" / "a.txt").write_text(text)
    fails("a.txt", *parts, path=room / "labels", format="yolo", classes=["ship", "plane"])


def test_yolo_boxes_cannot_be_oriented(room: Path) -> None:
    (room / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    fails("line 1", "9 columns", path=room / "labels", format="yolo", classes=["ship"], kind="obb")
    fails("no data.yaml or classes.txt", path=room / "labels", format="yolo")


@pytest.mark.parametrize(
    ("text", "split", "parts"),
    [
        ("train: images\nval: images\nnames: [a]", "", ["#train", "train, val"]),
        ("train: images\nnames: [a]", "#test", ["splits are: train"]),
        ("train: nowhere\nnames: [a]", "", ["nowhere", "does not exist"]),
        ("train: images", "", ["no names"]),
        ("train: images\nnames: [a, a]", "", ["different class names"]),
        ("train: images\nnames: {1: a, 2: b}", "", ["numbered 0, 1, 2"]),
        ("names: [a\n", "", ["not YAML"]),
        ("train: images\nnames: !!python/object/apply:os.getcwd []", "", ["not YAML"]),
    ],
)
def test_data_yaml(text: str, split: str, parts: list[str], room: Path) -> None:
    (room / "data.yaml").write_text(text)
    fails("data.yaml", *parts, path=f"{room}/data.yaml{split}")


def test_data_yaml_is_not_given_other_classes(room: Path) -> None:
    path = room / "data.yaml"
    path.write_text(yaml_with(path, "train", ["ship"]))
    assert "train: images/train\nval: images/val" in yaml_with(path, "val", ["ship"])
    with pytest.raises(DataError, match="other classes"):
        yaml_with(path, "val", ["plane"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{}", ["line 1", "COCO"]),
        ("0 0.5 0.5 0.1 0.1", ["line 1", "no XML"]),
        ("<kml/>", ["<kml>"]),
        (XML.replace("ship", "shp"), ["object 1", "'shp' is unknown"]),
        (XML.replace("<name>ship</name>", ""), ["object 1", "name is missing"]),
        (XML.replace("<xmax>5</xmax>", ""), ["object 1", "xmin ymin xmax ymax"]),
        (XML.replace("<xmax>5", "<xmax>five"), ["object 1", "xmin ymin xmax ymax"]),
        (XML.replace("<xmax>5", "<xmax>0"), ["a.xml object 1", "no area"]),
        (XML.replace("<xmin>1", "<xmin>nan"), ["a.xml object 1", "no numbers"]),
    ],
)
def test_voc(text: str, parts: list[str], room: Path) -> None:
    (room / "labels" / "a.xml").write_text(text)
    fails("a.xml", *parts, path=room / "labels", format="voc", classes=["ship"])


def test_voc_without_corners_cannot_be_oriented(room: Path) -> None:
    (room / "labels" / "a.xml").write_text(XML)
    fails("object 1", "robndbox", path=room / "labels", format="voc", kind="obb")


@pytest.mark.parametrize(
    ("format", "name", "text"), [("dota", "z.txt", ""), ("yolo", "z.txt", ""), ("voc", "z.xml", XML)]
)
def test_labels_without_image(format: str, name: str, text: str, room: Path) -> None:
    (room / "labels" / name).write_text(text)
    fails(name, "no image of the same name", path=room / "labels", format=format, classes=["ship"])
    fails("folder of images", path=room / "labels", format=format, classes=["ship"], images=room / "nowhere")


def test_dropped_boxes_are_named_as_the_file_names_them(room: Path) -> None:
    (room / "truth.json").write_text(annotation(bbox=[1, 2, 0, 4]))
    found = read_annotations(room / "truth.json", fix=True)
    assert found.notes[0].startswith(f"1 box(es) were dropped; the first: {room}/truth.json image id 1 (a.png) annotat")
    (room / "labels" / "a.txt").write_text(f"{BOX} ship 0\n\n1 1 1 1 1 1 1 1 ship 0\n")
    found = read_annotations(room / "labels", "dota", fix=True)
    assert "a.txt line 3 has no area" in found.notes[0]
    assert len(found.records[0]) == 1


@pytest.mark.parametrize(
    ("format", "name", "text"), [("dota", "a.txt", ""), ("yolo", "a.txt", ""), ("voc", "a.xml", XML)]
)
def test_without_images_the_option_is_named(format: str, name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "here" / "labels").mkdir(parents=True)
    (tmp_path / "here" / "labels" / name).write_text(text)
    mend = "Give it with --images FOLDER"
    fails("no folder of images", mend, path=tmp_path / "here" / "labels", format=format, classes=["ship"])


def test_the_folders_inside_that_hold_labels_are_named(room: Path) -> None:
    labels = room / "labelTxt"
    labels.mkdir()
    fails(f"{labels} holds no .txt file. Give the folder of DOTA labels", path=room)
    for split in ("val", "train"):
        (labels / split).mkdir()
        (labels / split / "a.txt").write_text(f"{BOX} ship 0\n")
    fails(f"{labels} holds no .txt file. Give {labels}/train or {labels}/val.", path=room)
    fails("Perhaps you mean train or val in it.", path=labels)


def test_two_images_of_one_name(room: Path) -> None:
    Image.new("RGB", (64, 48)).save(room / "images" / "a.jpg")
    (room / "labels" / "a.txt").write_text("")
    fails("a.jpg", "a.png", "share one annotation", path=room / "labels", format="dota")


@pytest.mark.parametrize("format", FORMATS)
def test_a_path_that_is_not_there(format: str, tmp_path: Path) -> None:
    fails("nowhere", path=tmp_path / "nowhere", format=format, classes=["ship"])


def test_guessing_fails_in_one_line(room: Path) -> None:
    fails("unknown", "coco, dota, yolo, voc", path=room, format="kitti")
    fails("does not exist", path=room / "nowhere")
    (room / "truth.json").write_text(changed())
    fails("looks like none of the formats", "--format NAME", "truth.json", path=room)
    fails("looks like none", path=room / "images" / "a.png")


def test_files_of_json_beside_folders_of_dota_are_named_first(room: Path) -> None:
    (room / "labels_dota" / "val").mkdir(parents=True)
    (room / "labels_dota" / "val" / "a.txt").write_text(f"{BOX} ship 0\n")
    for name in ("val.json", "train.json"):
        (room / name).write_text(changed())
    fails("more than one format. Give one of them: train.json, val.json, labels_dota/val.", path=room)
    (room / "labels_dota" / "a.txt").write_text(f"{BOX} ship 0\n")
    assert guess(room) == "dota"  # plain enough, whatever other files say


@pytest.mark.parametrize(
    ("format", "name"), [("coco", "labels/a.json"), ("voc", "labels/a.xml"), ("dota", "labels/a.txt")]
)
def test_binary_is_no_annotation(format: str, name: str, room: Path) -> None:
    (room / name).write_bytes((room / "images" / "a.png").read_bytes())
    fails(name, "no UTF-8 text", path=room / name, format=format)


def record(*boxes: tuple[float, ...]) -> Record:
    m = len(boxes)
    flags = np.zeros(m, dtype=np.bool_)
    rows = np.array(boxes, dtype=np.float64)
    return Record(Path("a.png"), 64, 48, rows, np.arange(m), flags, flags.copy(), "a.txt")


def test_clean_clips_with_a_note_and_drops_what_cannot_be() -> None:
    boxes = [(-5.0, 1, 10, 10), (0, 0, 64.001, 48), (3, 3, 3, 9), (90, 0, 95, 5), (0, 0, math.inf, 5), (60, 40, 70, 50)]
    mended = clean(Annotations(("x",), [record(*boxes)]), fix=True)
    assert mended.records[0].boxes.tolist() == [[0, 1, 10, 10], [0, 0, 64, 48], [60, 40, 64, 48]]
    assert mended.records[0].labels.tolist() == [0, 1, 5]
    assert mended.notes == [
        "2 box(es) reached beyond the image and were clipped; the first: a.txt box 0",
        "3 box(es) were dropped; the first: a.txt box 3 lies outside its image of 64 x 48 pixels: 90 0 95 5",
    ]


def test_clean_leaves_oriented_boxes_their_shape_and_unknown_sizes_alone() -> None:
    over = (-5.0, 1, 10, 1, 10, 5, -5, 5)
    assert clean(Annotations(("x",), [record(over)], "obb")).records[0].boxes.tolist() == [list(over)]
    unknown = record((90.0, 0, 95, 5))
    unknown.width = unknown.height = 0
    assert len(clean(Annotations(("x",), [unknown])).records[0]) == 1


@pytest.mark.parametrize("format", ["dota", "yolo", "voc"])
def test_writers_do_not_overwrite_one_image_by_another(format: str, tmp_path: Path) -> None:
    twins = Annotations(("x",) * 6, [record((1, 1, 5, 5)), record((2, 2, 5, 5))])
    with pytest.raises(DataError, match="share one"):
        FORMATS[format].write(twins, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "truth.json"
    target.write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        FORMATS["coco"].write(Annotations(("x",), [record((1, 1, 5, 5))]), target)
    assert [p.name for p in tmp_path.iterdir()] == ["truth.json"]
    assert target.read_text() == "before"


def test_an_empty_folder_is_guessed_by_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="looks like none"):
        guess(tmp_path)
