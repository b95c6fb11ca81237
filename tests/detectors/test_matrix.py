"""Any teacher with any student: every pair of families learns a few steps."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

import skystill
from skystill.distillation.methods import make_method
from skystill.structures import Targets

FAMILIES = ("gfl", "retinanet", "fcos", "fasterrcnn", "ssdlite", "yolo11", "rtdetr", "detr", "generic")
# Of two heads and no distributions, else as yolo11: with each kind of partner once.
ENDTOEND = (("yolo26", "yolo26"), ("yolo26", "gfl"), ("yolo26", "fasterrcnn"), ("yolo11", "yolo26"), ("gfl", "yolo26"))
MakeDetector = Callable[..., skystill.Detector]
Scene = tuple[Tensor, list[Targets]]


def method_for(student: str, teacher: str) -> skystill.LTD:
    """LTD as it is; a student wrapped by its layers has no predictions to teach, so features alone."""
    if student == "generic":
        return skystill.LTD(sem=0, loc=0)
    # What an untrained teacher finds seldom lies near an object: let it count wherever it is.
    return skystill.LTD(sure=0.0, low=0.0) if student in ("rtdetr", "detr") else skystill.LTD()


def terms_for(student: str, teacher: str) -> set[str]:
    if student == "generic":
        return {"ccd", "gates"}
    return {"ccd", "gates", "sem", "loc"} | ({"roi_sem", "roi_loc"} if student == "fasterrcnn" else set())


@pytest.mark.parametrize(("student", "teacher"), [*product(FAMILIES, FAMILIES), *ENDTOEND])
def test_a_student_learns_from_a_teacher(make_detector: MakeDetector, scene: Scene, student: str, teacher: str) -> None:
    images, targets = scene
    pupil, master = make_detector(student, seed=1), make_detector(teacher, seed=2)
    for parameter in master.parameters():
        parameter.data.clamp_(min=-1)  # biases by which an untrained head says that there is nothing
    own = set(pupil(images, targets).losses)
    torch.manual_seed(0)
    distiller = skystill.Distiller(pupil, master, method_for(student, teacher))
    before = [p.clone() for p in master.parameters()]
    optimizer = torch.optim.AdamW(distiller.parameters(), 1e-3)
    history = []
    # The queries of an untrained set predictor change places at first.
    for step in range(14 if student in ("rtdetr", "detr") else 6):
        torch.manual_seed(step % 2)  # the places and proposals that are drawn
        losses = distiller(list(images), targets)
        assert losses.keys() == own | terms_for(student, teacher)
        assert all(torch.isfinite(v) for v in losses.values())
        optimizer.zero_grad()
        # It is the method's terms that must fall: a set predictor's own are far larger, and pull elsewhere at first.
        torch.stack([0.1 * v if name in own else v for name, v in losses.items()]).sum().backward()
        optimizer.step()
        history.append({name: float(v.detach()) for name, v in losses.items() if name not in own})
    never = {"gates"} if student == "detr" else set()  # between the gates of one level there is nothing to choose
    assert {name for name, value in history[0].items() if value <= 0} == never
    assert sum(history[-1].values()) < sum(history[0].values())
    assert all(p.grad is None for p in master.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, master.parameters(), strict=True))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pupil.parameters() if p.requires_grad)


@pytest.mark.parametrize(("student", "teacher"), permutations(("gfl", "retinanet", "fcos", "yolo11"), 2))
def test_open_heads_teach_each_other(make_detector: MakeDetector, scene: Scene, student: str, teacher: str) -> None:
    """By what the teacher's head makes of the student's maps; from what a cache holds of a teacher too."""
    images, targets = scene
    pupil, master = make_detector(student, seed=1), make_detector(teacher, seed=2)
    method = make_method("crosskd")
    distiller = skystill.Distiller(pupil, master, method)
    losses = distiller(images, targets)
    terms = {name: losses[name] for name in ("crosskd_sem", "crosskd_loc")}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    assert all(p.grad is None for p in master.parameters())
    assert any(p.grad is not None and p.grad.any() for p in pupil.backbone.parameters())  # type: ignore[attr-defined]
    told = distiller.ask(master, images)
    seen = pupil.eval()(images).knowledge
    live, stored = (method(seen, one, targets)["crosskd_sem"] for one in (told, replace(told, head=None)))
    torch.testing.assert_close(live, stored)


@pytest.mark.parametrize("teacher", ["gfl", "fasterrcnn", "yolo11"])
def test_a_teacher_in_bfloat16_teaches_what_it_would_in_float32(
    make_detector: MakeDetector, scene: Scene, teacher: str
) -> None:
    images, targets = scene
    found = []
    for bf16 in (False, True):
        pupil, master = make_detector("gfl", seed=1), make_detector(teacher, seed=2)
        torch.manual_seed(0)
        distiller = skystill.Distiller(pupil, master, skystill.LTD(), teacher_bf16=bf16)
        torch.manual_seed(1)
        found.append(distiller(images, targets))
    for name, value in found[0].items():
        assert float(found[1][name].detach()) == pytest.approx(float(value.detach()), rel=0.2, abs=0.05), name
