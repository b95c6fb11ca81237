import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skystill.cli.main import main
from skystill.data.annotations import Annotations, Record
from skystill.data.formats import coco
from skystill.data.inspect import print_tables, summarize, write_json
from skystill.data.palette import colour
from skystill.data.sheet import chosen, draw_sheet
from skystill.kinds import BoxKind


def record(path: Path, boxes: list[tuple[float, ...]], labels: list[int], columns: int = 4) -> Record:
    rows = np.array(boxes, dtype=np.float64).reshape(-1, columns)
    flags = np.zeros((2, len(rows)), dtype=np.bool_)
    return Record(path, 120, 100, rows, np.array(labels, dtype=np.int64), flags[0], flags[1], path.name)


def data(folder: Path, kind: BoxKind = "hbb") -> Annotations:
    """Two images, one without objects; a box of each size, the medium one ignored."""
    for name in ("a", "b"):
        Image.new("RGB", (120, 100), (40, 80, 40)).save(folder / f"{name}.png")
    boxes: list[tuple[float, ...]] = [
        (0, 0, 4, 4),
        (10, 0, 20, 10),
        (30, 0, 50, 20),
        (0, 50, 40, 90),
        (10, 2, 108, 100),
    ]
    if kind == "obb":
        boxes = [(a, b, c, b, c, d, a, d) for a, b, c, d in boxes]
    columns = 4 if kind == "hbb" else 8
    full = record(folder / "a.png", boxes, [0, 0, 1, 1, 0], columns)
    full.difficult[3] = True
    return Annotations(("car", "ship"), [full, record(folder / "b.png", [], [], columns)], kind, ["a reader's note"])


@pytest.mark.parametrize("kind", ["hbb", "obb"])
def test_the_numbers_are_those_of_a_count_by_hand(kind: BoxKind, tmp_path: Path) -> None:
    summary = summarize(data(tmp_path, kind))
    assert (summary.images, summary.empty_images, summary.objects, summary.ignored) == (2, 1, 4, 1)
    assert summary.per_class == {"car": 3, "ship": 1}
    assert summary.images_per_class == {"car": 1, "ship": 1}
    assert list(summary.per_size.values()) == [1, 1, 1, 0, 1]
    assert summary.size_percentiles["p0"] == 4
    assert summary.size_percentiles["p50"] == 15
    assert summary.size_percentiles["p100"] == 98
    assert summary.objects_per_image_percentiles["p50"] == 2
    assert summary.image_sizes == {"120 x 100": 2}
    assert summary.notes == ["a reader's note"]


def test_trouble_with_image_files_is_told(tmp_path: Path) -> None:
    annotations = data(tmp_path)
    annotations.records[0].width = 121
    (tmp_path / "b.png").unlink()
    notes = summarize(annotations).notes
    assert "1 image(s) cannot be used" in notes[1]
    assert "b.png does not exist" in notes[1]
    assert "a.png says 121 x 100, the file has 120 x 100" in notes[2]


def test_json_and_tables_show_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarize(data(tmp_path))
    write_json(summary, tmp_path / "out" / "summary.json")
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["per_class"] == {"car": 3, "ship": 1}
    print_tables(summary)
    shown = capsys.readouterr().out
    for part in (
        "2 images (1 without objects), 4 objects, 1 ignored",
        "75.0 %",
        "small 16-32",
        "note: a reader's note",
    ):
        assert part in shown


def test_a_data_set_without_anything_is_summarized_too(tmp_path: Path) -> None:
    nothing = Annotations((), [])
    summary = summarize(nothing)
    assert summary.objects == 0
    assert summary.size_percentiles == {}
    print_tables(summary)
    assert draw_sheet(nothing, summary, tmp_path / "sheet.png").is_file()


def test_images_without_objects_get_a_line_instead_of_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Annotations(("car", "ship"), data(tmp_path).records[1:], notes=["a reader's note"])
    print_tables(summarize(bare))
    assert capsys.readouterr().out.splitlines() == [
        "1 image (1 without objects), 0 objects, 0 ignored, hbb",
        "image sizes: 120 x 100 px",
        "no objects to count or measure; the classes are car, ship",
        "note: a reader's note",
    ]


def test_the_sheet_shows_boxes_in_their_class_colour(tmp_path: Path) -> None:
    annotations = data(tmp_path)
    bare = Annotations(annotations.classes, [record(tmp_path / "a.png", [], [])])
    both = []
    for subject in (annotations, bare):
        path = draw_sheet(subject, summarize(annotations), tmp_path / "sheet.png")
        both.append(np.asarray(Image.open(path).convert("RGB"))[450:])
    ship = np.array([int(colour(1)[i : i + 2], 16) for i in (1, 3, 5)])
    with_boxes, without = ((np.abs(sheet.astype(int) - ship).sum(-1) < 30).sum() for sheet in both)
    assert with_boxes > 50 > without
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_an_unreadable_image_does_not_stop_the_sheet(tmp_path: Path) -> None:
    annotations = data(tmp_path, "obb")
    (tmp_path / "a.png").write_text("no image")
    assert draw_sheet(annotations, summarize(annotations), tmp_path / "sheet.png").stat().st_size > 1000


def test_a_broken_image_of_a_long_path_does_not_warn(tmp_path: Path) -> None:
    annotations = data(tmp_path)
    for row in annotations.records:
        row.image = tmp_path / ("folder" * 30) / row.image.name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_sheet(annotations, summarize(data(tmp_path)), tmp_path / "sheet.png").is_file()


def test_a_data_set_without_any_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = data(tmp_path)
    coco.write(annotations, tmp_path / "truth.json")
    (tmp_path / "wrong").mkdir()
    words = ["data", "inspect", str(tmp_path / "truth.json"), "--images", str(tmp_path / "wrong")]
    assert main([*words, "--out", str(tmp_path / "look")]) == 2
    told = capsys.readouterr()
    first = f"image {tmp_path / 'wrong' / 'a.png'} does not exist. Correct the path or the folder of images."
    assert told.err.startswith(f"skystill: none of the 2 images can be used; the first: {first}")
    assert told.err.endswith("--images FOLDER.\n")
    assert (told.err.count("\n"), told.out) == (1, "")
    assert not (tmp_path / "look").exists()


def test_every_class_comes_up_on_the_sheet(tmp_path: Path) -> None:
    common = [record(Path(f"{i}.png"), [(0, 0, 9, 9)], [0]) for i in range(50)]
    rare = [record(Path("rare.png"), [(0, 0, 9, 9)], [1])]
    picked = chosen(Annotations(("car", "ship"), common + rare), count=4)
    assert len(picked) == 4
    assert any(r.image.name == "rare.png" for r in picked)
    assert len({id(r) for r in picked}) == 4


def test_the_sheet_takes_images_from_all_over_the_data_set() -> None:
    """Ten flights of twenty frames each, in any order: eight pictures are of seven flights or more."""
    frames = [record(Path(f"{i // 20}_{i % 20:02d}.png"), [(0, 0, 9, 9)], [0]) for i in range(200)]
    for seed in range(5):
        shuffled = [frames[i] for i in np.random.default_rng(seed).permutation(200)]
        picked = [r.image.name for r in chosen(Annotations(("car",), shuffled), count=8, seed=seed)]
        assert picked == [r.image.name for r in chosen(Annotations(("car",), frames), count=8, seed=seed)]
        assert len({name[0] for name in picked}) >= 7


def test_sizes_of_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarize(data(tmp_path))
    several = {f"{side} x 9": 8 - side for side in range(1, 8)}
    for sizes, line in (
        ({"640 x 512": 700}, "image sizes: 640 x 512 px"),
        ({"640 x 512": 9, "512 x 640": 2}, "image sizes: 640 x 512 px (9), 512 x 640 px (2)"),
        (several, "image sizes: 1 x 9 px (7), 2 x 9 px (6), 3 x 9 px (5), 4 x 9 px (4), 5 x 9 px (3) and 2 more"),
        ({"0 x 0": 3}, None),
    ):
        print_tables(replace(summary, image_sizes=sizes))
        told = [row for row in capsys.readouterr().out.splitlines() if row.startswith("image sizes")]
        assert told == ([line] if line else [])


def test_the_bars_of_classes_have_the_colours_of_the_boxes(tmp_path: Path) -> None:
    """The sheet's own pixels, in the half without pictures, of a class that the paper's white could hide."""
    annotations = data(tmp_path)
    path = draw_sheet(annotations, summarize(annotations), tmp_path / "sheet.png", count=0)
    pixels = np.asarray(Image.open(path).convert("RGB"))[:400]
    for label in (0, 1):
        wanted = [int(colour(label)[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == wanted).all(-1).sum() > 1000


def test_colours_differ() -> None:
    assert len({colour(label) for label in range(40)}) == 40
