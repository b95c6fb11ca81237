import json
from pathlib import Path

import numpy as np
import pytest

from skystill.cli.data import convert, inspect, split, synth
from skystill.cli.main import main
from skystill.data.formats import read_annotations
from skystill.data.synthetic import CLASSES, render


@pytest.mark.parametrize("kind", ["hbb", "obb"])
def test_synth_writes_what_render_says(kind: str, tmp_path: Path) -> None:
    synth(str(tmp_path), scenes=3, size=128, seed=5, kind=kind, first=7)  # type: ignore[arg-type]
    found = read_annotations(tmp_path / "train.json", kind=kind)  # type: ignore[arg-type]
    assert found.classes == CLASSES
    for i, record in enumerate(found.records):
        scene = render(7 + i, seed=5, size=128)
        np.testing.assert_allclose(record.boxes, scene.boxes if kind == "hbb" else scene.corners, atol=1e-4)
        assert record.labels.tolist() == scene.labels.tolist()


def test_the_verbs_work_on_each_others_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synth(str(tmp_path / "scenes"), scenes=6, size=128, format="dota", kind="obb")
    source = str(tmp_path / "scenes" / "labelTxt" / "train")
    convert(source, str(tmp_path / "yolo"), "yolo", kind="obb", place_images="link", classes=list(CLASSES))
    again = read_annotations(tmp_path / "yolo" / "data.yaml", kind="obb")
    before = read_annotations(source, kind="obb", classes=CLASSES)
    for one, other in zip(before.records, again.records, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-6)
    split(str(tmp_path / "yolo" / "data.yaml"), str(tmp_path / "parts"), {"train": 0.5, "val": 0.5}, kind="obb")
    parts = [read_annotations(tmp_path / "parts" / f"{name}.json", kind="obb") for name in ("train", "val")]
    assert sum(map(len, parts)) == 6
    assert all(record.image.is_file() for part in parts for record in part.records)
    capsys.readouterr()
    inspect(source, out=str(tmp_path / "look"), kind="obb", pictures=4)
    assert "6 images" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "look").iterdir()} == {"sheet.png", "summary.json"}


def test_what_is_printed_has_no_empty_line_and_counts_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synth(str(tmp_path), scenes=1, size=64)
    told = capsys.readouterr()
    objects = len(render(0, size=64).boxes)
    assert told.out == f"wrote {tmp_path}/train.json: 1 image, {objects} objects, {len(CLASSES)} classes\n"
    assert told.err == ""
    truth = json.loads((tmp_path / "train.json").read_text())
    truth["categories"] = truth["categories"][:1]
    truth["annotations"] = [truth["annotations"][0] | {"category_id": 1}]
    (tmp_path / "one.json").write_text(json.dumps(truth))
    convert(str(tmp_path / "one.json"), str(tmp_path / "out"), "coco")
    assert capsys.readouterr().out.endswith(": 1 image, 1 object, 1 class\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--scenes", "-1"], "--scenes is -1. Give at least 1."),
        (["--scenes", "0"], "--scenes is 0. Give at least 1."),
        (["--format", "kitti"], "format 'kitti' is unknown. Choose one of coco, dota, yolo, voc."),
        (["--size", "8"], "synthetic scene: index 0, seed 0 and size 8 cannot work."),
    ],
)
def test_synth_refuses_before_it_writes(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"skystill: {line}")
    assert (told.err.count("\n"), told.out) == (1, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "verb", [["inspect"], ["convert", "out", "coco"], ["split", "out", "{a: 0.5, b: 0.5}"], ["tile", "out", "9"]]
)
def test_annotations_without_images_are_refused(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    assert main(["data", verb[0], str(path), *verb[1:]]) == 2
    told = capsys.readouterr()
    assert (told.err, told.out) == (f"skystill: {path} lists no images. Give annotations that do.\n", "")


@pytest.mark.parametrize("to", ["coco", "dota", "yolo", "voc"])
def test_tile_writes_a_data_set_of_any_format(to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synth(str(tmp_path / "scenes"), scenes=2, size=128)
    capsys.readouterr()
    words = ["data", "tile", str(tmp_path / "scenes" / "train.json"), str(tmp_path / "out"), "64", "--overlap", "16"]
    assert main([*words, "--to", to, "--subset", "val"]) == 0
    told = capsys.readouterr()
    assert (told.out.count("18 images"), told.err) == (1, "")
    written = told.out.removeprefix("wrote ").partition(":")[0]
    source = f"{tmp_path / 'out' / 'data.yaml'}#val" if to == "yolo" else written
    found = read_annotations(source, classes=CLASSES)
    assert len(found) == 18
    assert {(record.width, record.height) for record in found.records} == {(64, 64)}
    whole = read_annotations(tmp_path / "scenes" / "train.json")
    shown = {shown.image.name.split("__")[0] for shown in found.records if (~shown.ignore).any()}
    assert shown == {record.image.stem for record in whole.records if len(record)}


def test_tiles_that_cannot_be_cut_are_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "tile", "nowhere.json", str(tmp_path / "out"), "64", "--overlap", "64"]) == 2
    assert capsys.readouterr().err.startswith("skystill: size 64 and overlap 64 cut no tiles.")


def test_oriented_voc_is_inspected_upright_and_its_order_of_classes_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synth(str(tmp_path), scenes=4, size=128, format="voc", kind="obb")
    capsys.readouterr()
    assert main(["data", "inspect", str(tmp_path / "ImageSets" / "Main" / "train.txt")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 images")
    assert "note: classes, sorted by name: " in out
    order = json.dumps(CLASSES)
    assert main(["data", "inspect", str(tmp_path / "ImageSets" / "Main" / "train.txt"), "--classes", order]) == 0
    assert "sorted by name" not in capsys.readouterr().out
