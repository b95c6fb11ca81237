"""Looking inside a run: what is logged and drawn, that the training stays as it is, and what is refused."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.detectors.weights import load
from skystill.distillation.distiller import Distiller
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.evaluation.runs import read_curves
from skystill.structures import Batch, Detections, Knowledge, Targets
from skystill.training import fit, inside
from skystill.training.inside import drawn_epochs, take_views, unmatched
from skystill.training.recipe import MethodConfig, Recipe
from skystill.training.task import Task

Make = Callable[..., Recipe]
LTD = MethodConfig("ltd", {"places": 4})  # draws random numbers in every step
TERMS = {"qfl", "dfl", "giou", "ccd", "gates", "sem", "loc"}


def run(make_recipe: Make, out: str, method: MethodConfig = LTD, **changes: Any) -> Path:
    recipe = make_recipe(out, test=False, **changes)
    recipe.method = method
    return fit.distill(recipe)


def weights(path: Path) -> dict[str, Tensor]:
    return load(path).state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def looks(folder: Path) -> list[dict[str, float]]:
    return [row for row in read_curves(folder / "metrics.csv") if "grad_head/qfl" in row]


def epochs(folder: Path) -> list[dict[str, float]]:
    return [row for row in read_curves(folder / "metrics.csv") if "train/loss" in row or "val/ap" in row]


@pytest.mark.parametrize("changes", [{"ema": 0.9, "accumulate": 2}, {"precision": "bf16-mixed"}])
def test_a_training_is_bit_by_bit_the_same_when_it_is_looked_into(make_recipe: Make, changes: dict[str, Any]) -> None:
    plain = run(make_recipe, "plain", **changes)
    seen = run(make_recipe, "seen", inspect_every=1, **changes)
    for file in ("student.safetensors", "best.safetensors"):
        assert same(weights(plain / file), weights(seen / file)), file
    assert epochs(plain) == epochs(seen)
    assert not (plain / "inside").exists()
    assert looks(plain) == []
    assert all(math.isfinite(value) for row in looks(seen) for value in row.values())


def test_every_logger_gets_every_look(make_recipe: Make) -> None:
    folder = run(make_recipe, "run", inspect_every=1)
    rows = looks(folder)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 0), (0, 1), (1, 2), (1, 3)]
    wanted = {f"grad_{part}/{term}" for part in ("neck", "head") for term in TERMS}
    wanted |= {f"{who}/{what}" for who in ("teacher", "student") for what in ("iou", "score")}
    for row in rows:
        assert wanted <= row.keys()
        assert row["grad_head/ccd"] == row["grad_head/gates"] == 0  # made of features alone
        assert all(row[f"grad_{part}/{term}"] > 0 for part in ("neck", "head") for term in ("qfl", "sem", "loc"))
    # What binds: rows of alpha sum to 1, and the sizes of an epoch's images together make its matrix.
    sizes = {key.split("/")[1] for row in rows for key in row if key.startswith("beta_entropy/")}
    assert sizes
    for row in rows:
        for size in (s for s in sizes if f"alpha_{s}/0_0" in row):
            assert 0 < row[f"alpha_entropy/{size}"] <= 1
            for i in range(3):
                assert sum(row[f"alpha_{size}/{i}_{j}"] for j in range(3)) == pytest.approx(1, abs=1e-5)
                assert row[f"beta_{size}/2_{i}"] == float(i == 2)
    assert rows[0]["teacher/score"] > rows[0]["student/score"]  # the teacher file is sure of all it sees

    events = EventAccumulator(str(folder / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    assert [e.value for e in events.Scalars("grad_neck/qfl")] == pytest.approx([r["grad_neck/qfl"] for r in rows])
    some = next(s for s in sizes if f"alpha_{s}/0_0" in rows[0])
    assert events.Scalars(f"alpha_{some}/0_0")[0].value == pytest.approx(rows[0][f"alpha_{some}/0_0"])
    assert [e.step for e in events.Images("inside")] == [0, 2]
    files = sorted((folder / "inside").iterdir())
    assert [p.name for p in files] == ["epoch_001.png", "epoch_002.png"]
    for path, event in zip(files, events.Images("inside"), strict=True):
        with Image.open(path) as picture:
            assert picture.size == (event.width, event.height)
            assert picture.width > 3 * 380  # R_sem, R_loc, and where teacher and truth disagree


def test_the_matrix_of_a_step_is_the_mean_of_its_sizes(make_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "take_views", lambda *_: [])  # nothing to draw: no file
    folder = run(make_recipe, "run", batch=4, epochs=1, inspect_every=1)
    (row,) = looks(folder)
    (epoch,) = [r for r in read_curves(folder / "metrics.csv") if "alpha/0_0" in r]
    sizes = [key.split("/")[1] for key in row if key.startswith("alpha_entropy/")]
    if len(sizes) == 1:
        for i in range(3):
            for j in range(3):
                assert row[f"alpha_{sizes[0]}/{i}_{j}"] == pytest.approx(epoch[f"alpha/{i}_{j}"], abs=1e-6)
    for i in range(3):
        for j in range(3):
            found = [row[f"alpha_{size}/{i}_{j}"] for size in sizes]
            assert min(found) - 1e-6 <= epoch[f"alpha/{i}_{j}"] <= max(found) + 1e-6
    assert not (folder / "inside").exists()


@pytest.mark.parametrize(
    ("every", "changes", "steps"),
    [
        (100, {}, [0, 3]),  # the first and the last
        (2, {"scenes_train": 6, "accumulate": 2}, [0, 2, 3]),  # an epoch's last step has one batch
    ],
)
def test_looks_count_optimizer_steps(make_recipe: Make, every: int, changes: dict[str, Any], steps: list[int]) -> None:
    folder = run(make_recipe, "run", MethodConfig("pkd"), inspect_every=every, **changes)
    assert [row["step"] for row in looks(folder)] == steps


def test_a_resumed_run_keeps_its_looks(make_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"ema": 0.9, "inspect_every": 1}
    straight = run(make_recipe, "straight", **changes)
    step = Task.training_step

    def kill(self: Task, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("the power went out")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", kill)
        with pytest.raises(RuntimeError, match="power"):
            run(make_recipe, "resumed", **changes)
    recipe = make_recipe("resumed", test=False, **changes)
    recipe.method = LTD
    resumed = fit.distill(recipe, resume=True)
    assert looks(resumed) == looks(straight)
    assert same(weights(resumed / "student.safetensors"), weights(straight / "student.safetensors"))
    names = [f"epoch_{n:03d}.png" for n in (1, 2)]
    assert [p.name for p in sorted((resumed / "inside").iterdir())] == names
    for name in names:
        assert (resumed / "inside" / name).read_bytes() == (straight / "inside" / name).read_bytes()


def test_methods_without_regions_are_looked_into_too(make_recipe: Make) -> None:
    folder = run(make_recipe, "run", MethodConfig("reviewkd"), epochs=1, inspect_every=1)
    (first, *_) = looks(folder)
    assert {"grad_neck/reviewkd", "teacher/iou"} <= first.keys()
    assert any(key.startswith("beta_") for key in first)
    with Image.open(folder / "inside" / "epoch_001.png") as picture:
        assert picture.width < 400  # one column


def test_training_alone_passes_it_over(make_recipe: Make) -> None:
    folder = fit.train(make_recipe(test=False, epochs=1, inspect_every=1))
    assert not (folder / "inside").exists()
    with (folder / "metrics.csv").open() as file:
        assert not any(key.startswith("grad") for key in next(csv.reader(file)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compile": True}, r"^trainer\.inspect_every takes gradients term by term.*Turn trainer\.compile off"),
        ({"strategy": "fsdp"}, r"^trainer\.inspect_every needs every weight in one process, .*fsdp.*Use auto or ddp"),
        ({"inspect_every": -1}, r"^trainer\.inspect_every is -1\. Give .*at least 0"),
    ],
)
def test_what_cannot_be_looked_into_is_refused(make_recipe: Make, changes: dict[str, Any], message: str) -> None:
    recipe = make_recipe(**({"inspect_every": 5} | changes))
    with pytest.raises(ConfigError, match=message) as told:
        fit.distill(recipe)
    assert "\n" not in str(told.value)
    assert not Path(str(recipe.out)).exists()
    recipe.trainer = replace(recipe.trainer, inspect_every=0)
    recipe.check()


def test_at_most_five_epochs_are_drawn_the_first_and_the_last_among_them() -> None:
    assert [sorted(drawn_epochs(n)) for n in (1, 2, 5, 36)] == [[0], [0, 1], [0, 1, 2, 3, 4], [0, 9, 18, 26, 35]]


def distiller(make_gfl: Callable[..., GFL], method: str = "ltd", **teacher: Any) -> Distiller:
    made = Distiller(make_gfl(0), make_gfl(1, **teacher), make_method(method))
    torch.nn.init.constant_(made.teachers[0].head.cls.bias, -5.0)  # type: ignore[union-attr, arg-type]
    return made


def batch(targets: list[Targets]) -> Batch:
    images = torch.rand(len(targets), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return Batch(images, targets, [(64, 64), (48, 56), *[(64, 64)] * (len(targets) - 2)])


def test_views_show_the_cells_that_the_method_taught(make_gfl: Callable[..., GFL], two_images: list[Targets]) -> None:
    made, shown = distiller(make_gfl), batch(two_images * 3)
    student, teacher = made.student(shown.images).knowledge, made.ask(made.teachers[0], shown.images)
    views = take_views(made, student, teacher, shown)
    assert len(views) == inside.VIEWS == 4
    half = replace(shown, targets=[*shown.targets[:2], *(replace(t, labelled=False) for t in shown.targets[2:])])
    assert len(take_views(made, student, teacher, half)) == 2  # no truth, nothing to compare
    assert [tuple(view.pixels.shape) for view in views[:2]] == [(3, 64, 64), (3, 48, 56)]
    assert torch.equal(views[1].pixels, (shown.images[1, :, :48, :56] * 255).round().byte())
    assert teacher.dense is not None
    regions = find_regions(teacher.dense, two_images * 3)
    places = [
        ((x + 0.5) * stride, (y + 0.5) * stride, float(stride))
        for stride in (8, 16, 32)
        for y in range(64 // stride)
        for x in range(64 // stride)
    ]
    for i in (0, 1):
        assert list(views[i].regions) == ["R_sem", "R_loc"]
        for name, mask in (("R_sem", regions.sem[i]), ("R_loc", regions.loc[i])):
            region = views[i].regions[name]
            found = torch.cat([region.centre, region.side[:, None]], 1).tolist()
            assert found == [list(place) for place, chosen in zip(places, mask.tolist(), strict=True) if chosen]
        assert views[i].blind.all()  # such a teacher overlooks everything,
        assert len(views[i].alone) == 0  # and is sure of nothing


def test_regions_are_those_of_the_terms_and_none_without_a_common_grid(
    make_gfl: Callable[..., GFL], two_images: list[Targets]
) -> None:
    shown = batch(two_images)

    def regions(made: Distiller) -> list[str]:
        student, teacher = made.student(shown.images).knowledge, made.ask(made.teachers[0], shown.images)
        return list(take_views(made, student, teacher, shown)[0].regions)

    assert regions(distiller(make_gfl, "pkd")) == []
    assert regions(distiller(make_gfl, "ltd+ltd_released")) == ["R_sem", "R_loc", "positives", "ring"]
    assert regions(Distiller(make_gfl(0), make_gfl(1), make_method("ltd", {"loc": 0.0}))) == ["R_sem"]
    assert regions(distiller(make_gfl, "fitnet", levels=(4, 5))) == []
    made = distiller(make_gfl)
    assert take_views(made, Knowledge((), ()), Knowledge((), ()), shown) == []


def test_what_fits_no_object_of_any_class_stands_alone() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 19.9], [0, 0, 10, 20.1], [50, 50, 60, 60]])
    seen = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 1, 2, 0]))
    truth = Targets(
        torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), torch.zeros(2).long(), torch.tensor([False, True])
    )
    assert unmatched(seen, truth).scores.tolist() == pytest.approx([0.7])  # IoU .5 fits, and ignored objects do
    assert len(unmatched(seen, Targets.empty())) == 4
    assert len(unmatched(Detections(boxes[:0], torch.zeros(0), torch.zeros(0).long()), truth)) == 0
