"""ReviewKD re-stated slowly: one level at a time, every pool a block of cells."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.peers.reviewkd import ReviewKD, hierarchical_context_loss
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def mean_square(a: Tensor, b: Tensor) -> float:
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    return sum((x - y) ** 2 for x, y in pairs) / len(pairs)


def blocks(x: Tensor, side: int) -> Tensor:
    b, c, h, w = x.shape
    return x.reshape(b, c, side, h // side, side, w // side).mean((3, 5))


@pytest.mark.parametrize(("side", "used"), [(16, (4, 2, 1)), (8, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())])
def test_the_loss_over_numbers(side: int, used: tuple[int, ...]) -> None:
    torch.manual_seed(side)
    s, t = torch.randn(2, 3, side, side), torch.randn(2, 3, side, side)
    total, weights = mean_square(s, t), 1.0
    for n, grid in enumerate(used, start=1):
        total += mean_square(blocks(s, grid), blocks(t, grid)) / 2**n
        weights += 1 / 2**n
    assert hierarchical_context_loss(s, t).item() == pytest.approx(total / weights, rel=1e-4)
    assert hierarchical_context_loss(t, t) == 0
    assert used != (4, 2, 1) or weights == 1.875


def normalised(x: Tensor) -> Tensor:
    """Batch normalisation as it starts, in training."""
    mean, spread = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    return (x - mean) / (spread + 1e-5).sqrt()


def test_the_term_level_by_level(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1, channels=3), make_knowledge(2, channels=5)
    torch.manual_seed(0)
    method = ReviewKD(weight=2.0)
    method.build(student, teacher)
    got = method.requires_grad_(False).train()(student, teacher, two_images)["reviewkd"].item()
    expected, above = 0.0, None
    for i in (2, 1, 0):
        reduce, expand = method.fusion.reduce[i], method.expand[i]
        x = normalised(torch.einsum("oc,bchw->bohw", reduce[0].weight[:, :, 0, 0], student.pyramid[i]))  # type: ignore
        if above is not None:
            up = above.repeat_interleave(2, 2).repeat_interleave(2, 3)
            gate = method.fusion.gates[i]
            both = torch.cat([x, up], 1)
            weight, bias = gate.weight[:, :, 0, 0], gate.bias[None, :, None, None]  # type: ignore[index]
            g = (torch.einsum("oc,bchw->bohw", weight, both) + bias).sigmoid()  # type: ignore[arg-type]
            x = g[:, :1] * x + g[:, 1:] * up
        above = x
        reviewed = normalised(F.conv2d(x, expand[0].weight, padding=1))  # type: ignore[index]
        expected += 2.0 * hierarchical_context_loss(reviewed, teacher.pyramid[i]).item()
    assert got == pytest.approx(expected, rel=1e-4)


def test_it_is_zero_where_the_review_gives_the_teacher(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    same = make_knowledge(3)
    method = ReviewKD()
    method.build(same, same)
    method.fusion.reduce = nn.ModuleList(nn.Identity() for _ in same.pyramid)
    method.expand = nn.ModuleList(nn.Identity() for _ in same.pyramid)
    with torch.no_grad():
        for gate in method.fusion.gates:
            gate.weight.zero_()  # type: ignore[operator,union-attr]
            gate.bias.copy_(torch.tensor([100.0, -100.0]))  # type: ignore[operator,union-attr]
    assert method(same, same, two_images)["reviewkd"].item() == pytest.approx(0, abs=1e-6)


def test_the_fused_width_is_the_coarsest_levels_up_to_a_bound(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1, channels=6), make_knowledge(2, channels=5)
    wide = Knowledge((*student.pyramid[:2], torch.zeros(2, 600, 2, 2)), student.strides)
    for knowledge, width in ((student, 6), (wide, 512)):
        method = ReviewKD()
        method.build(knowledge, teacher)
        assert [e[0].weight.shape for e in method.expand] == [(5, width, 3, 3)] * 3  # type: ignore[index,union-attr]


def test_the_gates_are_shown(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = ReviewKD()
    method.build(student, teacher)
    assert method.matrices() == {}
    method(student, teacher, two_images)
    beta = method.matrices()["beta"]
    assert beta.shape == (3, 3)
    assert not beta.requires_grad
    assert beta.tril(-1).abs().max() == 0
