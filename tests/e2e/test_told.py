"""Teachers beside truth, by the verbs: images without labels, and a file of predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from skystill.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 64 px scenes on disk, three images that nobody labelled, a recipe, and a teacher that trained."""
    root = tmp_path_factory.mktemp("place")
    for subset, first, count in (("train", 0, 4), ("val", 100, 2), ("more", 200, 3)):
        words = ["--scenes", str(count), "--size", "64", "--first", str(first), "--subset", subset]
        assert main(["data", "synth", str(root / "scenes"), *words]) == 0
    (root / "scenes" / "more.json").rename(root / "more.json")
    recipe = {
        "data": {"root": str(root / "scenes"), "train": "train.json", "val": "val.json", "batch": 2, "workers": 0}
        | {"crop": 64, "replay": 1, "unlabelled": "images/more"},
        "detector": {"preset": "gfl_mnv3s", "settings": {"neck_channels": 16, "head_channels": 16, "head_depth": 1}},
        "optim": {"warmup": 1},
        "trainer": {"epochs": 1, "accelerator": "cpu"},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(root / "recipe.yaml"), "--out", str(root / "teacher")]) == 0
    return root


def predicted(root: Path, change: dict[str, Any] | None = None) -> str:
    """The truth as COCO results, the first one changed: by id for training images, by name for unlabelled ones."""
    rows = []
    for file in (root / "scenes" / "train.json", root / "more.json"):
        truth = json.loads(file.read_text())
        names = {image["id"]: image["file_name"] for image in truth["images"]} if file.stem == "more" else {}
        for thing in truth["annotations"]:
            key, name = thing["image_id"], names.get(thing["image_id"])
            where = {"image_id": key} if name is None else {"file_name": name}
            rows.append(where | {"category_id": thing["category_id"], "bbox": thing["bbox"], "score": 0.9})
    rows[0] |= change or {}
    path = root / ("found.json" if change is None else "changed.json")
    path.write_text(json.dumps(rows))
    return str(path)


def row(folder: Path) -> dict[str, str]:
    with (folder / "metrics.csv").open() as file:
        return next(r for r in csv.DictReader(file) if r["train/loss"])


def teacher(root: Path) -> list[str]:
    return ["--teacher.weights", f"[{root}/teacher/student.safetensors]"]


def test_the_student_alone_leaves_unlabelled_images_out(place: Path, capsys: Capture) -> None:
    assert main(["train", str(place / "recipe.yaml"), "--out", str(place / "alone")]) == 0
    assert capsys.readouterr().out.count("data.unlabelled (images/more) is left out") == 1
    assert main(["train", str(place / "recipe.yaml"), "--data.unlabelled", "null", "--out", str(place / "plain")]) == 0
    assert row(place / "alone")["train/loss"] == row(place / "plain")["train/loss"]


def test_unlabelled_images_are_distilled_live_and_from_a_cache(place: Path, capsys: Capture) -> None:
    words = [str(place / "recipe.yaml"), *teacher(place), "--method.name", "bckd", "--teacher.unsure", "0.001"]
    assert main(["doctor", *words]) == 2  # its teacher has hardly learned
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 train, 2 val images, and 3 unlabelled, 2 of them beside each 2 labelled" in printed
    assert "2 steps an epoch" in printed
    words += ["--teacher.sure", "0.01"]
    assert main(["distill", *words, "--no_doctor", "--out", str(place / "more")]) == 0
    assert main(["distill", *words, "--data.unlabelled", "null", "--no_doctor", "--out", str(place / "fewer")]) == 0
    live, without = row(place / "more"), row(place / "fewer")
    assert live["step"] == without["step"]  # as many steps, more images in each
    assert live["train/loss"] != without["train/loss"]
    cached = ["--teacher.cache", str(place / "cache"), "--out", str(place / "cached"), "--no_doctor"]
    assert main(["distill", *words, *cached]) == 0
    assert "teacher cache: 7/7 views" in capsys.readouterr().out
    assert float(row(place / "cached")["train/loss"]) == pytest.approx(float(live["train/loss"]), rel=2e-2)


@pytest.mark.parametrize("method", [["--method.name", "bckd"], ["--method.settings.ccd", "0"]], ids=["bckd", "ltd"])
def test_a_file_of_predictions_teaches(method: list[str], place: Path, capsys: Capture) -> None:
    words = [str(place / "recipe.yaml"), "--teacher.weights", f"[{predicted(place)}]", *method]
    out = place / method[-1]
    assert main(["doctor", *words]) == 0
    printed = "".join(capsys.readouterr().out.split())  # lines break anywhere
    assert "detectionsin6of7trainingimages,nothingin1" in printed
    assert "AP100.0,AP50100.0on4trainimages" in printed
    assert main(["distill", *words, "--no_doctor", "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    (teacher,) = metrics["teachers"]
    assert teacher.keys() == {"weights", "digest"}
    assert teacher["weights"] == predicted(place)
    assert float(row(out)["train/loss"]) > 0


def test_what_predict_writes_can_teach(place: Path) -> None:
    images, out = str(place / "scenes" / "images"), str(place / "predicted")
    weights = str(place / "teacher" / "student.safetensors")
    assert main(["predict", weights, images, "--out", out, "--score", "0.001", "--draw", "false"]) == 0
    words = [str(place / "recipe.yaml"), "--teacher.weights", f"[{out}/detections.json]", "--method.name", "bckd"]
    assert main(["distill", *words, "--no_doctor", "--out", str(place / "by_file")]) == 0


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        ([], {"image_id": 99}, "tells of 1 image(s) that the data does not have, such as '99'"),
        ([], {"score": 3}, "score is 3"),
        ([], None, "says nothing of any image of data.unlabelled"),
        (["--method.name", "pkd"], {}, "black box without features"),
        (["--teacher.cache", "cache"], {}, "teacher.cache has nothing to keep of"),
        (["--teacher.inherit", "true", "--method.name", "bckd"], {}, "has no weights to inherit"),
        (["--teacher.sure", "0.1"], {}, "Give 0 < unsure <= sure <= 1"),
        (["--data.unlabelled", "none"], {}, "data.unlabelled: "),
    ],
)
def test_faults_reach_the_user_as_one_line(
    words: list[str], change: dict[str, Any] | None, message: str, place: Path, capsys: Capture
) -> None:
    (place / "scenes" / "none").mkdir(exist_ok=True)
    file = Path(predicted(place, change or {}))
    if change is None:
        file.write_text(json.dumps([row for row in json.loads(file.read_text()) if "image_id" in row]))
    start = ["distill", str(place / "recipe.yaml"), "--teacher.weights", f"[{file}]"]
    assert main([*start, *words, "--out", str(place / "bad")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (place / "bad").exists()
