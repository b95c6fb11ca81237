"""The teacher's row is of the images that students are compared on, whatever its file was saved with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from skystill.data.config import DataConfig
from skystill.data.module import DataModule
from skystill.data.synthetic import CLASSES
from skystill.detectors.gfl import GFL
from skystill.detectors.weights import save
from skystill.training.recipe import Recipe, TeacherConfig
from skystill.training.scoring import collect
from skystill.training.teacher_scores import teacher_scores


@pytest.fixture
def recipe(tmp_path: Path, make_gfl: Callable[..., GFL]) -> Recipe:
    notes = {"seed": 3, "test": {"ap": 61.0}}
    path = save(make_gfl(classes=CLASSES), tmp_path / "teacher.safetensors", notes)
    data = DataConfig(format="synthetic", scene_size=96, scenes_train=1, scenes_val=1, scenes_test=3, workers=0)
    return Recipe(data, teacher=TeacherConfig([str(path)]))


def scores(recipe: Recipe, out: Path) -> dict:
    data = DataModule(recipe.data, 0)
    data.setup("test")
    return teacher_scores(recipe.teacher.weights[0], recipe, data, "test", out)


def test_it_is_asked_once_about_these_images(recipe: Recipe, tmp_path: Path, make_gfl: Callable[..., GFL]) -> None:
    found = scores(recipe, tmp_path)
    data = DataModule(recipe.data, 0)
    data.setup("test")
    own = collect(make_gfl(classes=CLASSES), data, "test").compute()
    assert (found["ap"], found["ar"]) == (own.ap, own.ar)
    assert found["per_class"] == own.by_class()
    kept = json.loads((tmp_path / "teacher.json").read_text())
    kept["scores"]["ap"] = 42.0
    (tmp_path / "teacher.json").write_text(json.dumps(kept))
    assert scores(recipe, tmp_path)["ap"] == 42.0
    recipe.data.scenes_test = 2
    assert scores(recipe, tmp_path)["ap"] != 42.0
    (tmp_path / "teacher.json").write_text(json.dumps(kept))
    recipe.data.scenes_test = 3
    torch.manual_seed(1)
    save(make_gfl(seed=1, classes=CLASSES), tmp_path / "teacher.safetensors")
    assert scores(recipe, tmp_path)["ap"] != 42.0


@pytest.mark.parametrize("change", [{"classes": {}}, {"scale": 2.0}])
def test_what_cannot_be_asked_alike_counts_as_saved(
    change: dict, recipe: Recipe, tmp_path: Path, make_gfl: Callable[..., GFL]
) -> None:
    if "classes" in change:
        notes = {"test": {"ap": 61.0}}
        save(make_gfl(classes=("tank", *CLASSES[1:])), tmp_path / "teacher.safetensors", notes)
    recipe.teacher.scale = change.get("scale", 1.0)
    assert scores(recipe, tmp_path)["ap"] == 61.0


def test_predictions_have_no_scores(recipe: Recipe, tmp_path: Path) -> None:
    recipe.teacher.weights = ["found.json"]
    assert scores(recipe, tmp_path) == {}
