"""Every format against what was written, against hand-written files, and against the other formats."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from skystill.data.annotations import Annotations, Record
from skystill.data.formats import FORMATS, guess, read_annotations
from skystill.kinds import BoxKind

CLASSES = ("plane", "ship", "storage tank")
SIZES = {"a": (64, 48), "b": (100, 80), "empty": (32, 32)}
KINDS: tuple[BoxKind, ...] = ("hbb", "obb")


def make(folder: Path, kind: BoxKind, rows: dict[str, list[tuple[float, ...]]]) -> Annotations:
    """Annotations over real images in `folder`/images; each row is a box; labels and the difficult flag take turns."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for name, (width, height) in SIZES.items():
        path = folder / "images" / f"{name}.png"
        if not path.exists():
            Image.new("RGB", (width, height)).save(path)
        boxes = np.array(rows.get(name, []), dtype=np.float64).reshape(-1, 4 if kind == "hbb" else 8)
        labels = np.arange(len(boxes), dtype=np.int64) % len(CLASSES)
        flags = np.zeros((2, len(boxes)), dtype=np.bool_)
        records.append(Record(path, width, height, boxes, labels, flags[0], flags[1], name))
    return Annotations(CLASSES, records, kind)


HBB = {"a": [(1.0, 2.0, 30.0, 40.0), (0.0, 0.0, 64.0, 48.0), (5.25, 6.5, 7.75, 9.125)], "b": [(10.0, 20.0, 90.0, 80.0)]}
OBB = {
    "a": [(10.0, 5.0, 30.0, 15.0, 25.0, 25.0, 5.0, 15.0), (1.0, 1.0, 9.0, 1.0, 9.0, 4.0, 1.0, 4.0)],
    "b": [(50.5, 10.25, 70.5, 30.25, 50.5, 50.25, 30.5, 30.25)],
}
ROWS: dict[BoxKind, dict[str, list[tuple[float, ...]]]] = {"hbb": HBB, "obb": OBB}


def write(annotations: Annotations, format: str, folder: Path) -> Path:
    destination = folder / "truth.json" if format == "coco" else folder / "labels"
    FORMATS[format].write(annotations, destination)
    return destination


def same(one: Annotations, other: Annotations, tolerance: float = 1e-6) -> None:
    assert one.classes == other.classes
    assert one.kind == other.kind
    by_name = {r.image.name: r for r in other.records}
    assert {r.image.name for r in one.records} == set(by_name)
    for record in one.records:
        twin = by_name[record.image.name]
        assert (record.width, record.height) == (twin.width, twin.height)
        assert record.image.resolve() == twin.image.resolve()
        np.testing.assert_allclose(record.boxes, twin.boxes, atol=tolerance)
        assert record.labels.tolist() == twin.labels.tolist()
        assert record.ignore.tolist() == twin.ignore.tolist()
        assert record.boxes.dtype == np.float64
        assert record.labels.dtype == np.int64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read_again(format: str, kind: BoxKind, tmp_path: Path) -> None:
    truth = make(tmp_path, kind, ROWS[kind])
    place = write(truth, format, tmp_path)
    assert guess(place) == format
    same(truth, read_annotations(place, classes=CLASSES, kind=kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second"), itertools.permutations(FORMATS, 2))
def test_every_format_converts_into_every_other(first: str, second: str, kind: BoxKind, tmp_path: Path) -> None:
    truth = make(tmp_path, kind, ROWS[kind])
    halfway = read_annotations(write(truth, first, tmp_path / "one"), first, tmp_path / "images", CLASSES, kind)
    place = write(halfway, second, tmp_path / "two")
    same(truth, read_annotations(place, second, tmp_path / "images", CLASSES, kind))


edge = st.floats(0, 1, allow_nan=False)
upright = st.tuples(edge, edge, edge, edge).filter(lambda b: abs(b[0] - b[2]) > 0.01 and abs(b[1] - b[3]) > 0.01)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(upright, max_size=6))
def test_any_boxes_survive(format: str, tmp_path: Path, boxes: list[tuple[float, ...]]) -> None:
    rows = [(min(a, c) * 64, min(b, d) * 48, max(a, c) * 64, max(b, d) * 48) for a, b, c, d in boxes]
    truth = make(tmp_path, "hbb", {"a": rows})
    same(truth, read_annotations(write(truth, format, tmp_path), format, classes=CLASSES))


@pytest.mark.parametrize("format", FORMATS)
def test_the_order_of_classes_is_told_where_nobody_gave_it(format: str, tmp_path: Path) -> None:
    place = write(make(tmp_path, "hbb", HBB), format, tmp_path)
    note = "classes, sorted by name: plane, ship, storage tank"
    assert [n.startswith(note) for n in read_annotations(place).notes] == [True] * (format in ("dota", "voc"))
    assert not read_annotations(place, classes=CLASSES).notes


@pytest.mark.parametrize("format", ["dota", "voc"])
def test_one_class_has_no_order_to_tell(format: str, tmp_path: Path) -> None:
    place = write(make(tmp_path, "hbb", {"a": HBB["a"][:1]}), format, tmp_path)
    found = read_annotations(place)
    assert (found.classes, found.notes) == (("plane",), [])


@pytest.mark.parametrize("format", FORMATS)
def test_oriented_files_give_upright_boxes_around_the_corners(format: str, tmp_path: Path) -> None:
    place = write(make(tmp_path, "obb", OBB), format, tmp_path)
    record = next(r for r in read_annotations(place, classes=CLASSES).records if r.image.stem == "a")
    np.testing.assert_allclose(record.boxes[0], [5, 5, 30, 25])


@pytest.mark.parametrize("format", ["coco", "dota", "voc"])
def test_flags_survive_and_yolo_leaves_ignored_objects_out(format: str, tmp_path: Path) -> None:
    truth = make(tmp_path, "hbb", HBB)
    truth.records[0].crowd[0] = True
    truth.records[0].difficult[2] = True
    same(truth, read_annotations(write(truth, format, tmp_path), format, classes=CLASSES))
    place = write(truth, "yolo", tmp_path / "yolo")
    record = read_annotations(place, images=tmp_path / "images").records[0]
    np.testing.assert_allclose(record.boxes, [HBB["a"][1]])


def test_coco_keeps_crowd_and_difficult_apart(tmp_path: Path) -> None:
    truth = make(tmp_path, "hbb", HBB)
    truth.records[0].crowd[0] = True
    truth.records[0].difficult[2] = True
    back = read_annotations(write(truth, "coco", tmp_path)).records[0]
    assert back.crowd.tolist() == [True, False, False]
    assert back.difficult.tolist() == [False, False, True]


def coco(folder: Path, **changes: object) -> Path:
    """A small COCO file by hand: category ids out of order, an image without objects, sizes left out of one."""
    make(folder, "hbb", {})
    content: dict[str, object] = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "empty.png", "width": 32, "height": 32}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 90,
                "bbox": [1, 2, 3, 4],
                "iscrowd": 1,
                "segmentation": {"counts": [1]},
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 4,
                "bbox": [10, 10, 5, 5],
                "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
            },
        ],
        "categories": [{"id": 90, "name": "ship"}, {"id": 4, "name": "plane"}],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_coco_labels_follow_category_ids_and_sizes_come_from_the_header(tmp_path: Path) -> None:
    found = read_annotations(coco(tmp_path))
    assert found.classes == ("plane", "ship")
    first, second = found.records
    assert first.labels.tolist() == [1, 0]
    assert first.boxes.tolist() == [[1, 2, 4, 6], [10, 10, 15, 15]]
    assert (first.width, first.height) == (64, 48)
    assert first.crowd.tolist() == [True, False]
    assert len(second) == 0
    assert second.boxes.shape == (0, 4)
    oriented = read_annotations(coco(tmp_path), kind="obb").records[0]
    assert oriented.boxes.tolist() == [[1, 2, 4, 2, 4, 6, 1, 6], [1, 1, 5, 1, 5, 5, 1, 5]]


def test_coco_takes_given_classes_in_their_order(tmp_path: Path) -> None:
    found = read_annotations(coco(tmp_path), classes=["ship", "bridge", "plane"])
    assert found.classes == ("ship", "bridge", "plane")
    assert found.records[0].labels.tolist() == [0, 2]


@pytest.mark.parametrize("header", ["", "imagesource:GoogleEarth\ngsd:0.146\n", "imagesource:UAV\n"])
def test_dota_by_hand(header: str, tmp_path: Path) -> None:
    make(tmp_path, "obb", {})
    labels = tmp_path / "labelTxt"
    labels.mkdir()
    lines = "1 1 5 1 5 5 1 5 ship 1\n\n2 2 9 2 9 4 2 4 large vehicle 0\n2 2 9 2 9 4 2 4 bridge\n"
    (labels / "a.txt").write_text(header + lines)
    found = read_annotations(tmp_path, kind="obb")
    assert found.classes == ("bridge", "large vehicle", "ship")
    record = next(r for r in found.records if r.image.stem == "a")
    assert record.labels.tolist() == [2, 1, 0]
    assert record.difficult.tolist() == [True, False, False]
    assert record.boxes[0].tolist() == [1, 1, 5, 1, 5, 5, 1, 5]
    assert [r.image.stem for r in found.records] == ["a", "b", "empty"]
    assert found.notes == [
        "2 image(s) have no label file and count as empty",
        "classes, sorted by name: bridge, large vehicle, ship; "
        "--classes '[bridge, large vehicle, ship]' sets their order (in recipes data.classes)",
    ]


def yolo(folder: Path, names: str = "names: {0: ship, 1: plane}", text: str = "1 0.5 0.5 0.25 0.5\n") -> Path:
    make(folder, "hbb", {})
    for split, name in (("train", "a"), ("val", "b")):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{name}.png").replace(folder / "images" / split / f"{name}.png")
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(text)
    path = folder / "data.yaml"
    path.write_text(f"path: .\ntrain: images/train\nval: images/val\n{names}\n")
    return path


@pytest.mark.parametrize("names", ["names: {0: ship, 1: plane}", "names: [ship, plane]"])
def test_yolo_by_hand_from_every_entrance(names: str, tmp_path: Path) -> None:
    path = yolo(tmp_path, names)
    for entrance in (f"{path}#train", tmp_path / "images" / "train", tmp_path / "labels" / "train"):
        assert guess(entrance) == "yolo"
        found = read_annotations(entrance)
        assert found.classes == ("ship", "plane")
        (record,) = found.records
        assert record.labels.tolist() == [1]
        assert record.boxes.tolist() == [[24, 12, 40, 36]]
    assert [len(r) for r in read_annotations(f"{path}#val").records] == [0]


def test_yolo_lists_of_images_and_paths_relative_to_a_parent(tmp_path: Path) -> None:
    path = yolo(tmp_path)
    (tmp_path / "train.txt").write_text("./images/train/a.png\n")
    path.write_text("train: train.txt\nval: [../images/val]\nnames: [ship, plane]\n")
    assert len(read_annotations(f"{path}#train").records[0]) == 1
    assert len(read_annotations(f"{path}#val").records) == 1


def test_yolo_polygons_give_the_box_around_them(tmp_path: Path) -> None:
    path = yolo(tmp_path, text="0 0.25 0.25 0.5 0.25 0.5 0.75\n")
    assert read_annotations(f"{path}#train").records[0].boxes.tolist() == [[16, 12, 32, 36]]


VOC = """<annotation><filename>a.png</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>ship</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>11</ymin><xmax>64</xmax><ymax>20</ymax></bndbox></object>
<object><name>plane</name><bndbox><ymin>5</ymin><xmin>3</xmin><xmax>3</xmax><ymax>5</ymax></bndbox></object></annotation>"""


def voc(folder: Path, text: str = VOC, annotations: str = "Annotations") -> Path:
    make(folder, "hbb", {})
    labels = folder / annotations
    labels.mkdir(parents=True)
    (labels / "a.xml").write_text(text)
    (labels / "b.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    return folder


@pytest.mark.parametrize("annotations", ["Annotations", "Annotations/Horizontal Bounding Boxes"])
def test_voc_by_hand_counts_pixels_from_one(annotations: str, tmp_path: Path) -> None:
    root = voc(tmp_path, annotations=annotations)
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a  1\n")
    assert guess(root) == guess(sets / "train.txt") == "voc"
    assert [r.image.stem for r in read_annotations(root).records] == ["a", "b"]
    found = read_annotations(sets / "train.txt")
    assert found.classes == ("plane", "ship")
    (record,) = found.records
    assert record.boxes.tolist() == [[0, 10, 64, 20], [2, 4, 3, 5]]
    assert record.labels.tolist() == [1, 0]
    assert record.difficult.tolist() == [True, False]


def test_voc_upright_boxes_come_before_those_around_oriented_ones(tmp_path: Path) -> None:
    points = zip(
        ("left_top", "right_top", "right_bottom", "left_bottom"), ((9, 2), (12, 5), (9, 8), (6, 5)), strict=True
    )
    oriented = "".join(f"<x_{name}>{x}</x_{name}><y_{name}>{y}</y_{name}>" for name, (x, y) in points)
    both = VOC.replace("</bndbox>", f"</bndbox><robndbox>{oriented}</robndbox>", 1)
    alone = both.replace(
        "</object></annotation>",
        f"</object><object><name>car</name><robndbox>{oriented}</robndbox></object></annotation>",
    )
    record = read_annotations(voc(tmp_path, alone)).records[0]
    assert record.boxes.tolist() == [[0, 10, 64, 20], [2, 4, 3, 5], [6, 2, 12, 8]]


def test_voc_images_may_lie_in_two_folders_as_in_dior(tmp_path: Path) -> None:
    root = voc(tmp_path)
    for folder, name in (("JPEGImages-trainval", "a"), ("JPEGImages-test", "b")):
        (root / folder).mkdir()
        (root / "images" / f"{name}.png").replace(root / folder / f"{name}.png")
    found = read_annotations(root)
    assert [r.image.parent.name for r in found.records] == ["JPEGImages-trainval", "JPEGImages-test"]
    assert (found.records[1].width, found.records[1].height) == SIZES["b"]
