"""Any teacher with any student: every pair of families learns a few steps."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

import skystill
from skystill.structures import Targets

FAMILIES = ("gfl", "retinanet", "fcos", "fasterrcnn", "ssdlite", "yolo11", "generic")
# Of two heads and no distributions, else as yolo11: with each kind of partner once.
ENDTOEND = (("yolo26", "yolo26"), ("yolo26", "gfl"), ("yolo26", "fasterrcnn"), ("yolo11", "yolo26"), ("gfl", "yolo26"))
MakeDetector = Callable[..., skystill.Detector]
Scene = tuple[Tensor, list[Targets]]


def method_for(student: str, teacher: str) -> skystill.LTD:
    """LTD as it is; of a model wrapped by its layers skystill knows no predictions, so features alone."""
    return skystill.LTD(sem=0, loc=0) if "generic" in (student, teacher) else skystill.LTD()


def terms_for(student: str, teacher: str) -> set[str]:
    if "generic" in (student, teacher):
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
    for step in range(6):
        torch.manual_seed(step % 2)  # the places and proposals that are drawn
        losses = distiller(list(images), targets)
        assert losses.keys() == own | terms_for(student, teacher)
        assert all(torch.isfinite(v) for v in losses.values())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        history.append({name: float(v.detach()) for name, v in losses.items() if name not in own})
    assert all(value > 0 for value in history[0].values())
    assert sum(history[-1].values()) < sum(history[0].values())
    assert all(p.grad is None for p in master.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, master.parameters(), strict=True))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pupil.parameters() if p.requires_grad)
