"""Images to files: what is written, and that neither the kind of weights nor the batch changes it."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import skystill
from skystill.boxes.nms import Selection
from skystill.cli import predict as cli
from skystill.cli.main import main
from skystill.data.config import DataConfig
from skystill.data.images import find_images, read_image
from skystill.data.transforms import eval_transform
from skystill.deployment.inputs import batches, to_unit, with_longer_side
from skystill.deployment.predict import Summary, detection_rows, predict
from skystill.errors import ConfigError, DataError
from skystill.structures import Detections, Targets

SCORE = 0.05


def result(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "detections.json").read_text())
    return report


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [r["file_name"] for r in one["images"]] == [r["file_name"] for r in other["images"]]
    assert len(one["detections"]) == len(other["detections"]) > 10
    for a, b in zip(one["detections"], other["detections"], strict=True):
        assert (a["file_name"], a["category"]) == (b["file_name"], b["category"])
        assert a["bbox"] == pytest.approx(b["bbox"], abs=0.05)
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)


def test_weights_and_onnx_write_the_same(depthwise: Path, any_size: Path, photos: Path, tmp_path: Path) -> None:
    predict(depthwise, photos, tmp_path / "torch", SCORE)
    predict(any_size, photos, tmp_path / "onnx", SCORE)
    one, other = result(tmp_path / "torch"), result(tmp_path / "onnx")
    assert_alike(one, other)
    assert one["classes"] == ["ship", "plane"]
    assert one["images"][0] == {"file_name": "0.png", "width": 100, "height": 70}
    assert (one["weights"], other["weights"]) == ("tiny.safetensors", "any.onnx")


@pytest.mark.parametrize("size", [0, 48])
def test_the_batch_changes_nothing(dense: Path, photos: Path, tmp_path: Path, size: int) -> None:
    """Group norm sees the padding, so only images that pad alike may share a batch."""
    predict(dense, photos, tmp_path / "one", SCORE, size=size, draw=False)
    predict(dense, photos, tmp_path / "four", SCORE, size=size, batch=4, draw=False)
    assert_alike(result(tmp_path / "one"), result(tmp_path / "four"))


def test_boxes_are_those_of_the_detector(depthwise: Path, photos: Path, tmp_path: Path) -> None:
    """Step by step by hand: pad to 96 x 128, detect, clip to 70 x 100."""
    predict(depthwise, photos / "0.png", tmp_path, SCORE)
    pixels = torch.zeros(1, 3, 96, 128)
    pixels[0, :, :70, :100] = read_image(photos / "0.png") / 255
    seen = skystill.load(depthwise).predict(pixels, Selection(score=SCORE))[0]
    expected = []
    for (x1, y1, x2, y2), score in zip(seen.boxes.tolist(), seen.scores.tolist(), strict=True):
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, 100), min(y2, 70)
        if x2 > x1 and y2 > y1:
            expected.append([x1, y1, x2 - x1, y2 - y1, score])
    got = [[*row["bbox"], row["score"]] for row in result(tmp_path)["detections"]]
    assert len(got) > 3
    np.testing.assert_allclose(got, expected, atol=0.02)


def test_resized_images_give_boxes_in_pixels_of_the_file(depthwise: Path, photos: Path, tmp_path: Path) -> None:
    summary = predict(depthwise, photos, tmp_path, SCORE, size=64)
    report = result(tmp_path)
    sizes = {r["file_name"]: (r["width"], r["height"]) for r in report["images"]}
    assert sizes == {"0.png": (100, 70), "1.png": (90, 90), "2.png": (90, 90), "3.png": (60, 120)}
    right = dict.fromkeys(sizes, 0.0)
    for row in report["detections"]:
        x, y, w, h = row["bbox"]
        width, height = sizes[row["file_name"]]
        assert min(x, y) >= 0
        assert x + w <= width + 0.02
        assert y + h <= height + 0.02
        right[row["file_name"]] = max(right[row["file_name"]], x + w)
    assert right["0.png"] > 64  # else the boxes would be in pixels of the resized image
    assert sum(summary.objects.values()) == len(report["detections"])


@pytest.mark.parametrize("size", [0, 48, 100, 133])
def test_images_are_resized_as_for_evaluation(photos: Path, size: int) -> None:
    image = read_image(photos / "0.png")
    expected, _ = eval_transform(DataConfig(size=size))(image, Targets.empty())
    assert torch.equal(with_longer_side(image, size), expected)


def test_pictures_are_written_for_each_image(any_size: Path, photos: Path, tmp_path: Path) -> None:
    predict(any_size, photos, tmp_path, SCORE)
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    with Image.open(tmp_path / "pictures" / "3.jpg") as picture:
        assert picture.height == 2 * picture.width  # 120 x 60, enlarged to be looked at
    predict(any_size, photos, tmp_path / "bare", SCORE, draw=False)
    assert [p.name for p in (tmp_path / "bare").iterdir()] == ["detections.json"]


def test_what_an_earlier_run_left_is_told(any_size: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(any_size, photos, tmp_path, SCORE, dota=True).older == []
    fewer = predict(any_size, photos / "0.png", tmp_path, 0.1234567)
    assert fewer.older == [f"3 more pictures in {tmp_path / 'pictures'}", str(tmp_path / "dota")]
    assert fewer.lines()[2:] == [f"{what}: of an earlier run" for what in fewer.older]
    assert "objects that score 0.1235 or more" in fewer.lines()[0]


def test_a_second_run_does_not_take_the_pictures_of_the_first(
    any_size: Path, tmp_path: Path, make_images: Callable[[Path, list[tuple[int, int]]], Path]
) -> None:
    make_images(tmp_path, [(40, 40)])
    for _ in range(2):
        assert predict(any_size, tmp_path, tmp_path / "found", SCORE).images == 1
        assert [r["file_name"] for r in result(tmp_path / "found")["images"]] == ["0.png"]
    assert predict(any_size, tmp_path / "found" / "pictures", tmp_path / "found", SCORE).images == 1


def test_pictures_beside_the_images_are_not_taken_for_images(any_size: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "0.png")
    for where in (folder, folder, folder / "*.png"):
        assert predict(any_size, where, folder, SCORE).images == 1


def test_folders_keep_their_names_apart(
    depthwise: Path, tmp_path: Path, make_images: Callable[[Path, list[tuple[int, int]]], Path]
) -> None:
    make_images(tmp_path / "in" / "a", [(40, 40)])
    make_images(tmp_path / "in" / "b", [(40, 40)])
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / "b" / "0.bmp")
    predict(depthwise, tmp_path / "in", tmp_path / "out", SCORE)
    assert [r["file_name"] for r in result(tmp_path / "out")["images"]] == ["a/0.png", "b/0.bmp", "b/0.png"]
    pictures = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jpg"))
    assert pictures == ["pictures/a/0.jpg", "pictures/b/0.bmp.jpg", "pictures/b/0.png.jpg"]


def test_names_start_at_the_folder_that_was_given(
    depthwise: Path, tmp_path: Path, make_images: Callable[[Path, list[tuple[int, int]]], Path]
) -> None:
    make_images(tmp_path / "in" / "flight1" / "left", [(40, 40)])
    predict(depthwise, tmp_path / "in", tmp_path / "out", SCORE)
    assert [r["file_name"] for r in result(tmp_path / "out")["images"]] == ["flight1/left/0.png"]
    predict(depthwise, tmp_path / "in" / "*" / "left" / "*.png", tmp_path / "glob", SCORE)
    assert [r["file_name"] for r in result(tmp_path / "glob")["images"]] == ["0.png"]


def test_without_a_score_the_best_of_validation_counts_where_there_was_one(
    depthwise: Path, any_size: Path, dense: Path, photos: Path, tmp_path: Path
) -> None:
    for weights, score in ((depthwise, 0.15), (any_size, 0.15), (dense, 0.3)):
        summary = predict(weights, photos, tmp_path / weights.name)
        predict(weights, photos, tmp_path / "told", score=score)
        assert summary.score == result(tmp_path / weights.name)["score"] == score
        assert result(tmp_path / weights.name) == result(tmp_path / "told")


def test_an_image_smaller_than_a_cell_and_one_without_objects(any_size: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    summary = predict(any_size, tmp_path / "dot.png", tmp_path / "out", score=1.0)
    assert (summary.images, sum(summary.objects.values())) == (1, 0)
    assert result(tmp_path / "out")["detections"] == []


def test_one_size_pads_smaller_images_and_refuses_larger(one_size: Path, dense: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (128, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "fits.png")
    Image.fromarray(pixels[:100]).save(tmp_path / "small.png")
    predict(one_size, f"{tmp_path}/*.png", tmp_path / "onnx", SCORE, batch=2)
    predict(dense, f"{tmp_path}/*.png", tmp_path / "torch", SCORE)
    assert_alike(result(tmp_path / "torch"), result(tmp_path / "onnx"))
    Image.new("RGB", (161, 20)).save(tmp_path / "wide.png")
    with pytest.raises(ConfigError, match=r"20x161 pixels does not fit the .* input of 128x160\. Give --size 128"):
        predict(one_size, tmp_path / "wide.png", tmp_path / "out")


def test_bad_images_stop_or_are_listed(
    depthwise: Path, tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.png").write_bytes((photos / "0.png").read_bytes())
    (folder / "a.png").write_bytes((photos / "0.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        predict(depthwise, folder, tmp_path / "out")
    assert not (tmp_path / "out" / "detections.json").exists()
    summary = predict(depthwise, folder, tmp_path / "out", SCORE, on_bad_image="skip")
    assert (summary.images, summary.skipped) == (1, ["a.png"])
    assert result(tmp_path / "out")["skipped"] == ["a.png"]
    assert "skipped: image" in capsys.readouterr().err
    (folder / "b.png").unlink()
    with pytest.raises(DataError, match="no image of 1 can be read"):
        predict(depthwise, folder, tmp_path / "out2", on_bad_image="skip")


@pytest.mark.parametrize(
    ("arguments", "kind", "line"),
    [
        ({"score": 1.5}, ConfigError, "score 1.5"),
        ({"size": -1}, ConfigError, "size -1"),
        ({"batch": 0}, ConfigError, "batch 0"),
        ({"images": "/nowhere/*.png"}, DataError, "no image there"),
        ({"weights": "model.pt"}, ConfigError, "not a detector's file"),
    ],
)
def test_faults(
    depthwise: Path, photos: Path, tmp_path: Path, arguments: dict[str, Any], kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind, match=line) as error:
        predict(**({"weights": depthwise, "images": photos, "out": tmp_path / "out"} | arguments))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_device_is_one_line_of_the_command(
    depthwise: Path, any_size: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for weights, device in [(depthwise, "nonsense"), (any_size, "nonsense"), (any_size, "cuda")]:
        assert main(["predict", str(weights), str(photos), "--out", str(out), "--device", device]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"skystill: device '{device}'")
        assert said.count("\n") == 1
    assert not out.exists()


def test_out_is_a_file(depthwise: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    for draw in (True, False):
        with pytest.raises(DataError, match="cannot be written"):
            predict(depthwise, photos, tmp_path / "out", SCORE, draw=draw)


def test_patterns_folders_and_other_files(photos: Path, tmp_path: Path) -> None:
    assert find_images(photos / "1.png") == [photos / "1.png"]
    assert [p.name for p in find_images(f"{photos}/[12].png")] == ["1.png", "2.png"]
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="no image there"):
        find_images(tmp_path)


def test_batches_close_at_the_limit_and_at_another_shape() -> None:
    shapes = [(10, 20), (30, 32), (33, 20), (64, 32), (64, 31), (10, 10)]
    images = [(Path(str(i)), torch.full((1, h, w), float(i + 1))) for i, (h, w) in enumerate(shapes)]
    got = [([str(p) for p, _ in members], tuple(b.shape)) for members, b in batches(iter(images), 2, 32)]
    assert got == [
        (["0", "1"], (2, 1, 32, 32)),
        (["2", "3"], (2, 1, 64, 32)),
        (["4"], (1, 1, 64, 32)),
        (["5"], (1, 1, 32, 32)),
    ]
    first = next(batches(iter(images), 2, 32))[1]
    assert float(first[0].sum()) == 200.0
    assert float(first[0, 0, :10, :20].sum()) == 200.0


def test_deep_pixels_reach_one() -> None:
    assert float(to_unit(torch.full((1, 1, 1), 255, dtype=torch.uint8))) == 1.0
    assert float(to_unit(torch.full((1, 1, 1), 0.25))) == 0.25


def test_oriented_rows_have_corners_and_the_box_around_them() -> None:
    box = torch.tensor([[50.0, 40.0, 20.0, 10.0, float(np.pi / 4)]])
    row = detection_rows(Detections(box, torch.tensor([0.5]), torch.tensor([1])), "x.png", ("a", "b"))[0]
    half = (20 + 10) / 2 / np.sqrt(2)
    assert row["category"] == "b"
    assert row["bbox"] == pytest.approx([50 - half, 40 - half, 2 * half, 2 * half], abs=0.01)
    sides = np.diff(np.array([*row["corners"], *row["corners"][:2]]).reshape(5, 2), axis=0)
    assert np.hypot(*sides.T) == pytest.approx([20, 10, 20, 10], abs=0.02)


def test_the_command_tells_what_it_did(
    any_size: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.predict(any_size, str(photos), tmp_path / "out", score=SCORE, batch=2)
    said = capsys.readouterr().out
    found = result(tmp_path / "out")["detections"]
    assert f"4 images, {len(found)} objects that score {SCORE:.4g} or more: " in said
    assert f"{sum(r['category'] == 'ship' for r in found)} ship" in said
    assert "images/s to detect" in said
    assert "and 4 pictures in" in said


def test_dark_images_are_told_once_with_the_mend(
    depthwise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        Image.fromarray(np.linspace(0, 4080, 40 * 50).reshape(40, 50).astype(np.uint16)).save(tmp_path / f"{i}.png")
    words = ["predict", str(depthwise), str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert told.startswith("note: 16-bit images whose largest value is 4080, such as ")
    assert (told.count("\n"), told.count("perhaps 4095: predict's --white")) == (1, 1)
    assert main([*words, "--white", "4095"]) == 0
    assert capsys.readouterr().err == ""


def test_one_of_a_kind_is_told_as_one(
    any_size: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.predict(any_size, str(photos / "0.png"), tmp_path, score=1.0)
    first, _, last = capsys.readouterr().out.splitlines()
    assert first == "1 image, 0 objects that score 1 or more"
    assert last == f"wrote {tmp_path / 'detections.json'} and 1 picture in {tmp_path / 'pictures'}"
    assert predict(any_size, photos / "1.png", tmp_path, 1.0).older == [f"1 more picture in {tmp_path / 'pictures'}"]
    lone = Summary(0.3, images=2, objects=Counter(ship=1), seconds=1.0, detecting=1.0)
    assert lone.lines()[0] == "2 images, 1 object that scores 0.3 or more: 1 ship"


def test_no_box_is_rounded_to_nothing() -> None:
    thin = Detections(torch.tensor([[10.0, 20, 30, 20.001]]), torch.tensor([0.5]), torch.tensor([0]))
    assert detection_rows(thin, "a.png", ("ship",))[0]["bbox"] == [10.0, 20.0, 20.0, 0.01]
