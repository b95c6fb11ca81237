"""Oriented boxes through the verbs: trained, taught, scored, exported, drawn."""

import json
from pathlib import Path

import pytest

from skystill.cli.main import main
from skystill.detectors.weights import load

RECIPE = """
data: {format: synthetic, kind: obb, scene_size: 96, scenes_train: 4, scenes_val: 2, scenes_test: 2, batch: 2,
  workers: 0}
detector: {preset: gfl_mnv3s_050, settings: {neck_channels: 16, head_channels: 16, head_depth: 1}}
optim: {warmup: 1}
trainer: {epochs: 1, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an oriented teacher and a student."""
    root = tmp_path_factory.mktemp("oriented")
    (root / "obb.yaml").write_text(RECIPE)
    assert main(["train", str(root / "obb.yaml"), "--out", str(root / "teacher")]) == 0
    words = ["--teacher.weights", f"[{root / 'teacher' / 'student.safetensors'}]"]
    assert main(["distill", str(root / "obb.yaml"), *words, "--no_doctor", "--out", str(root / "student")]) == 0
    return root


def test_the_student_is_oriented_and_scored(place: Path) -> None:
    assert load(place / "student" / "student.safetensors").kind == "obb"
    metrics = json.loads((place / "student" / "metrics.json").read_text())
    assert {"ap", "ap50", "errors"} <= set(metrics["test"])
    columns = (place / "student" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/kld", "train/sem", "train/loc", "train/ccd"} <= set(columns)


def test_it_flies(place: Path) -> None:
    scenes = str(place / "scenes")
    assert main(["data", "synth", scenes, "--scenes", "2", "--size", "96", "--format", "dota", "--kind", "obb"]) == 0
    weights = str(place / "student" / "student.safetensors")
    assert main(["export", weights]) == 0  # refused unless it detects the same
    found = {}
    for suffix in (".safetensors", ".onnx"):
        out = place / suffix[1:]
        source = str(Path(weights).with_suffix(suffix))
        assert main(["predict", source, f"{scenes}/images/train", "--out", str(out), "--score", "0.0001"]) == 0
        found[suffix] = json.loads((out / "detections.json").read_text())["detections"]
    assert found[".onnx"]
    assert all(len(row["corners"]) == 8 for row in found[".onnx"])
    assert len(found[".onnx"]) == len(found[".safetensors"])


def test_pairs_of_two_kinds_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oriented = str(place / "teacher" / "student.safetensors")
    recipe, out = str(place / "obb.yaml"), str(place / "refused")
    for words, message in (
        (
            ["--data.kind", "hbb", "--teacher.weights", f"[{oriented}]"],
            "the student predicts hbb boxes, the teacher obb",
        ),
        (["--teacher.weights", f"[{oriented}]", "--method.name", "ltd_released"], "Use ltd for oriented ones"),
        (
            ["--data.kind", "hbb", "--detector.weights", oriented, "--teacher.weights", f"[{oriented}]"],
            "predicts obb boxes, and data.kind is hbb",
        ),
        (
            ["--detector.preset", "tv_ssdlite", "--detector.settings", "{}", "--teacher.weights", f"[{oriented}]"],
            "tv_ssdlite predicts hbb boxes, and data.kind is obb",
        ),
    ):
        assert main(["distill", recipe, *words, "--out", out]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not Path(out).exists()
