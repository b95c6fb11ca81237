"""DOTA's result files: one a class, which DOTA's own protocol reads back, and names that it could not tell apart."""

import shutil
from pathlib import Path

import pytest
import torch

from skystill.cli.main import main
from skystill.deployment.dota import write_dota
from skystill.deployment.predict import detection_rows
from skystill.structures import Detections

CLASSES = ("ship", "small/plane")


def test_oriented_boxes_are_written_by_their_corners(tmp_path: Path) -> None:
    found = Detections(torch.tensor([[50.0, 40.0, 30.0, 10.0, 0.0]]), torch.tensor([0.75]), torch.tensor([1]))
    write_dota(detection_rows(found, "flights/P0001.png", CLASSES), CLASSES, "obb", tmp_path)
    assert (tmp_path / "Task1_ship.txt").read_text() == ""
    name, score, *corners = (tmp_path / "Task1_small-plane.txt").read_text().split()
    assert (name, float(score)) == ("P0001", 0.75)
    pairs = {(float(x), float(y)) for x, y in zip(corners[::2], corners[1::2], strict=True)}
    assert pairs == {(35.0, 35.0), (65.0, 35.0), (65.0, 45.0), (35.0, 45.0)}


def test_the_verb_writes_upright_boxes_beside_the_json(depthwise: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(depthwise), str(photos), "--out", str(out), "--score", "0.05", "--dota", "true"]) == 0
    lines = [line.split() for file in sorted((out / "dota").iterdir()) for line in file.read_text().splitlines()]
    assert {file.name for file in (out / "dota").iterdir()} == {"Task2_ship.txt", "Task2_plane.txt"}
    assert len(lines) > 10
    assert all(float(x1) < float(x2) and float(y1) < float(y2) for _, _, x1, y1, x2, y2 in lines)


@pytest.mark.parametrize(("name", "word"), [("a b.png", "blanks"), ("deep/0.png", "one name")])
def test_names_that_dota_cannot_tell_apart(
    depthwise: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, word: str
) -> None:
    images = tmp_path / "images"
    shutil.copytree(photos, images)
    (images / name).parent.mkdir(exist_ok=True)
    shutil.copy(images / "0.png", images / name)
    out = tmp_path / "out"
    assert main(["predict", str(depthwise), str(images), "--out", str(out), "--dota", "true"]) != 0
    error = capsys.readouterr().err.strip()
    assert word in error
    assert "\n" not in error
    assert not out.exists()
