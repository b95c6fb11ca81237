"""Any teacher with any student: every pair of families learns a few steps."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

import skystill
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
