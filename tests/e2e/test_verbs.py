"""The user's path through the verbs, each on what the one before wrote; and what stops it."""

import json
from pathlib import Path

import pytest
import yaml

from skystill.cli.main import main
from skystill.detectors.weights import load

SMALL = "{neck_channels: 16, head_channels: 16, head_depth: 1}"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set in three parts, a teacher's run and a student's."""
    root = tmp_path_factory.mktemp("place")
    scenes = str(root / "scenes")
    assert main(["data", "synth", scenes, "--scenes", "8", "--size", "96", "--seed", "3"]) == 0
    whole = f"{scenes}/train.json"
    assert main(["data", "inspect", whole, "--out", str(root / "look"), "--pictures", "4"]) == 0
    shares = "{train: 0.5, val: 0.25, test: 0.25}"
    assert main(["data", "split", whole, str(root / "parts"), shares, "--place_images", "copy"]) == 0
    recipe = {
        "data": {"root": str(root / "parts"), "batch": 2, "workers": 0, "crop": 96}
        | {part: f"{part}.json" for part in ("train", "val", "test")},
        "detector": {"preset": "gfl_mnv3s_050", "settings": yaml.safe_load(SMALL)},
        "optim": {"warmup": 1, "ema": 0.9},
        "trainer": {"epochs": 2, "accelerator": "cpu"},
    }
    (root / "ship.yaml").write_text(yaml.safe_dump(recipe))
    teacher, student = str(root / "teacher"), str(root / "student")
    assert main(["train", str(root / "ship.yaml"), "--out", teacher]) == 0
    weights = f"[{teacher}/student.safetensors]"
    assert (
        main(["distill", str(root / "ship.yaml"), "--no_doctor", "--out", student, "--teacher.weights", weights]) == 0
    )
    return root


def test_data_and_runs_are_written(place: Path) -> None:
    assert {p.name for p in (place / "look").iterdir()} == {"sheet.png", "summary.json"}
    parts = [json.loads((place / "parts" / f"{part}.json").read_text()) for part in ("train", "val", "test")]
    assert sorted(len(p["images"]) for p in parts) == [2, 2, 4]
    for run, method in (("teacher", "alone"), ("student", "ltd")):
        names = {p.name for p in (place / run).iterdir()}
        assert names >= {"recipe.yaml", "metrics.csv", "metrics.json", "student.safetensors", "best.safetensors"}
        metrics = json.loads((place / run / "metrics.json").read_text())
        assert (metrics["name"], metrics["method"]) == ("ship", method)
        assert set(load(place / run / "student.safetensors").classes) == {c["name"] for c in parts[0]["categories"]}


def test_evaluate_scores_and_saves(place: Path, capsys: Capture) -> None:
    weights, recipe = str(place / "student" / "student.safetensors"), str(place / "student" / "recipe.yaml")
    for split in ("val", "test"):
        assert main(["evaluate", weights, recipe, "--split", split, "--save", str(place / split)]) == 0
        found = json.loads((place / split / "metrics.json").read_text())
        trained = json.loads((place / "student" / "metrics.json").read_text())[split]
        assert found["ap"] == pytest.approx(trained["ap"])  # what training said of the same weights
        assert found["errors"]["ap50"] == pytest.approx(found["ap50"])
        assert found["errors"]["counts"] == trained["errors"]["counts"]
        assert found["cost"]["parameters"] == sum(p.numel() for p in load(weights).parameters())
        assert "<svg" in (place / split / "pr_curves.svg").read_text()
        assert "<svg" in (place / split / "confusion.svg").read_text()
    printed = capsys.readouterr().out
    assert main(["evaluate", weights, recipe, "--out", str(place / "scores")]) == 2
    assert "Give --save DIR." in capsys.readouterr().err
    assert "M parameters" in printed
    assert f"{weights} on test" in printed.splitlines()  # however long the path is
    assert "AP50 lost" in printed
    assert "missed objects: " in printed


def test_export_then_predict_with_either_file(place: Path, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    weights, onnx = str(place / "student" / "student.safetensors"), str(place / "ship.onnx")
    assert main(["export", weights, "--out", onnx]) == 0
    pictures = str(next((place / "parts").rglob("*.png")).parent)
    found = []
    for n, file in enumerate((weights, onnx)):
        out = place / f"found{n}"
        assert main(["predict", file, pictures, "--out", str(out), "--score", "0.001"]) == 0
        found.append(json.loads((out / "detections.json").read_text()))
        assert len(list((out / "pictures").iterdir())) == len(list(Path(pictures).glob("*.png")))
    assert [type(f) for f in found] == [type(found[0])] * 2
    assert json.dumps(found[0])[:200]
    capsys.readouterr()


def test_a_run_is_not_overwritten_but_resumed(place: Path, capsys: Capture) -> None:
    command = ["train", str(place / "ship.yaml"), "--out", str(place / "teacher")]
    before = (place / "teacher" / "student.safetensors").read_bytes()
    assert main(command) == 2
    assert "holds a finished run. Give another --out" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert "It stays as it is" in capsys.readouterr().out
    after = load(place / "teacher" / "student.safetensors").state_dict()
    (place / "before.safetensors").write_bytes(before)
    assert all(v.equal(after[k]) for k, v in load(place / "before.safetensors").state_dict().items())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"bbox": [5, 5, -3, 4]}, "train.json"),
        ({"category_id": 999}, "train.json"),
        ({"image_id": 999}, "train.json"),
    ],
)
def test_annotation_faults_reach_the_user_as_one_line(
    harm: dict[str, object], message: str, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    values = json.loads((place / "parts" / "train.json").read_text())
    values["annotations"][0] |= harm
    (tmp_path / "train.json").write_text(json.dumps(values))
    command = ["train", str(place / "ship.yaml"), "--data.train", str(tmp_path / "train.json")]
    images = str(next((place / "parts").rglob("*.png")).parent)
    assert main([*command, "--data.images_train", images, "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert message in printed
    assert not (tmp_path / "run").exists()


def test_an_image_that_is_gone_or_broken_stops_in_one_line(place: Path, tmp_path: Path, capsys: Capture) -> None:
    values = json.loads((place / "parts" / "train.json").read_text())
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "train.json").write_text(json.dumps(values))
    for image in values["images"]:
        (folder / Path(image["file_name"]).name).write_bytes(b"no picture")
        image["file_name"] = Path(image["file_name"]).name
    (tmp_path / "train.json").write_text(json.dumps(values))
    command = ["train", str(place / "ship.yaml"), "--data.train", str(tmp_path / "train.json")]
    assert main([*command, "--data.images_train", str(folder), "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "scene_" in printed


def test_debug_raises(place: Path, tmp_path: Path) -> None:
    from skystill.errors import WeightsError

    command = ["distill", str(place / "ship.yaml"), "--teacher.weights", "[no.safetensors]", "--out", str(tmp_path)]
    with pytest.raises(WeightsError, match=r"no\.safetensors"):
        main([*command, "--debug"])
