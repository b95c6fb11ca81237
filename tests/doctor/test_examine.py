"""The examination as a whole, and the verbs that run it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skystill.cli.main import main
from skystill.data.config import DataConfig
from skystill.data.synthetic import CLASSES
from skystill.detectors.gfl import GFL
from skystill.detectors.weights import create, save
from skystill.doctor import Finding, Patient, check_methods, examine
from skystill.errors import ConfigError
from skystill.training.recipe import DetectorConfig, MethodConfig, OptimConfig, Recipe, TeacherConfig, TrainerConfig

SMALL = {"neck_channels": 16, "head_channels": 16, "head_depth": 1}
Make = Callable[..., Recipe]


def teacher(path: Path, classes: tuple[str, ...] = CLASSES, notes: dict | None = None, **overrides) -> str:
    """A detector that is larger than the student and guesses: it finds something, and nothing right."""
    torch.manual_seed(11)
    wide = {"neck_channels": 24, "head_channels": 24, "head_depth": 1} | overrides
    detector = create("gfl_mnv3s_050", classes, **wide)
    torch.nn.init.constant_(detector.get_parameter("head.cls.bias"), -2.0)
    return str(save(detector, path / f"teacher{len(list(path.iterdir()))}.safetensors", notes))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Four 96 px scenes, a teacher that knows nothing."""
    return Recipe(
        DataConfig(format="synthetic", scene_size=96, scenes_train=4, scenes_val=3, batch=2, workers=0),
        DetectorConfig("gfl_mnv3s_050", SMALL),
        TeacherConfig([teacher(tmp_path)]),
        optim=OptimConfig(warmup=1),
        trainer=TrainerConfig(epochs=2, accelerator="cpu"),
        out=str(tmp_path / "run"),
    )


def by_check(recipe: Recipe) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(recipe)}


def test_an_untrained_teacher_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    weights = str(save(create("gfl_mnv3s_050", CLASSES, neck_channels=24), tmp_path / "fresh.safetensors"))
    found = by_check(replace(recipe, teacher=TeacherConfig([weights])))
    assert found["accuracy"].state == "red"
    assert "finds nothing at all" in found["accuracy"].says


def test_an_accelerator_that_is_not_there_is_refused(recipe: Recipe) -> None:
    recipe.trainer.accelerator = "foo"
    found = by_check(recipe)
    assert list(found) == ["recipe"]
    assert "the trainer cannot be made" in found["recipe"].says


def test_every_look_is_told(recipe: Recipe) -> None:
    found = by_check(recipe)
    checks = ("data", "student", "teacher", "pair", "method", "input", "accuracy", "losses", "time", "memory")
    assert tuple(found) == checks
    states = {name: finding.state for name, finding in found.items()}
    assert states == dict.fromkeys(checks, "green") | {"input": "yellow", "accuracy": "yellow"}  # untrained
    assert "4 train, 3 val, 64 test images" in found["data"].says
    assert "8/16 <- 8/24" in found["pair"].says
    assert "ltd, ltd_plus, ltd_released, fitnet" in found["method"].says
    assert "3 of 3 val images" in found["accuracy"].says
    assert "ccd" in found["losses"].says
    assert "2 steps an epoch" in found["time"].says


def test_nothing_is_written_or_moved(recipe: Recipe, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    recipe.data.replay, recipe.data.crop, recipe.teacher.cache = 2, 96, str(tmp_path / "cache")
    assert by_check(recipe)["cache"].state == "green"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_red_part_ends_it(recipe: Recipe, tmp_path: Path) -> None:
    others = ("plane", *CLASSES[1:])
    for change, check, words in (
        ({"weights": [str(tmp_path / "none.safetensors")]}, "teacher", "none.safetensors"),
        ({"weights": []}, "teacher", "names no teacher"),
        ({"weights": [teacher(tmp_path, others)]}, "pair", "other classes"),
        ({"weights": [teacher(tmp_path, in_chans=1)]}, "pair", "bands"),
    ):
        *_, last = examine(replace(recipe, teacher=TeacherConfig(**change)))
        assert (last.check, last.state) == (check, "red")
        assert words in last.says


def test_a_method_that_does_not_fit_is_told_with_those_that_do(recipe: Recipe, tmp_path: Path) -> None:
    recipe.teacher.weights = [teacher(tmp_path, reg_max=4)]
    recipe.method = MethodConfig("ld")
    *_, last = examine(recipe)
    assert (last.check, last.state) == ("method", "red")
    listed = last.says.partition("Methods that fit this pair: ")[2].rstrip(".").split(", ")
    assert "pkd" in listed
    assert "ld" not in listed
    patient = Patient(replace(recipe, method=MethodConfig("pkd")))
    check_methods(patient, {"fine": MethodConfig("pkd")})
    with pytest.raises(ConfigError, match=r"mine: .*Methods that fit this pair"):
        check_methods(patient, {"fine": MethodConfig("pkd"), "mine": MethodConfig("ld")})


def test_every_teacher_is_looked_at(recipe: Recipe, tmp_path: Path) -> None:
    recipe.teacher.weights = [teacher(tmp_path), teacher(tmp_path, reg_max=4)]
    found = list(examine(replace(recipe, method=MethodConfig("ld"))))
    first, second = (finding.says for finding in found if finding.check == "pair")
    assert first.startswith(f"{recipe.teacher.weights[0]}: ")
    assert second.startswith(f"{recipe.teacher.weights[1]}: ")
    assert (found[-1].check, found[-1].state) == ("method", "red")
    assert found[-1].says.startswith(f"{recipe.teacher.weights[1]}: ld compares")
    with pytest.raises(ConfigError, match=r"mine: .*Methods that fit this pair"):
        check_methods(Patient(recipe), {"fine": MethodConfig("pkd"), "mine": MethodConfig("ld")})


@pytest.mark.parametrize("name", ["pkd", "ltd_plus"])
def test_pyramids_without_a_common_range_of_strides_are_refused(recipe: Recipe, tmp_path: Path, name: str) -> None:
    recipe.detector.settings = SMALL | {"levels": [3, 4]}
    recipe.teacher.weights = [teacher(tmp_path, levels=(5, 6))]
    recipe.method = MethodConfig(name)
    found = by_check(recipe)["method"]
    assert found.state == "red"
    assert "(8, 16)" in found.says
    assert " in common. Change `levels` of the student" in found.says
    assert found.says.endswith("Methods that fit this pair: none.")


def test_a_small_teacher_and_rare_classes_are_worth_a_look(recipe: Recipe, tmp_path: Path) -> None:
    recipe.teacher.weights = [teacher(tmp_path, neck_channels=8, head_channels=8)]
    assert "smaller than the student" in by_check(recipe)["teacher"].says
    scenes = str(tmp_path / "scenes")
    assert main(["data", "synth", scenes, "--scenes", "4", "--size", "96"]) == 0
    recipe.data = DataConfig(root=scenes, train="train.json", batch=2, workers=0)
    data = by_check(recipe)["data"]
    assert data.state == "yellow"
    assert "Without data.val" in data.says
    recipe.data.val = "train.json"
    data = by_check(recipe)["data"]
    assert (data.state, "Hardly any objects" in data.says) == ("yellow", True)


def test_a_student_of_one_size_is_trained_and_judged_at_one(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.data.crop = 64
    assert by_check(recipe)["student"].state == "green"
    monkeypatch.setattr(GFL, "free_size", False)
    student = by_check(recipe)["student"]
    assert student.state == "yellow"
    assert (
        "trained on 64 x 64 px, it misjudges val images of 96 x 96. Cut those by `skystill data tile`" in student.says
    )
    recipe.data.crop = 80  # in reach of the zoom
    assert by_check(recipe)["student"].state == "green"


def test_the_verb_prints_all_and_ends_in_2_for_red(recipe: Recipe, tmp_path: Path, capsys) -> None:
    recipe.write(tmp_path / "recipe.yaml")
    command = ["doctor", str(tmp_path / "recipe.yaml")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "✓ pair" in printed
    assert "! accuracy" in printed
    assert "10 looks, nothing in the way, 2 to look at" in printed
    assert main([*command, "--teacher.weights", f"[{teacher(tmp_path, ('plane', *CLASSES[1:]))}]"]) == 2
    printed = capsys.readouterr()
    assert "✗ pair" in printed.out
    assert printed.err.startswith("skystill: 1 of 4 looks are red")


def test_distill_looks_first_unless_told_not_to(recipe: Recipe, tmp_path: Path, capsys) -> None:
    recipe.trainer.epochs, recipe.data.scenes_val = 1, 16  # few objects would prove nothing
    recipe.teacher.weights = [teacher(tmp_path, notes={"val": {"ap": 60.0}})]
    recipe.write(tmp_path / "recipe.yaml")
    command = ["distill", str(tmp_path / "recipe.yaml")]
    assert main(command) == 2
    assert "but it was saved with AP 60.0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--no_doctor"]) == 0
    assert "doctor" not in capsys.readouterr().out


def test_what_is_told_is_no_markup(recipe: Recipe, tmp_path: Path, capsys) -> None:
    recipe.teacher.weights = ["[/bold]odd[red].safetensors"]
    recipe.write(tmp_path / "r.yaml")
    assert main(["doctor", str(tmp_path / "r.yaml")]) == 2
    assert "[/bold]odd[red].safetensors: no such weights file" in " ".join(capsys.readouterr().out.split())
