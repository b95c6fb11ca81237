from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig, Recipe, TeacherConfig


def test_a_written_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = Recipe(seed=3, name="x", method=MethodConfig("ltd", {"fade": (0.1, 0.2), "binding": "lic"}))
    recipe.detector.settings = {"levels": (2, 5), "neck_channels": 8}
    recipe.data.scale_jitter, recipe.data.classes = (0.5, 1.5), ["a", "yes", "1"]
    recipe.trainer.devices, recipe.optim.drops, recipe.optim.lr = "auto", [2, 3], 1e-5
    recipe.write(tmp_path / "recipe.yaml")
    read, _ = parse_recipe(recipe_parser("train", ""), [str(tmp_path / "recipe.yaml")])
    assert read.method.settings == {"fade": [0.1, 0.2], "binding": "lic"}  # YAML has no tuples
    assert read.detector.settings == {"levels": [2, 5], "neck_channels": 8}
    read.method, read.detector = recipe.method, recipe.detector
    assert read == recipe
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_written_recipe_holds_every_key(tmp_path: Path) -> None:
    Recipe().write(tmp_path / "recipe.yaml")
    values = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert list(values) == list(Recipe.__dataclass_fields__)
    assert list(values["trainer"]) == list(type(Recipe().trainer).__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("trainer.epochs", 0, "at least 1"),
        ("trainer.accumulate", 0, "at least 1"),
        ("trainer.val_every", 0, "at least 1"),
        ("trainer.max_dets", 0, "at least 1"),
        ("trainer.clip", -1.0, "at least 0"),
        ("optim.warmup", -1, "at least 0"),
        ("optim.weight_decay", float("nan"), "at least 0"),
        ("optim.lr", 0.0, "above 0"),
        ("optim.lr", float("nan"), "above 0"),
        ("optim.ema", 1.0, "below 1"),
        ("teacher.scale", 0.0, "above 0"),
        ("detector.freeze", -1, "at least 0"),
    ],
)
def test_values_out_of_range_are_named_with_the_mend(key: str, value: float, mend: str) -> None:
    section, name = key.split(".")
    recipe = Recipe()
    changed = replace(recipe, **{section: replace(getattr(recipe, section), **{name: value})})
    recipe.check()
    with pytest.raises(ConfigError, match=rf"^{key} is {value}\. Give .*{mend}"):
        changed.check()


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (TeacherConfig(sure=0.1), "teacher.unsure is 0.2 and teacher.sure 0.1"),
        (TeacherConfig(unsure=0.0), "Give 0 < unsure <= sure <= 1"),
        (TeacherConfig(sure=1.5), "Give 0 < unsure <= sure <= 1"),
        (TeacherConfig(["a.json", "b.JSON"]), "2 files of predictions. Join them"),
        (TeacherConfig(["a.safetensors", "b.json"], cache="cache"), "nothing to keep of b.json"),
    ],
)
def test_teachers_that_contradict_themselves(teacher: TeacherConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(teacher=teacher).check()
