"""Teachers that are not like the student, by the verbs: other names, roles, exported files, upright boxes."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import skystill
from skystill.cli.main import main
from skystill.detectors.weights import create, load, save

Capture = pytest.CaptureFixture[str]
SMALL = {"neck_channels": 16, "head_channels": 16, "head_depth": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of planes, ships and more on disk, a recipe, and teachers that learned a little."""
    root = tmp_path_factory.mktemp("place")
    for subset, first, count in (("train", 0, 4), ("val", 100, 2)):
        words = ["--scenes", str(count), "--size", "64", "--first", str(first), "--subset", subset]
        assert main(["data", "synth", str(root / "scenes"), *words]) == 0
    recipe = {
        "data": {"root": str(root / "scenes"), "train": "train.json", "val": "val.json", "batch": 2, "workers": 0}
        | {"crop": 64},
        "detector": {"preset": "gfl_mnv3s", "settings": SMALL},
        "optim": {"warmup": 1},
        "trainer": {"epochs": 1, "accelerator": "cpu"},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(root / "recipe.yaml"), "--out", str(root / "run")]) == 0
    save(guessing(load(root / "run" / "student.safetensors")), root / "same.safetensors")
    renamed(root)
    return root


def guessing(detector: skystill.Detector) -> skystill.Detector:
    """One step teaches nothing; this one finds something at least, so the doctor lets it pass."""
    torch.nn.init.constant_(detector.get_parameter("head.cls.bias"), -2.0)
    return detector


def renamed(root: Path) -> None:
    """The same teacher, whose first class goes by another name; and one that knows this class alone."""
    same = load(root / "same.safetensors")
    other = create("gfl_mnv3s", ("thing", *same.classes[1:]), **SMALL)
    other.load_state_dict(same.state_dict())
    save(other, root / "other.safetensors")
    save(guessing(create("gfl_mnv3s", ("thing",), **SMALL)), root / "lone.safetensors")


def classes(root: Path) -> tuple[str, ...]:
    return load(root / "same.safetensors").classes


def said(capsys: Capture) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_teacher_with_other_names_teaches_as_one_with_the_same(place: Path, capsys: Capture) -> None:
    first, *_ = classes(place)
    losses = {}
    for name, words in (("same", []), ("other", ["--teacher.classes", json.dumps({"thing": first})])):
        run = [str(place / "recipe.yaml"), "--teacher.weights", f"[{place / name}.safetensors]", *words]
        assert main(["doctor", *run]) == 0
        assert ("thing is" in said(capsys)) == (name == "other")
        assert main(["distill", *run, "--no_doctor", "--out", str(place / f"by_{name}")]) == 0
        header, row = (place / f"by_{name}" / "metrics.csv").read_text().splitlines()[:2]
        losses[name] = dict(zip(header.split(","), row.split(","), strict=True))["train/sem"]
    assert losses["same"] == losses["other"]


def test_two_teachers_of_different_roles(place: Path, capsys: Capture) -> None:
    first, *rest = classes(place)
    roles = [{"share": 2, "classes": [first]}, {"classes": rest, "sides": [0, 24]}]
    words = ["--teacher.weights", f"[{place}/lone.safetensors,{place}/same.safetensors]"]
    words += ["--teacher.classes", json.dumps({"thing": first}), "--teacher.roles", json.dumps(roles)]
    assert main(["doctor", str(place / "recipe.yaml"), *words]) == 0
    printed = said(capsys)
    assert f"says nothing of {', '.join(rest)}" in printed
    assert f"says nothing of {first}" in printed
    assert "speaks of sides from 0 to 24 px" in printed
    out = place / "roles"
    assert main(["distill", str(place / "recipe.yaml"), *words, "--no_doctor", "--out", str(out)]) == 0
    again = yaml.safe_load((out / "recipe.yaml").read_text())["teacher"]
    assert again["roles"][1]["sides"] == [0, 24]
    assert main(["distill", str(out / "recipe.yaml"), "--no_doctor", "--out", str(place / "roles_again")]) == 0


def test_an_exported_detector_teaches(place: Path, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["export", str(place / "same.safetensors"), "--out", str(place / "same.onnx")]) == 0
    words = [str(place / "recipe.yaml"), "--teacher.weights", f"[{place}/same.onnx]"]
    capsys.readouterr()
    assert main(["doctor", *words, "--method.settings.ccd", "0"]) in (0, 2)  # it has learned next to nothing
    assert "an exported detector; its predictions teach" in said(capsys)
    out = place / "by_onnx"
    assert main(["distill", *words, "--method.settings.ccd", "0", "--no_doctor", "--out", str(out)]) == 0
    assert "train/sem" in (out / "metrics.csv").read_text()
    assert main(["distill", *words, "--no_doctor", "--out", str(place / "bad")]) == 2
    assert "black box without features" in capsys.readouterr().err


def test_an_upright_teacher_of_an_oriented_student_needs_leave(place: Path, capsys: Capture) -> None:
    words = ["distill", str(place / "recipe.yaml"), "--data.kind", "obb", "--data.format", "dota"]
    words += ["--data.classes", json.dumps(classes(place))]
    words += ["--data.train", "labelTxt/train", "--data.val", "labelTxt/val", "--data.images_train", "images/train"]
    words += ["--data.images_val", "images/val", "--data.root", str(place / "turned")]
    for subset, first, count in (("train", 0, 4), ("val", 100, 2)):
        synth = ["--scenes", str(count), "--size", "64", "--first", str(first), "--subset", subset, "--format", "dota"]
        assert main(["data", "synth", str(place / "turned"), *synth, "--kind", "obb"]) == 0
    words += ["--teacher.weights", f"[{place}/same.safetensors]", "--method.name", "pkd"]
    capsys.readouterr()
    assert main([*words, "--out", str(place / "obb")]) == 2
    assert "--allow-hbb-teacher" in capsys.readouterr().err
    assert main([*words, "--out", str(place / "obb"), "--allow-hbb-teacher"]) == 0
    assert "its features alone teach" in said(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher.weights", "[{place}/other.safetensors]"], "other classes: only the student has"),
        (["--teacher.weights", "[{place}/other.safetensors]", "--teacher.classes", '{{"thin": "ship"}}'], "there is"),
        (["--teacher.weights", "[{place}/same.safetensors]", "--teacher.roles", "[{{}}, {{}}]"], "2 roles for 1"),
        (["--teacher.weights", "[{place}/same.safetensors]", "--teacher.roles", "[{{shre: 1}}]"], "has no 'shre'"),
        (["--teacher.weights", "[{place}/same.safetensors]", "--teacher.roles", "[{{share: a}}]"], "teacher.roles"),
        (
            ["--teacher.weights", "[{place}/same.safetensors]", "--teacher.roles", "[{{sides: [4]}}]"],
            "sides takes a list of 2",
        ),
        (["--teacher.weights", "[{place}/lone.safetensors]", "--teacher.classes", "{{}}"], "no class in common"),
        (["--teacher.weights", "[{place}/none.onnx]"], "none.onnx"),
        (["--teacher.weights", "[a.onnx]", "--teacher.cache", "c", "--data.replay", "2"], "does not hold what a.onnx"),
    ],
)
def test_faults_reach_the_user_as_one_line(words: list[str], message: str, place: Path, capsys: Capture) -> None:
    given = [word.format(place=place) for word in words]
    assert main(["distill", str(place / "recipe.yaml"), *given, "--out", str(place / "bad")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (place / "bad").exists()
