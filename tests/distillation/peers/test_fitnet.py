"""FitNets' eq. 3 over numbers."""

from collections.abc import Callable

import pytest
import torch

from skystill.distillation.peers.fitnet import FitNet, hint_loss
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def test_half_the_mean_square_over_numbers(make_knowledge: MakeKnowledge) -> None:
    s, t = make_knowledge(1).pyramid[0], make_knowledge(2).pyramid[0]
    squares = [(a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)]
    assert hint_loss(s, t).item() == pytest.approx(sum(squares) / len(squares) / 2, rel=1e-5)
    assert hint_loss(t, t) == 0


def test_the_term_is_the_weighted_mean_over_levels_of_regressed_features(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1, channels=3), make_knowledge(2, channels=5)
    method = FitNet(weight=4.0)
    method.build(student, teacher)
    expected = 0.0
    for s, t, phi in zip(student.pyramid, teacher.pyramid, method.adapt, strict=True):
        weight, bias = phi.weight[:, :, 0, 0], phi.bias  # type: ignore[index]
        regressed = torch.einsum("oc,bchw->bohw", weight, s) + bias[None, :, None, None]  # type: ignore[index,arg-type]
        expected += 4.0 * hint_loss(regressed, t).item() / 3
    assert method(student, teacher, two_images)["fitnet"].item() == pytest.approx(expected, rel=1e-5)


def test_the_regressor_learns_also_where_widths_agree_and_begins_as_the_identity(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    same = make_knowledge(1)
    method = FitNet()
    method.build(same, same)
    assert method(same, same, two_images)["fitnet"] == 0
    assert len(list(method.parameters())) == 6
