"""Every recipe parses, names what exists, and its command runs as far as data and weights are at hand."""

import inspect
import json
import re
import runpy
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from skystill.cli.main import DATA_VERBS
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.data.synthetic import CLASSES as SCENE_CLASSES
from skystill.data.synthetic import render
from skystill.detectors.weights import PRESETS, create, load, read_header, save
from skystill.distillation.methods import make_method
from skystill.errors import DataError
from skystill.training import fit
from skystill.training.folder import run_folder
from skystill.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TINY = {"backbone": "mobilenetv3_small_050", "neck_channels": 16, "head_channels": 16, "head_depth": 1, "norm": "bn"}


def parsed(path: Path, *options: str) -> Recipe:
    recipe, _ = parse_recipe(recipe_parser("distill", ""), [str(path), *options])
    return recipe


def commands(text: str) -> list[list[str]]:
    """The command lines of a recipe's header, as words."""
    return [shlex.split(c, comments=True) for c in re.findall(r"^# {3}(skystill .*|python .*)$", text, re.MULTILINE)]


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 9


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_valid(path: Path) -> None:
    recipe = parsed(path)
    recipe.check()
    assert recipe.name == path.stem
    preset, settings = PRESETS[recipe.detector.preset], recipe.detector.settings
    assert set(settings) <= {f.name for f in fields(preset)}
    architecture = replace(preset, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
    assert architecture.backbone
    assert re.sub(r".*_to_", "", path.stem).startswith(recipe.detector.preset)
    method = make_method(recipe.method.name, recipe.method.settings)
    assert set(recipe.method.settings) <= set(inspect.signature(type(method).__init__).parameters)
    assert recipe.data.format == "synthetic" or recipe.data.train
    assert ("_to_" in path.stem) == bool(recipe.teacher.weights)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_header_gives_commands_that_name_this_recipe(path: Path) -> None:
    found = commands(path.read_text())
    verb = "distill" if "_to_" in path.stem else "train"
    assert any(words[:3] == ["skystill", verb, f"recipes/{path.name}"] for words in found)
    for words in found:
        if words[1] == "data":
            assert words[2] in DATA_VERBS
            continue
        assert (ROOT / words[1 if words[0] == "python" else 2]).is_file(), words
        if words[0] == "skystill":
            parsed(ROOT / words[2], *words[3:])


@pytest.mark.parametrize("path", [p for p in RECIPES if "_to_" in p.stem], ids=lambda p: p.stem)
def test_teacher_weights_come_with_the_repository_or_are_where_their_own_recipe_writes_them(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = parsed(path)
    (weights,) = student.teacher.weights
    name, data = path.stem.partition("_to_")[0], _data_of(path)
    # A teacher is trained alone, or is itself the student of another recipe.
    (own,) = [r for r in RECIPES if r.stem == f"{name}_{data}" or r.stem.endswith(f"_to_{name}_ltd_{data}")]
    teacher = parsed(own)
    if (ROOT / weights).is_file():
        shipped = load(ROOT / weights)
        fresh = create(teacher.detector.preset, shipped.classes, **teacher.detector.settings)
        assert shipped.config() == fresh.config()
        promised = re.search(r"test AP ([\d.]+)", own.read_text())
        assert promised
        assert read_header(ROOT / weights)["notes"]["test"]["ap"] == pytest.approx(float(promised[1]), abs=0.1)
    else:
        monkeypatch.chdir(tmp_path)
        assert Path(weights).parent == run_folder(teacher, "ltd" if "_to_" in own.stem else "alone", resume=False)
    for key in ("format", "train", "test", "classes", "size"):
        assert getattr(student.data, key) == getattr(teacher.data, key), key


def _data_of(path: Path) -> str:
    """The last part of a distillation recipe's name."""
    return re.sub(r".*_ltd(_released)?_", "", path.stem)


def published_nwpu(folder: Path, images: int) -> None:
    """Synthetic scenes in the layout in which NWPU VHR-10 is published."""
    for name in ("positive image set", "ground truth"):
        (folder / name).mkdir(parents=True)
    for i in range(images):
        scene = render(i, size=96)
        Image.fromarray(scene.image).save(folder / "positive image set" / f"{i:03d}.jpg")
        lines = [
            f"({x1:.0f},{y1:.0f}),({x2 + 1:.0f},{y2 + 1:.0f}),{label + 1} \n"
            for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels, strict=True)
        ]
        (folder / "ground truth" / f"{i:03d}.txt").write_text("".join(lines) + "\n")


def test_the_papers_experiment_runs_from_published_files_to_scores(tmp_path: Path) -> None:
    published_nwpu(tmp_path / "published", images=10)
    example = runpy.run_path(str(ROOT / "examples" / "nwpu_to_voc.py"))
    example["main"](str(tmp_path / "published"), str(tmp_path / "nwpu"))
    listed = [(tmp_path / f"nwpu/ImageSets/Main/{part}.txt").read_text().split() for part in ("train", "test")]
    assert [len(part) for part in listed] == [8, 2]
    assert len(SCENE_CLASSES) <= len(example["CLASSES"])

    small = ["--data.root", str(tmp_path / "nwpu"), "--data.size", "96", "--data.batch", "2", "--data.workers", "0"]
    small += ["--trainer.epochs", "1", "--trainer.accelerator", "cpu", "--detector.backbone_weights", "none"]
    small += ["--detector.settings", json.dumps(TINY), "--out", str(tmp_path / "run")]
    recipe = parsed(
        ROOT / "recipes" / "gfl_r101_to_gfl_r18_ltd_released_nwpu.yaml",
        *small,
        *("--teacher.weights", json.dumps([str(tmp_path / "teacher.safetensors")])),
    )
    assert recipe.data.classes == list(example["CLASSES"])
    torch.manual_seed(1)
    save(create("gfl_r101", recipe.data.classes, **(TINY | {"neck_channels": 24})), tmp_path / "teacher.safetensors")

    folder = fit.distill(recipe)

    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["method"] == "ltd_released"
    assert metrics["test"]["ap50"] is not None
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert {f"train/{term}" for term in ("att", "ccd", "ld", "ld_vlr", "kd", "kd_vlr", "qfl")} <= set(header.split(","))
    assert load(folder / "student.safetensors").classes == tuple(recipe.data.classes)


def test_a_published_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    published_nwpu(tmp_path, images=1)
    (tmp_path / "ground truth" / "000.txt").write_text("(1,2),(3,4)\n")
    example = runpy.run_path(str(ROOT / "examples" / "nwpu_to_voc.py"))
    with pytest.raises(DataError, match=r"000\.txt line 1: \(x1,y1\),\(x2,y2\),class expected"):
        example["read"](tmp_path)
