"""What a run takes."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import skystill
from skystill.data.config import DataConfig
from skystill.distillation.distiller import Distiller
from skystill.distillation.peers.bckd import BCKD
from skystill.distillation.peers.pkd import PKD
from skystill.doctor import toll
from skystill.doctor.patient import Patient
from skystill.doctor.toll import Toll
from skystill.errors import ConfigError
from skystill.structures import Batch, Detections, Targets
from skystill.training.recipe import Recipe, TeacherConfig, TrainerConfig

NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
GIB = 2**30


def refused(*_: object) -> int:
    raise ConfigError("cache: a teacher cache that does not fit this run: crop is 0 there, 64 here. Delete it.")


class Ten(list[Any]):
    """Ten labelled images."""

    labelled = 10

    def __len__(self) -> int:
        return 10


def fake(make_gfl, **recipe: Any) -> Patient:
    """A patient whose parts are there already."""
    patient = Patient(Recipe(DataConfig(crop=64, batch=2, replay=4), **recipe))
    student, teacher = make_gfl(0), make_gfl(1)
    images = torch.rand(2, student.in_chans, 64, 64, generator=torch.Generator().manual_seed(0))
    truth = Targets(torch.tensor([[4.0, 4, 40, 40]]), torch.zeros(1, dtype=torch.int64))
    vars(patient).update(
        student=student,
        teachers=[teacher],
        distiller=Distiller(student, teacher, PKD()).train(),
        batch=Batch(images, [truth, Targets.empty()], [(64, 64)] * 2),
        data=SimpleNamespace(datasets={"train": Ten()}, pad_for=lambda multiple: None),
        device=torch.device("cpu"),
    )
    return patient


def test_measuring_leaves_no_trace(make_gfl) -> None:
    patient = fake(make_gfl)
    before = {name: value.clone() for name, value in patient.student.state_dict().items()}
    found = toll.measure(patient)
    assert set(found.terms) == {"qfl", "dfl", "giou", "pkd"}
    assert min(found.student, found.teachers, found.step) > 0
    assert found.peak > 2**20
    assert all(torch.equal(value, before[name]) for name, value in patient.student.state_dict().items())
    assert all(p.grad is None for p in patient.distiller.parameters())


@pytest.mark.parametrize(
    ("terms", "state"),
    [
        ({"qfl": 1.0, "giou": 1.0, "ccd": 30.0}, "green"),
        ({"qfl": 1.0, "giou": 1.0, "ccd": 300.0}, "yellow"),
        ({"qfl": 300.0, "giou": 1.0, "ccd": 0.1}, "green"),
        ({"qfl": 1.0, "giou": math.nan, "ccd": 0.1}, "red"),
        ({"qfl": 1.0, "giou": 1.0, "ccd": math.inf}, "red"),
        ({"qfl": 1.0, "giou": 1.0, "ccd": 0.0, "sem": 0.0}, "yellow"),
        ({"qfl": 1.0, "giou": 1.0}, "red"),
    ],
)
def test_losses(terms: dict[str, float], state: str) -> None:
    found = toll.losses(Toll(1, 1, 2, terms, {"qfl", "giou"}, 0.0))
    assert found.state == state
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    assert all(name in found.says for name in bad)


def test_duration_with_and_without_a_cache(make_gfl) -> None:
    patient = fake(make_gfl, trainer=TrainerConfig(epochs=30))
    said = toll.duration(patient, Toll(1.0, 2.0, 4.0, {}, set(), 0.0)).says
    assert "4.00 s a step (student alone 1.00, teachers 2.00), 5 steps an epoch of 20 s, 30 epochs in 10 min" in said
    assert "would save 50%" in said
    patient.recipe.teacher.cache = "cache"
    said = toll.duration(patient, Toll(1.0, 2.0, 4.0, {}, set(), 0.0)).says
    assert "2.00 s a step from the cache" in said
    assert "would save" not in said
    patient.recipe.trainer.devices = 2
    assert "2 steps an epoch" in toll.duration(patient, Toll(1.0, 2.0, 4.0, {}, set(), 0.0)).says


def test_no_cache_is_advised_for_what_it_cannot_hold(make_gfl) -> None:
    patient = fake(make_gfl)
    blind = skystill.wrap(lambda images: [NOTHING for _ in images], patient.student.classes)
    vars(patient)["distiller"] = Distiller(patient.student, blind, BCKD())
    assert "would save" not in toll.duration(patient, Toll(1.0, 2.0, 4.0, {}, set(), 0.0)).says


def test_memory(make_gfl, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = fake(make_gfl)
    monkeypatch.setattr(toll, "_installed", lambda: 8.0 * GIB)
    assert (
        toll.memory(patient, Toll(1, 1, 1, {}, set(), 2.0 * GIB)).says == "2.0 GiB at most in this process, of 8.0 GiB"
    )
    assert toll.memory(patient, Toll(1, 1, 1, {}, set(), 7.5 * GIB)).state == "yellow"
    monkeypatch.setattr(toll, "_installed", lambda: math.nan)
    assert toll.memory(patient, Toll(1, 1, 1, {}, set(), 7.5 * GIB)).state == "green"


def test_disk(make_gfl, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = fake(make_gfl, teacher=TeacherConfig(["t"], cache=str(tmp_path / "deep" / "cache")))
    found = toll.disk(patient)
    assert (found.state, "for 40 views" in found.says) == ("green", True)
    for jitter, turn, side, state, words in (
        ((0.8, 1.25), False, 64, "red", "data.scale_jitter is [0.8, 1.25]"),
        ((1.0, 1.0), True, 96, "red", "data.turn turns images, which are not square"),
        ((1.0, 1.0), True, 64, "yellow", "if all images have the first one's size"),
        ((1.0, 1.0), False, 96, "yellow", "if all images have the first one's size"),
    ):
        data, images = patient.recipe.data, patient.data.datasets["train"]
        data.crop, data.scale_jitter, data.turn = 0, jitter, turn
        images[:] = [(torch.zeros(3, 64, side), Targets.empty())]
        found = toll.disk(patient)
        assert (found.state, words in found.says) == (state, True)
    patient.recipe.data.crop = 64
    monkeypatch.setattr(toll, "_free", lambda folder: 10.0)
    assert toll.disk(patient).state == "red"
    patient.recipe.teacher.cache_gb = 1e-9
    assert "more than teacher.cache_gb" in toll.disk(patient).says


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (lambda *_: 12, "green", "12 of them to be filled"),
        (lambda *_: 0, "green", "filled already, and as the teacher says it"),
        (refused, "red", "cache: a teacher cache that does not fit this run"),
    ],
)
def test_a_cache_that_was_begun(
    make_gfl, tmp_path, monkeypatch: pytest.MonkeyPatch, found: Callable[..., int], state: str, words: str
) -> None:
    patient = fake(make_gfl, teacher=TeacherConfig(["t"], cache=str(tmp_path / "cache")))
    monkeypatch.setattr(toll, "missing_views", found)
    told = toll.disk(patient)
    assert (told.state, words in told.says) == (state, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (12000, "3 h 20 min")]
)
def test_clock(seconds: float, text: str) -> None:
    assert toll.clock(seconds) == text
