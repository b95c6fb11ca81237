"""Whole runs on four tiny scenes: what a run folder holds, pairing, resuming, freezing, and what stops a run."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.data.synthetic import CLASSES
from skystill.detectors.weights import create, load, read_header, save
from skystill.errors import ConfigError, DivergedError, WeightsError
from skystill.evaluation.coco import CocoEvaluator, CocoScores
from skystill.structures import Batch
from skystill.training import fit
from skystill.training.recipe import MethodConfig, Recipe
from skystill.training.task import Task, Train
from skystill.training.taught import file_digest

Make = Callable[..., Recipe]
# CCD on 4 of 144 places, so that the method draws random numbers in every step.
LTD = MethodConfig("ltd", {"places": 4})


class Killed(Exception):
    """The power went out."""


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def weights(path: Path) -> dict[str, Tensor]:
    return load(path).state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def copied(task: Task) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in task.detector.state_dict().items()}


@pytest.mark.parametrize("verb", ["train", "distill"])
def test_the_run_folder_holds_what_is_promised_and_its_recipe_runs_again(
    verb: str, make_recipe: Make, tmp_path: Path, teacher_file: Path
) -> None:
    run = getattr(fit, verb)
    recipe = make_recipe(ema=0.9)
    recipe.method = LTD
    folder = run(recipe)
    promised = {"recipe.yaml", "metrics.csv", "metrics.json", "student.safetensors", "best.safetensors", "checkpoints"}
    promised |= {"detections_val.safetensors", "detections_test.safetensors"}
    promised |= {"teachers.json"} if verb == "distill" else set()
    assert {p.name for p in folder.iterdir()} == promised | {"tensorboard"}
    metrics = json.loads((folder / "metrics.json").read_text())
    teachers = [{"weights": str(teacher_file), "digest": file_digest(teacher_file)}] if verb == "distill" else []
    assert metrics["teachers"] == teachers
    assert metrics["method"] == ("ltd" if verb == "distill" else "alone")
    assert (metrics["seed"], metrics["epochs"]) == (0, 2)
    assert set(metrics["val"]) == set(metrics["test"]) == {*CocoScores(*[0.0] * 7).as_dict(), "best_f1", "errors"}
    assert metrics["best"]["epoch"] in (1, 2)
    for name in ("student", "best"):
        assert "best_f1" in read_header(folder / f"{name}.safetensors")["notes"]["val"]
    terms = {"qfl", "dfl", "giou"} | ({"ccd", "gates", "sem", "loc"} if verb == "distill" else set())
    logged = {k for row in rows(folder) for k in row}
    assert {f"train/{t}" for t in terms} | {"train/loss", "val/ap"} <= logged
    for row in rows(folder):
        if "train/loss" in row:
            assert row["train/loss"] == pytest.approx(sum(row[f"train/{t}"] for t in terms), rel=1e-5)

    away = teacher_file.rename(tmp_path / "elsewhere")  # the student needs no teacher
    student = load(folder / "student.safetensors")
    assert student.classes == CLASSES
    away.rename(teacher_file)

    again, _ = parse_recipe(recipe_parser(verb, ""), [str(folder / "recipe.yaml"), "--out", str(tmp_path / "again")])
    assert same(weights(run(again) / "student.safetensors"), student.state_dict())
    with pytest.raises(ConfigError, match="holds a finished run"):
        run(again)


def test_runs_of_equal_seed_start_equal_and_see_the_same_batches(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    step = Task.training_step

    def watched(self: Task, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == 0:
            seen.append(copied(self))
        seen.append(([t.name for t in batch.targets], batch.images.clone(), [t.boxes for t in batch.targets]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", watched)
    runs = []
    for name, verb, method in (
        ("a", fit.train, "ltd"),
        ("b", fit.distill, "ltd"),
        ("c", fit.distill, "ltd_released"),
    ):
        recipe = make_recipe(name, test=False)
        recipe.method = MethodConfig(method, dict(LTD.settings) if method == "ltd" else {})
        verb(recipe)
        runs.append(seen.copy())
        seen.clear()
    alone, *others = runs
    names = [step[0] for step in alone[1:]]
    assert len(names) == 4
    assert names[:2] != names[2:]  # the order is drawn anew in each epoch
    for other in others:
        assert same(alone[0], other[0])
        assert [step[0] for step in other[1:]] == names
        for one, two in zip(alone[1:], other[1:], strict=True):
            assert torch.equal(one[1], two[1])
            assert all(torch.equal(a, b) for a, b in zip(one[2], two[2], strict=True))


def test_a_killed_run_continues_bit_by_bit(make_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(out: str) -> Recipe:
        made = make_recipe(out, epochs=4, ema=0.9, test=False)
        made.method = LTD
        return made

    straight = fit.distill(recipe("straight"))
    step = Task.training_step

    def kill(self: Task, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch == 2 and batch_idx == 1:
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", kill)
        with pytest.raises(Killed):
            fit.distill(recipe("resumed"))
    resumed = fit.distill(recipe("resumed"), resume=True)
    for file in ("student.safetensors", "best.safetensors"):
        assert same(weights(straight / file), weights(resumed / file)), file
    assert rows(resumed) == rows(straight)
    # Cut off between training and scoring, it is scored, and its times are those of the training.
    before = json.loads((resumed / "metrics.json").read_text())
    (resumed / "metrics.json").unlink()
    again = json.loads((fit.distill(recipe("resumed"), resume=True) / "metrics.json").read_text())
    assert again["val"] == before["val"]
    assert again["step_s"] == before["step_s"] > 0
    assert before["epochs"] == 4
    assert rows(resumed) == rows(straight)


def test_what_was_damaged_after_a_run_is_told_or_made_again(make_recipe: Make) -> None:
    folder = fit.train(make_recipe("hurt", epochs=1, test=False))
    (folder / "metrics.json").write_text('{"epochs": ')
    fit.train(make_recipe("hurt", epochs=1, test=False), resume=True)
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 1
    (folder / "metrics.json").unlink()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"PK, not all of it")
    with pytest.raises(ConfigError, match=r"last.ckpt: is damaged, so .* Give another --out"):
        fit.train(make_recipe("hurt", epochs=1, test=False), resume=True)


def test_a_finished_run_stays_as_it_is(make_recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fit.train(make_recipe("done", epochs=2))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert fit.train(make_recipe("done", epochs=2), resume=True) == folder
    assert "done: all 2 epochs are done and scored. It stays as it is." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_teachers_stay_as_they_are_and_out_of_checkpoints(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch, teacher_file: Path
) -> None:
    teachers = []
    monkeypatch.setattr("skystill.training.teachers.load", lambda path: teachers.append(load(path)) or teachers[-1])
    folder = fit.distill(make_recipe(test=False))
    (teacher,) = teachers
    assert same(teacher.state_dict(), weights(teacher_file))
    assert not teacher.training
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    student = {k.removeprefix("distiller.student.") for k in checkpoint["state_dict"] if ".student." in k}
    assert student >= set(load(folder / "student.safetensors").state_dict())
    others = {k for k in checkpoint["state_dict"] if not k.startswith("distiller.student.")}
    assert others
    assert all(k.startswith("distiller.methods.") for k in others)


def test_best_weights_are_the_averaged_ones_of_the_best_epoch(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = iter([5.0, 9.0, 7.0, 9.0, 1.0])  # four validations, then the final scoring
    monkeypatch.setattr(CocoEvaluator, "compute", lambda self: CocoScores(next(points), *[0.0] * 6))
    averaged = []
    start = Task.on_validation_epoch_start

    def watched(self: Task) -> None:
        averaged.append({k: v.clone() for k, v in self.best_weights.state_dict().items()})
        start(self)

    monkeypatch.setattr(Task, "on_validation_epoch_start", watched)
    folder = fit.train(make_recipe(epochs=4, ema=0.9, test=False))
    best = weights(folder / "best.safetensors")
    assert same(best, {k: v for k, v in averaged[1].items() if k in best})
    assert same(weights(folder / "student.safetensors"), {k: v for k, v in averaged[3].items() if k in best})
    assert not same(best, weights(folder / "student.safetensors"))
    notes = read_header(folder / "best.safetensors")["notes"]
    assert (notes["epoch"], notes["val"]["ap"], notes["method"]) == (2, 9.0, "alone")
    assert json.loads((folder / "metrics.json").read_text())["best"] == {"epoch": 2, "ap": 9.0}
    # What --resume goes on from is the last epoch all the same.
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3


def test_the_last_epoch_is_validated_whatever_val_every_says(make_recipe: Make) -> None:
    folder = fit.train(make_recipe(epochs=3, val_every=2, test=False))
    assert [row["epoch"] for row in rows(folder) if "val/ap" in row] == [1, 2]
    folder = fit.train(make_recipe("rare", epochs=2, val_every=5, test=False))
    assert [row["epoch"] for row in rows(folder) if "val/ap" in row] == [1]
    assert not (folder / "best.safetensors").exists()  # one validation has no best


def test_data_without_val_and_test_still_trains(make_recipe: Make) -> None:
    folder = fit.train(make_recipe(scenes_val=0, scenes_test=0, val_every=3))
    assert {"val", "test"}.isdisjoint(json.loads((folder / "metrics.json").read_text()))
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert load(folder / "student.safetensors").classes == CLASSES


def test_accumulation_steps_once_for_several_batches(make_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    losses = fit.Distill.losses

    def watched(self: fit.Distill, batch: Any) -> dict[str, Tensor]:
        found = losses(self, batch)
        shares.append((self.global_step, self.distiller.methods[0].progress))
        return found

    monkeypatch.setattr(fit.Distill, "losses", watched)
    fit.distill(make_recipe(accumulate=2, ema=0.9, test=False, scenes_train=8))
    assert [s for s, _ in shares] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [p for _, p in shares] == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_bfloat16_stays_finite_and_weights_stay_float32(optimizer: str, make_recipe: Make) -> None:
    folder = fit.distill(make_recipe(precision="bf16-mixed", optimizer=optimizer, lr=1e-3, test=False))
    values = [value for row in rows(folder) for value in row.values()]
    assert values
    assert all(map(math.isfinite, values))
    student = weights(folder / "student.safetensors")
    assert all(v.isfinite().all() and v.dtype in (torch.float32, torch.int64) for v in student.values())


def test_frozen_stages_and_kept_norms_end_as_they_began(make_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    began = []
    start = Task.on_train_epoch_start
    monkeypatch.setattr(Task, "on_train_epoch_start", lambda self: (began.append(copied(self)), start(self))[1])
    folder = fit.train(make_recipe(freeze=2, freeze_norms=True, test=False))
    ended = weights(folder / "student.safetensors")
    frozen = ("backbone.conv_stem", "backbone.bn1", "backbone.blocks.0.")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for key, value in ended.items():
        kept = key.startswith(frozen) or (key.startswith("backbone") and key.endswith(statistics))
        if kept:
            assert torch.equal(value, began[0][key]), key
    # The rest learns, the first stage that is not frozen included.
    for key in ("backbone.blocks.1.0.conv_pw.weight", "head.cls.weight"):
        assert not torch.equal(ended[key], began[0][key])


def test_further_loggers_are_made_by_class_path(make_recipe: Make, tmp_path: Path) -> None:
    spec = {
        "class_path": "pytorch_lightning.loggers.CSVLogger",
        "init_args": {"save_dir": str(tmp_path / "more"), "name": "", "version": ""},
    }
    folder = fit.train(make_recipe(loggers=[spec], test=False))
    more = [r for r in rows(tmp_path / "more") if "train/loss" in r]
    assert [r["train/loss"] for r in more] == [r["train/loss"] for r in rows(folder) if "train/loss" in r]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"class_path": "no.such.Logger"}, r"trainer.loggers: 'no.such.Logger' cannot be made"),
        ({"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"x": 1}}, "cannot be made .*'x'"),
        ({"class_path": "pathlib.Path"}, "'pathlib.Path' is no Lightning logger"),
        ({}, "trainer.loggers: '' cannot be made"),
    ],
)
def test_loggers_that_cannot_be_are_told(spec: dict[str, Any], message: str, make_recipe: Make) -> None:
    recipe = make_recipe(loggers=[spec])
    with pytest.raises(ConfigError, match=message):
        fit.train(recipe)
    assert not Path(str(recipe.out)).exists()


def test_a_loss_that_is_no_number_stops_with_term_and_images(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Train.losses

    def broken(self: Train, batch: Any) -> dict[str, Tensor]:
        found = losses(self, batch)
        return found | ({"giou": found["giou"] * math.nan} if self.global_step == 3 else {})

    monkeypatch.setattr(Train, "losses", broken)
    with pytest.raises(
        DivergedError, match=r"^epoch 1, step 3: loss term giou is nan; images: \S+, \S+\. Lower"
    ) as told:
        fit.train(make_recipe())
    assert "\n" not in str(told.value)


def test_compile_compiles_the_detector_and_saves_plain_weights(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def keep_as_is(self: torch.nn.Module) -> None:  # real compilation alone takes half a minute
        used.append(self)
        self._compiled_call_impl = self._call_impl  # type: ignore[assignment]

    monkeypatch.setattr(torch.nn.Module, "compile", keep_as_is)
    plain = fit.train(make_recipe("plain", ema=0.9, test=False))
    assert not used
    folder = fit.train(make_recipe("compiled", compile=True, ema=0.9, test=False))
    assert len(used) == 1
    assert same(weights(folder / "student.safetensors"), weights(plain / "student.safetensors"))


def test_starting_from_weights_brings_their_architecture(make_recipe: Make, teacher_file: Path) -> None:
    folder = fit.train(make_recipe(weights=str(teacher_file), epochs=1, lr=1e-9, weight_decay=0.0, test=False))
    ended, began = weights(folder / "student.safetensors"), weights(teacher_file)
    assert ended.keys() == began.keys()
    for key in (k for k in ended if k.endswith("weight")):
        torch.testing.assert_close(ended[key], began[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda r, d: setattr(r.teacher, "weights", []), ConfigError, "names no teacher"),
        (lambda r, d: setattr(r.teacher, "weights", [str(d / "no.st")]), WeightsError, "no.st: no such weights file"),
        (lambda r, d: setattr(r.teacher, "weights", [_other(d)]), ConfigError, "other classes: .*the teacher has tank"),
        (lambda r, d: setattr(r.detector, "weights", _other(d)), ConfigError, "knows the classes tank, the data has"),
        (lambda r, d: setattr(r.detector, "preset", "gfl"), ConfigError, "preset 'gfl' is unknown; the presets are"),
        (lambda r, d: r.detector.settings.update(x=1), ConfigError, "'x' is no part of a gfl_mnv3s_050"),
        (lambda r, d: setattr(r.detector, "freeze", 99), ConfigError, "freeze is 99, but the backbone has"),
        (lambda r, d: setattr(r.method, "name", "dtl"), ConfigError, "method 'dtl' is unknown; the methods are ltd"),
        (lambda r, d: r.method.settings.update(cdc=1), ConfigError, "method ltd has no setting 'cdc'"),
        (lambda r, d: setattr(r.trainer, "accelerator", "abacus"), ConfigError, "trainer cannot be made.*abacus"),
        (lambda r, d: setattr(r.trainer, "devices", 0), ConfigError, "trainer cannot be made.*devices=0"),
        (lambda r, d: setattr(r.trainer, "devices", "foo"), ConfigError, "trainer cannot be made.*devices"),
        (lambda r, d: setattr(r.trainer, "strategy", "wish"), ConfigError, r"trainer cannot be made((?!no GPU).)*$"),
        (lambda r, d: setattr(r.trainer, "accelerator", "gpu"), ConfigError, "GPU here: --trainer.accelerator cpu"),
        (lambda r, d: setattr(r.data, "scenes_train", 0), ConfigError, "no train data"),
    ],
)
def test_what_cannot_work_is_refused_before_a_folder_is_made(
    change: Callable[[Recipe, Path], None], error: type[Exception], message: str, make_recipe: Make, tmp_path: Path
) -> None:
    recipe = make_recipe("refused")
    recipe.detector.settings = dict(recipe.detector.settings)
    change(recipe, tmp_path)
    with pytest.raises(error, match=message):
        fit.distill(recipe)
    assert not (tmp_path / "refused").exists()


def _other(folder: Path) -> str:
    return str(save(create("gfl_mnv3s_050", ["tank"]), folder / "other.safetensors"))


def test_folders_that_cannot_be_used_are_told(make_recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in ("file", "file/below"):
        with pytest.raises(ConfigError, match=f"{out}: cannot be made, since .*file is a file. Give another --out"):
            fit.train(make_recipe(out))
    with pytest.raises(ConfigError, match=r"no checkpoint to resume from\. Leave --resume away"):
        fit.train(make_recipe("fresh"), resume=True)
    assert not (tmp_path / "fresh").exists()


def test_a_run_goes_on_with_the_recipe_that_it_began_with(make_recipe: Make) -> None:
    fit.train(make_recipe("begun", epochs=1, test=False))
    changed = make_recipe("begun", epochs=2, test=False)
    changed.optim.lr *= 2
    with pytest.raises(ConfigError, match=r"begun: goes on as it began, with optim\.lr .*, and now that is .*--out"):
        fit.train(changed, resume=True)
    fit.train(make_recipe("begun", epochs=2, test=False), resume=True)  # more epochs are no other training
    (fit.train(make_recipe("torn", epochs=1, test=False)) / "recipe.yaml").write_text("seed: [")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: is damaged\. Give another --out"):
        fit.train(make_recipe("torn", epochs=1, test=False), resume=True)


def test_bfloat16_on_a_cpu_leaves_depthwise_convolutions_out(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[torch.dtype]] = {"depthwise": set(), "dense": set()}
    losses = Train.losses

    def watched(self: Train, batch: Batch) -> dict[str, Tensor]:
        for module in self.detector.modules():
            if isinstance(module, nn.Conv2d):
                mine = seen["depthwise" if module.groups == module.in_channels > 1 else "dense"]
                module.register_forward_hook(lambda _module, _inputs, output, mine=mine: mine.add(output.dtype))
        return losses(self, batch)

    monkeypatch.setattr(Train, "losses", watched)
    recipe = make_recipe(ema=0.9)
    recipe.trainer.precision = "bf16-mixed"
    folder = fit.train(recipe)
    assert seen["depthwise"] == {torch.float32}
    assert torch.bfloat16 in seen["dense"]
    assert all(value.dtype != torch.bfloat16 for value in weights(folder / "student.safetensors").values())


def test_half_precision_without_a_gpu_is_refused_and_nothing_is_left(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe(out="half")
    recipe.trainer.precision = "16-mixed"
    with pytest.raises(ConfigError, match=r"16-mixed needs a GPU. Give --trainer.precision bf16-mixed or 32-true"):
        fit.train(recipe)
    assert not (tmp_path / "half").exists()
