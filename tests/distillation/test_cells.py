"""Cells against slow loops over plain numbers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.distillation.cells import by_cell, fold_finer
from skystill.distillation.pairing import same_grid
from skystill.structures import Dense, Knowledge

MakeKnowledge = Callable[..., Knowledge]


def anchored(seed: int, sizes: list[tuple[int, int]], anchors: list[int], stride: int = 8, classes: int = 3) -> Dense:
    """A head with some anchors a cell, side by side, on levels of these (rows, columns)."""
    gen = torch.Generator().manual_seed(seed)
    places, levels = [], []
    for level, ((rows, columns), count) in enumerate(zip(sizes, anchors, strict=True)):
        step = stride * 2**level
        for y in range(rows):
            for x in range(columns):
                for a in range(count):
                    cx, cy, w, h = (x + 0.5) * step, (y + 0.5) * step, 2 * step * (a + 1), 2 * step / (a + 1)
                    places.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        levels.append(rows * columns * count)
    grid = torch.tensor(places)
    boxes = grid + torch.randn(2, len(grid), 4, generator=gen)
    return Dense(torch.randn(2, len(grid), classes, generator=gen), boxes, None, grid, tuple(levels))


def knowledge(dense: Dense, sizes: list[tuple[int, int]], stride: int = 8) -> Knowledge:
    return Knowledge(
        tuple(torch.zeros(2, 4, *s) for s in sizes), tuple(stride * 2**i for i in range(len(sizes))), dense
    )


def iou(a: list[float], b: list[float]) -> float:
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = across * down
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_by_cell_is_what_a_loop_over_cells_finds() -> None:
    sizes = [(3, 4), (2, 2)]
    student, teacher = anchored(1, sizes, [3, 2]), anchored(2, sizes, [2, 4])
    dense_s, dense_t = by_cell(student, teacher, [12, 4])
    assert dense_s.levels == dense_t.levels == (12, 4)
    for image in range(2):
        cell = start_s = start_t = 0
        for (rows, columns), count_s, count_t in zip(sizes, [3, 2], [2, 4], strict=True):
            for _ in range(rows * columns):
                mine, theirs = range(start_s, start_s + count_s), range(start_t, start_t + count_t)
                best_t = max(theirs, key=lambda n: float(teacher.logits[image, n].sigmoid().max()))
                box = teacher.boxes[image, best_t].tolist()
                best_s = max(mine, key=lambda n: iou(student.places[n].tolist(), box))
                assert torch.equal(dense_t.logits[image, cell], teacher.logits[image, best_t])
                assert torch.equal(dense_t.boxes[image, cell], teacher.boxes[image, best_t])
                assert torch.equal(dense_s.logits[image, cell], student.logits[image, best_s])
                assert torch.equal(dense_s.boxes[image, cell], student.boxes[image, best_s])
                assert torch.allclose(dense_s.places[cell], student.places[list(mine)].mean(0))
                cell, start_s, start_t = cell + 1, start_s + count_s, start_t + count_t
    assert cell == 16


def test_oriented_boxes_choose_by_the_upright_box_around_them() -> None:
    sizes, cells = [(3, 4), (2, 2)], [12, 4]
    student, teacher = anchored(1, sizes, [3, 2]), anchored(2, sizes, [2, 4])
    x1, y1, x2, y2 = teacher.boxes.unbind(2)
    level = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, torch.zeros_like(x1)], 2)
    turned = by_cell(student, replace(teacher, boxes=level), cells)
    assert torch.equal(turned[0].logits, by_cell(student, teacher, cells)[0].logits)
    assert turned[1].boxes.shape == (2, 16, 5)


@pytest.mark.parametrize("fine", [(6, 8), (5, 7)])
def test_finer_anchors_count_to_the_cell_they_lie_in(fine: tuple[int, int]) -> None:
    sizes = [fine, (3, 4), (2, 2)]
    whole = knowledge(anchored(3, sizes, [2, 3, 1]), sizes)
    folded = fold_finer(whole, 16)
    assert folded.strides == (16, 32)
    assert [p.shape[2:] for p in folded.pyramid] == [(3, 4), (2, 2)]
    assert folded.dense is not None
    assert folded.dense.levels == (12 * (3 + 4 * 2), 4)
    assert whole.dense is not None
    per_cell = folded.dense.places[: folded.dense.levels[0]].view(3, 4, 11, 4)
    for y in range(3):
        for x in range(4):
            own = whole.dense.places[fine[0] * fine[1] * 2 :][(y * 4 + x) * 3 : (y * 4 + x + 1) * 3]
            inside = [
                whole.dense.places[(v * fine[1] + u) * 2 + a]
                for v in range(2 * y, 2 * y + 2)
                for u in range(2 * x, 2 * x + 2)
                for a in range(2)
                if v < fine[0] and u < fine[1]
            ]
            assert rows(per_cell[y, x]) == rows(torch.cat([own, torch.stack(inside)]))


def rows(boxes: Tensor) -> set[tuple[float, ...]]:
    return {tuple(box) for box in boxes.tolist()}


def test_levels_that_are_no_finer_stay(make_knowledge: MakeKnowledge) -> None:
    seen = make_knowledge(1)
    assert fold_finer(seen, 8) is seen
    assert fold_finer(seen, 4) is seen
    assert fold_finer(seen, 12) is seen


def test_a_finer_teacher_of_another_kind_tells_of_its_small_objects() -> None:
    """A small object that only the teacher's finest level sees reaches the student's cell around it."""
    sizes = [(8, 8), (4, 4)]
    dense_t = anchored(4, sizes, [1, 1])
    dense_t = replace(dense_t, logits=torch.full_like(dense_t.logits, -5))
    dense_t.logits[0, 2 * 8 + 5, 1] = 4.0  # row 2, column 5 at stride 8: row 1, column 2 at stride 16
    student = knowledge(anchored(5, [(4, 4)], [2], stride=16), [(4, 4)], stride=16)
    _, told = same_grid(student, knowledge(dense_t, sizes))
    assert told.levels == (16,)
    assert (told.logits[0, :, 1] == 4).nonzero().flatten().tolist() == [1 * 4 + 2]
    assert told.logits[1].max() == -5


def test_heads_with_edges_are_not_folded(make_knowledge: MakeKnowledge) -> None:
    """Distributions are in units of the stride, so those of other levels cannot be compared."""
    student, teacher = make_knowledge(1, strides=(16, 32)), make_knowledge(2)
    _, told = same_grid(student, teacher)
    assert teacher.dense is not None
    assert torch.equal(told.logits, teacher.dense.logits[:, 64:])
