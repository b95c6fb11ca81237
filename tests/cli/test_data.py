from pathlib import Path

import numpy as np
import pytest

from skystill.cli.data import convert, inspect, split, synth
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
