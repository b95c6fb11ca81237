"""What stands in for the truth of unlabelled images, against hand-made answers of teachers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.detectors.gfl import GFL
from skystill.detectors.gfl.loss import gfl_loss
from skystill.distillation.distiller import Distiller
from skystill.distillation.found import detections_of
from skystill.distillation.ltd import LTD
from skystill.distillation.method import Method
from skystill.distillation.pseudo import with_pseudo_targets
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Knowledge, Queries, Scope, Targets, TwoStage

MakeGFL = Callable[..., GFL]
SIZE = (48, 64)
TRUTH = Targets(torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([2]), name="looked at")
UNKNOWN = replace(Targets.empty("unknown"), labelled=False, key=(3, 7))
NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
WHOLE = [[0.0, 0.0, 64.0, 48.0]]


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def of(*images: Detections) -> Knowledge:
    return Knowledge((), (), detections=list(images))


def test_sure_detections_become_objects_and_unsure_ones_are_ignored() -> None:
    seen = found(
        ([4, 4, 20, 20], 0.9, 1),
        ([50, 30, 90, 60], 0.5, 0),  # reaches beyond the image and is cut
        ([70, 4, 90, 20], 0.8, 0),  # outside
        ([30, 4, 40, 20], 0.49, 2),
        ([1, 1, 3, 3], 0.2, 2),
        ([9, 9, 11, 11], 0.19, 2),
    )
    targets = with_pseudo_targets([TRUTH, UNKNOWN], [of(found(([0, 0, 1, 1], 1.0, 0)), seen)], SIZE, 0.5, 0.2)
    assert targets[0] is TRUTH
    made = targets[1]
    assert made.boxes.tolist() == [[4, 4, 20, 20], [50, 30, 64, 48], [30, 4, 40, 20], [1, 1, 3, 3]]
    assert made.labels.tolist() == [1, 0, 2, 2]
    assert made.ignore.tolist() == [False, False, True, True]
    assert (made.name, made.key, made.labelled) == ("unknown", (3, 7), False)


@pytest.mark.parametrize("seen", [NOTHING, found(([4, 4, 20, 20], 0.4, 1))])
def test_silence_is_no_background(seen: Detections) -> None:
    (made,) = with_pseudo_targets([UNKNOWN], [of(seen)], SIZE, 0.5, 0.2)
    assert made.boxes.tolist() == WHOLE
    assert made.ignore.tolist() == [True]


def test_silence_in_an_oriented_image() -> None:
    none = Detections(torch.zeros(0, 5), NOTHING.scores, NOTHING.labels)
    unknown = replace(Targets.empty("unknown", 5), labelled=False)
    (made,) = with_pseudo_targets([unknown], [of(none)], SIZE, 0.5, 0.2)
    assert made.boxes.tolist() == [[32, 24, 64, 48, 0]]
    (tall,) = with_pseudo_targets([unknown], [of(none)], (64, 48), 0.5, 0.2)
    assert tall.boxes[0].tolist() == pytest.approx([24, 32, 64, 48, -math.pi / 2])


def test_what_no_teacher_may_speak_of_is_no_background() -> None:
    seen = found(([4, 4, 20, 20], 0.9, 1), ([30, 4, 40, 20], 0.3, 1))
    small, large = (Scope((True, True, True), sides) for sides in ((0.0, 32.0), (32.0, math.inf)))
    partial = replace(of(seen), scope=Scope((False, True, False), None))
    for lessons in ([partial], [replace(of(seen), scope=small)]):
        (made,) = with_pseudo_targets([UNKNOWN], lessons, SIZE, 0.5, 0.2)
        assert made.boxes.tolist() == [[4, 4, 20, 20], *WHOLE]
        assert (made.labels.tolist()[0], made.ignore.tolist()) == (1, [False, True])
    for others in ([of(NOTHING)], [replace(of(NOTHING), scope=Scope((True, False, True), None))]):
        (made,) = with_pseudo_targets([UNKNOWN], [partial, *others], SIZE, 0.5, 0.2)
        assert made.boxes.tolist() == [[4, 4, 20, 20], [30, 4, 40, 20]]
    (made,) = with_pseudo_targets(
        [UNKNOWN], [replace(of(seen), scope=small), replace(of(NOTHING), scope=large)], SIZE, 0.5, 0.2
    )
    assert len(made) == 2


def test_a_teacher_of_features_alone_leaves_it_to_the_others() -> None:
    silent = Knowledge((), ())
    (made,) = with_pseudo_targets([UNKNOWN], [silent, of(found(([4, 4, 20, 20], 0.9, 1)))], SIZE, 0.5, 0.2)
    assert made.boxes.tolist() == [[4, 4, 20, 20]]
    with pytest.raises(ConfigError, match=r"data\.unlabelled takes what a teacher finds.*Leave it away"):
        with_pseudo_targets([UNKNOWN], [silent], SIZE, 0.5, 0.2)


def test_images_with_truth_ask_for_nothing() -> None:
    silent = Knowledge((), ())  # a teacher whose head nobody can read
    targets = [TRUTH]
    assert with_pseudo_targets(targets, [silent], SIZE, 0.5, 0.2) is targets


def test_several_teachers_are_joined_without_repetitions() -> None:
    one = found(([4, 4, 20, 20], 0.6, 1), ([40, 4, 50, 20], 0.3, 0))
    other = found(([4, 4, 20, 21], 0.9, 1), ([4, 4, 20, 20], 0.7, 0))
    (made,) = with_pseudo_targets([UNKNOWN], [of(one), of(other)], SIZE, 0.5, 0.2)
    assert made.boxes.tolist() == [[4, 4, 20, 21], [4, 4, 20, 20], [40, 4, 50, 20]]
    assert made.labels.tolist() == [1, 0, 0]
    assert made.ignore.tolist() == [False, False, True]


def test_every_kind_of_head_speaks_for_its_own_image() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9]], [[20.0, 20, 40, 40]]])
    logits = torch.tensor([[[3.0, -9]], [[-9.0, 2]]])
    dense = Dense(logits, boxes, None, boxes[0], (1,))

    def judge(pyramid: Sequence[Tensor], asked: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        assert len(asked) == len(pyramid[0]) == 1
        assert asked[0].tolist() == boxes[1].tolist()  # the second image's alone
        return torch.tensor([[-9.0, 2, 0]]), boxes[1].expand(2, 4)[None]

    pyramid = (torch.zeros(2, 1, 4, 4),)
    stages = TwoStage(Dense(logits[..., :1], boxes, None, boxes[0], (1,)), [], judge)
    for knowledge in (
        Knowledge(pyramid, (8,), dense=dense),
        Knowledge(pyramid, (8,), queries=Queries(logits, boxes)),
        Knowledge(pyramid, (8,), stages=stages),
    ):
        targets = with_pseudo_targets([TRUTH, UNKNOWN], [knowledge], SIZE, 0.5, 0.2)
        assert targets[1].boxes.tolist() == [[20, 20, 40, 40]]
        assert targets[1].labels.tolist() == [1]


def test_a_silent_image_adds_nothing_to_the_students_own_loss(make_dense: Callable[..., Dense]) -> None:
    dense = make_dense(0)
    strides = torch.cat([torch.full((n,), float(s)) for n, s in zip(dense.levels, (8, 16, 32), strict=True)])
    (silent,) = with_pseudo_targets([UNKNOWN], [of(NOTHING)], (64, 64), 0.5, 0.2)
    alone = replace(dense, logits=dense.logits[:1], boxes=dense.boxes[:1], edges=dense.edges[:1])  # type: ignore[index]
    expected, losses = gfl_loss(alone, [TRUTH], strides), gfl_loss(dense, [TRUTH, silent], strides)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx({k: v.item() for k, v in expected.items()})
    assert gfl_loss(dense, [TRUTH, Targets.empty()], strides)["qfl"] > losses["qfl"]  # as background it would


def test_student_and_method_learn_from_the_same_stand_ins(make_gfl: MakeGFL, two_images: list[Targets]) -> None:
    given: list[list[Targets]] = []

    class Spy(Method):
        def build(self, student: Knowledge, teacher: Knowledge) -> None: ...

        def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
            given.append(targets)
            return {"spy": student.pyramid[0].mean()}

    teacher = make_gfl(1)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    student = make_gfl(0)
    scores = detections_of(teacher(images[1:]).knowledge, Selection(score=1e-4))[0].scores
    distiller = Distiller(student, teacher, Spy(), sure=float(scores[3]), unsure=float(scores[8]))
    losses = distiller(images, [two_images[0], UNKNOWN])
    ((first, second),) = given
    assert first is two_images[0]
    assert 0 < len(second.counted()) < len(second)
    assert second.name == "unknown"
    own = student(images, [first, second]).losses
    assert {k: losses[k].item() for k in own} == pytest.approx({k: v.item() for k, v in own.items()}, rel=1e-5)


def test_ltd_learns_from_unlabelled_images(make_gfl: MakeGFL) -> None:
    distiller = Distiller(make_gfl(0), make_gfl(1), LTD(width=8, dim=8, places=64)).train()
    losses = distiller(torch.rand(2, 3, 64, 64), [UNKNOWN, UNKNOWN])  # an untrained teacher is sure of nothing
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert losses["qfl"] == 0
    assert losses["ccd"] > 0
    assert all(value.isfinite() for value in losses.values())
