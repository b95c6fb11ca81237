"""The binding of every object apart."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skystill.boxes.obb import obb_to_corners
from skystill.distillation.ltd import LTD
from skystill.distillation.ltd.regional import RegionalBinding, draw_points
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]
TAU, RHO = 0.2, 0.5


@pytest.fixture
def pair(make_knowledge: MakeKnowledge) -> tuple[Knowledge, Knowledge]:
    """Three student levels of 6 channels, four teacher levels of 10, of a 64 px image."""
    return make_knowledge(1, channels=6, side=64), make_knowledge(2, channels=10, side=64, strides=(4, 8, 16, 32))


def made(student: Knowledge, teacher: Knowledge, places: int = 128, focus: float = 0.5) -> RegionalBinding:
    torch.manual_seed(0)
    return RegionalBinding(student, teacher, places, focus, TAU, RHO)


def truth(*boxes: list[float]) -> Targets:
    return Targets(torch.tensor(boxes).reshape(-1, len(boxes[0])), torch.zeros(len(boxes), dtype=torch.int64))


@pytest.mark.parametrize("batch", [2, 5])
def test_the_loss_is_the_formula(make_knowledge: MakeKnowledge, batch: int) -> None:
    student = make_knowledge(1, channels=6, side=64, batch=batch)
    teacher = make_knowledge(2, channels=10, side=64, strides=(4, 8, 16, 32), batch=batch)
    targets = [truth([4.0, 4, 20, 12], [30, 30, 60, 60])] + [Targets.empty()] * (batch - 1)
    method = made(student, teacher, 64 * batch).requires_grad_(False)
    torch.manual_seed(3)
    loss, alpha = method(student.pyramid, teacher.pyramid, targets)
    torch.manual_seed(3)
    points, region = draw_points(targets, 64, 0.5, (64, 64))

    def cells(level: Tensor, stride: int) -> Tensor:
        """(B, P, C) by hand; of more than three images without their mean."""
        shared = sum(level) / batch if batch > 3 else torch.zeros_like(level[0])
        rows = [
            [(image - shared)[:, int(y // stride), int(x // stride)] for x, y in points[b].tolist()]
            for b, image in enumerate(level)
        ]
        return torch.stack([torch.stack(row) for row in rows])

    def standard(x: Tensor, floor: Tensor | float = 0.0) -> Tensor:
        flat = x.flatten(0, 1)
        return ((flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-6 + floor).sqrt()).view_as(x)

    seen_s = [
        standard(cells(s, stride) @ phi.weight[:, :, 0, 0].T + phi.bias)
        for s, stride, phi in zip(student.pyramid, student.strides, method.adapt, strict=True)
    ]
    seen_t = [
        standard(cells(t, stride), 1e-3 * t.transpose(0, 1).flatten(1).var(1, correction=0))
        for t, stride in zip(teacher.pyramid, teacher.strides, strict=True)
    ]
    expected, mean_alpha = 0.0, torch.zeros(batch, 3, 4)
    for i, s in enumerate(seen_s):
        d = torch.stack([1 - (s * t).mean(2) for t in seen_t], 2)  # (B, P, L_t)
        for number in region.unique().tolist():
            where = region == number
            logits = [
                (1 - float(d[where][:, j].mean())) / TAU - RHO * abs(math.log2(student.strides[i] / teacher.strides[j]))
                for j in range(4)
            ]
            powers = torch.tensor(logits).softmax(0)
            expected += float((d[where] * powers).sum())
            image = int(where.any(1).nonzero()[0])
            mean_alpha[image, i] += powers * where.sum() / 64
    assert float(loss) == pytest.approx(expected / (3 * batch * 64), rel=1e-4)
    torch.testing.assert_close(alpha, mean_alpha, rtol=1e-4, atol=1e-5)


def test_objects_get_their_share_of_points_each_as_many_as_another() -> None:
    torch.manual_seed(0)
    small, large = [2.0, 2, 6, 6], [20.0, 20, 60, 60]
    ignored = Targets(torch.tensor([small]), torch.zeros(1, dtype=torch.int64), torch.tensor([True]))
    points, region = draw_points([truth(small, large), Targets.empty(), ignored], 4000, 0.5, (64, 64))
    counts = region[0].bincount().tolist()
    assert counts[0] == 2000
    assert counts[1] == pytest.approx(1000, abs=120)
    for number, (x1, y1, x2, y2) in ((1, small), (2, large)):
        mine = points[0][region[0] == number]
        assert bool(((mine >= torch.tensor([x1, y1])) & (mine <= torch.tensor([x2, y2]))).all())
        assert mine.mean(0).tolist() == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=0.1 * (x2 - x1))
    assert region[1].unique().tolist() == [3]  # no object: all points anywhere
    assert region[2].unique().numel() == 1
    assert not set(region[1].tolist()) & set(region[2].tolist())
    assert bool((points >= 0).all() and (points < 64).all())


def test_points_lie_in_turned_boxes() -> None:
    torch.manual_seed(0)
    box = [32.0, 32, 30, 6, 0.7]
    points, region = draw_points([truth(box)], 400, 1.0, (64, 64))
    corners = obb_to_corners(torch.tensor([box])).view(4, 2)
    for a, b in zip(corners, corners.roll(-1, 0), strict=True):
        edge, to = b - a, points[0] - a
        side = edge[0] * to[:, 1] - edge[1] * to[:, 0]
        assert bool((side >= -1e-3).all()) or bool((side <= 1e-3).all())
    assert region.unique().tolist() == [1]


def test_boxes_that_leave_the_image_give_points_inside_it() -> None:
    points, _ = draw_points([truth([-30.0, 50, 10, 90])], 200, 1.0, (64, 64))
    assert bool((points >= 0).all() and (points < 64).all())


def test_a_small_and_a_large_object_bind_to_other_levels() -> None:
    """Where the teacher's fine level says the same as the student's inside one object, and its coarse one in another,
    each object binds to its own."""
    gen = torch.Generator().manual_seed(0)
    s = torch.randn(1, 4, 8, 8, generator=gen)
    fine = torch.randn(1, 4, 8, 8, generator=gen)
    fine[:, :, :4] = s[:, :, :4]  # upper half
    coarse = torch.randn(1, 4, 4, 4, generator=gen)
    s[:, :, 4:] = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, 4:]  # lower half
    student, teacher = Knowledge((s,), (8,)), Knowledge((fine, coarse), (8, 16))
    method = RegionalBinding(student, teacher, 4000, 1.0, TAU, 0.0)
    targets = [truth([0.0, 0, 64, 32], [0.0, 32, 64, 64])]
    torch.manual_seed(1)
    _, region = draw_points(targets, 4000, 1.0, (64, 64))
    seen = []
    original = method._bind
    method._bind = lambda d, r: seen.append(original(d, r)) or seen[-1]  # type: ignore[method-assign]
    torch.manual_seed(1)
    method((s,), (fine, coarse), targets)
    upper, lower = (seen[0][region == number].mean(0)[0].tolist() for number in (1, 2))
    assert upper[0] > 0.9
    assert lower[1] > 0.9


def test_a_pattern_that_all_images_share_is_no_lesson() -> None:
    """What padding draws on a level is easy to imitate; a binding by ease would run to it."""
    gen = torch.Generator().manual_seed(0)
    s = torch.randn(6, 4, 8, 8, generator=gen)
    pattern = torch.randn(1, 4, 4, 4, generator=gen).expand(6, -1, -1, -1)
    student = s + 3 * pattern.repeat_interleave(2, 2).repeat_interleave(2, 3)
    method = RegionalBinding(Knowledge((student,), (8,)), Knowledge((s, pattern), (8, 16)), 6000, 0.0, TAU, 0.0)
    loss, alpha = method((student,), (s, pattern), [Targets.empty()] * 6)
    assert float(alpha[:, 0, 0].min()) > 0.9
    assert float(loss.detach()) < 0.1  # it is s that is learned, and all of it is there


def test_equal_pyramids_are_at_distance_zero(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    same = make_knowledge(1, channels=6, side=64)
    method = RegionalBinding(same, same, 128, 0.5, TAU, 1000.0)  # every level bound to itself
    loss, alpha = method(same.pyramid, same.pyramid, two_images)
    assert float(loss) == pytest.approx(0, abs=2e-3)  # but for the floor of what counts as content
    torch.testing.assert_close(alpha, torch.eye(3).expand(2, 3, 3))


def test_ltd_trains_by_it(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    student, teacher = pair
    leaves = [p.clone().requires_grad_() for p in student.pyramid]
    student = Knowledge(tuple(leaves), student.strides)
    method = LTD(binding="regional", sem=0.0, loc=0.0, ccd=2.0, places=128)
    method.build(student, teacher)
    torch.manual_seed(0)
    terms = method(student, teacher, two_images)
    assert set(terms) == {"ccd"}
    torch.manual_seed(0)
    assert method.regional is not None
    assert float(terms["ccd"]) == pytest.approx(
        2 * float(method.regional(student.pyramid, teacher.pyramid, two_images)[0])
    )
    terms["ccd"].backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in (*leaves, *(w for w in method.parameters() if w.ndim > 1))
    )
    assert method.matrices()["alpha"].sum(1).tolist() == pytest.approx([1, 1, 1])


def test_a_level_of_another_width_has_adapters_of_its_own(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets]
) -> None:
    student, teacher = pair
    uneven = Knowledge((teacher.pyramid[0][:, :4], *teacher.pyramid[1:]), teacher.strides)
    binding = made(student, uneven)
    count = len(student.pyramid)
    assert [phi.weight.shape[0] for phi in binding.adapt] == [4] * count + [10] * count
    loss, alpha = binding(student.pyramid, uneven.pyramid, two_images)
    loss.backward()
    assert alpha.shape == (2, count, 4)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in binding.parameters())
