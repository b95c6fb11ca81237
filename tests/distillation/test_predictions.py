"""A file of predictions as a teacher: what it answers, and how it stands beside networks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.distillation.distiller import Distiller, Teacher, inherit
from skystill.distillation.method import Method
from skystill.distillation.predictions import PredictionsTeacher
from skystill.errors import ConfigError
from skystill.structures import Detections, Knowledge, Targets

MakeGFL = Callable[..., GFL]
CLASSES = ("ship", "plane", "car")


class Spy(Method):
    """Remembers what it was told."""

    features = False

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        self.probe = teacher

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        self.told = teacher
        return {"spy": student.pyramid[0].mean()}


def told(score: float) -> Detections:
    return Detections(torch.tensor([[1.0, 2, 9, 8]]), torch.tensor([score]), torch.tensor([1]))


def both(two_images: list[Targets]) -> list[Targets]:
    return [Targets(t.boxes, t.labels, name=t.name, told=told(s)) for t, s in zip(two_images, (0.4, 0.8), strict=True)]


def test_it_answers_with_what_the_targets_were_told(make_gfl: MakeGFL, two_images: list[Targets]) -> None:
    method, targets = Spy(), both(two_images)
    distiller = Distiller(make_gfl(0), PredictionsTeacher("found.json", CLASSES), method, teacher_scale=2.0)
    losses = distiller(torch.rand(2, 3, 64, 64), targets)
    assert "spy" in losses
    assert method.told.detections == [t.told for t in targets]  # in the view's pixels, whatever teacher_scale
    assert method.told.pyramid == method.told.strides == ()
    assert method.probe.detections is not None
    assert [len(found) for found in method.probe.detections] == [0]
    distiller.double()
    assert set(distiller.state_dict()) == {f"student.{k}" for k in distiller.student.state_dict()}


def test_it_teaches_beside_a_network(make_gfl: MakeGFL, two_images: list[Targets]) -> None:
    teachers: list[Teacher] = [make_gfl(1), PredictionsTeacher("found.json", CLASSES)]
    distiller = Distiller(make_gfl(0), teachers, Spy())
    assert distiller.networks == (teachers[0],)
    distiller(torch.rand(2, 3, 64, 64), both(two_images))
    first, second = distiller.methods
    assert first.told.dense is not None  # type: ignore[union-attr]
    assert second.told.dense is None  # type: ignore[union-attr]


def test_what_cannot_be_is_one_line(make_gfl: MakeGFL, two_images: list[Targets]) -> None:
    distiller = Distiller(make_gfl(0), PredictionsTeacher("found.json", CLASSES), Spy())
    with pytest.raises(ConfigError, match=r"found.json says nothing of image 'second'"):
        distiller(torch.rand(2, 3, 64, 64), [both(two_images)[0], two_images[1]])
    with pytest.raises(ConfigError, match="only the student has car"):
        Distiller(make_gfl(0), PredictionsTeacher("found.json", CLASSES[:2]), Spy())
    with pytest.raises(ConfigError, match="hbb boxes, the teacher obb"):
        Distiller(make_gfl(0), PredictionsTeacher("found.json", CLASSES, "obb"), Spy())
    with pytest.raises(ConfigError, match="no weights to inherit"):
        inherit(make_gfl(0), PredictionsTeacher("found.json", CLASSES))


def test_an_oriented_probe_has_five_columns() -> None:
    found = PredictionsTeacher("found.json", CLASSES, "obb").ask(torch.zeros(2, 3, 8, 8), []).detections
    assert found is not None
    assert [tuple(f.boxes.shape) for f in found] == [(0, 5), (0, 5)]
