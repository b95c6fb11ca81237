from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skystill.distillation.pairing import nearest_levels, rescale, same_grid
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge

MakeKnowledge = Callable[..., Knowledge]


@pytest.mark.parametrize(
    ("student", "teacher", "partners"),
    [
        ((8, 16, 32), (8, 16, 32, 64, 128), [0, 1, 2]),
        ((8, 16, 32), (16, 32, 64), [0, 0, 1]),
        ((4, 64), (8, 16), [0, 1]),
        ((16,), (8, 32), [0]),
        ((16,), (32, 8), [0]),
    ],
)
def test_each_student_level_has_the_nearest_teacher_level(
    student: tuple[int, ...], teacher: tuple[int, ...], partners: list[int]
) -> None:
    assert nearest_levels(student, teacher) == partners


def test_same_grid_keeps_the_common_levels_in_order(make_knowledge: MakeKnowledge) -> None:
    student = make_knowledge(1, side=64, strides=(8, 16, 32))
    teacher = make_knowledge(2, side=64, strides=(16, 32, 64))
    dense_s, dense_t = same_grid(student, teacher)
    assert dense_s.levels == dense_t.levels == (16, 4)
    assert torch.equal(dense_s.places, dense_t.places)
    assert student.dense is not None
    assert teacher.dense is not None
    assert torch.equal(dense_s.logits, student.dense.logits[:, 64:])
    assert torch.equal(dense_t.logits, teacher.dense.logits[:, :20])
    assert torch.equal(dense_t.boxes, teacher.dense.boxes[:, :20])
    assert torch.equal(dense_t.edges, teacher.dense.edges[:, :20])  # type: ignore[arg-type,index]


def test_same_grid_of_equal_pyramids_is_everything(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    dense_s, dense_t = same_grid(student, teacher)
    assert dense_s is student.dense
    assert dense_t is teacher.dense


def test_grids_that_do_not_meet_are_told(make_knowledge: MakeKnowledge) -> None:
    student = make_knowledge(1)
    for teacher, message in (
        (make_knowledge(2, side=128, strides=(64, 128)), "none in common"),
        (make_knowledge(2, side=128), "same input size"),
        (replace(make_knowledge(2), dense=None), "its features alone are known"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            same_grid(student, teacher)
        assert "\n" not in str(caught.value)


def test_rescale_tells_an_enlarged_image_in_the_pixels_before(make_knowledge: MakeKnowledge) -> None:
    seen = make_knowledge(1, side=128, strides=(8, 16, 32, 64))
    told = rescale(seen, 2.0)
    assert told.strides == (4, 8, 16, 32)
    assert seen.dense is not None
    assert told.dense is not None
    assert torch.equal(told.dense.boxes * 2, seen.dense.boxes)
    assert torch.equal(told.dense.places * 2, seen.dense.places)
    assert torch.equal(told.dense.logits, seen.dense.logits)
    assert all(a is b for a, b in zip(told.pyramid, seen.pyramid, strict=True))
    # The enlarged teacher's places are those of a detector that looked at the small image with half the strides.
    small = make_knowledge(2, side=64)
    dense_s, dense_t = same_grid(small, told)
    assert torch.equal(dense_s.places, dense_t.places)


def test_rescale_turns_no_angle() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 8.0, 4.0, 0.7]]])
    dense = Dense(torch.zeros(1, 1, 1), boxes, None, torch.zeros(1, 4), (1,))
    told = rescale(Knowledge((), (8,), dense), 2.0).dense
    assert told is not None
    assert told.boxes.flatten().tolist() == pytest.approx([5, 10, 4, 2, 0.7])


def test_scale_one_changes_nothing(make_knowledge: MakeKnowledge) -> None:
    seen = make_knowledge(1)
    assert rescale(seen, 1) is seen
