"""MGD's eq. 2-5 over numbers: hide cells, generate, sum the squares."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skystill.distillation.peers.mgd import MGD, generation_loss, generator, kept_cells
from skystill.errors import ConfigError
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution of (B, C, H, W), zeros outside, tap by tap."""
    b, _, h, w = x.shape
    padded = torch.zeros(b, x.shape[1], h + 2, w + 2)
    padded[:, :, 1:-1, 1:-1] = x
    out = bias[None, :, None, None].repeat(b, 1, h, w)
    for dy in range(3):
        for dx in range(3):
            out = out + torch.einsum("oc,bchw->bohw", weight[:, :, dy, dx], padded[:, :, dy : dy + h, dx : dx + w])
    return out


def test_the_term_over_numbers(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1, channels=3, strides=(16, 32)), make_knowledge(2, channels=4, strides=(16, 32))
    torch.manual_seed(0)
    method = MGD(weight=0.5, mask=0.4)
    method.build(student, teacher)
    method.requires_grad_(False)
    torch.manual_seed(7)
    got = method(student, teacher, two_images)["mgd"].item()
    torch.manual_seed(7)
    expected = 0.0
    for s, t, phi, g in zip(student.pyramid, teacher.pyramid, method.adapt, method.generate, strict=True):
        adapted = torch.einsum("oc,bchw->bohw", phi.weight[:, :, 0, 0], s) + phi.bias[None, :, None, None]  # type: ignore
        drawn = torch.rand(2, 1, *s.shape[2:])
        hidden = adapted.clone()
        for b in range(2):
            for y in range(s.shape[2]):
                for x in range(s.shape[3]):
                    if drawn[b, 0, y, x] < 0.4:
                        hidden[b, :, y, x] = 0
        inner = convolved(hidden, g[0].weight, g[0].bias)  # type: ignore[index]
        made = convolved(inner * (inner > 0), g[2].weight, g[2].bias)  # type: ignore[index]
        pairs = zip(made.flatten().tolist(), t.flatten().tolist(), strict=True)
        expected += 0.5 * sum((a - b) ** 2 for a, b in pairs) / 2
    assert got == pytest.approx(expected, rel=1e-4)


def test_the_mask_hides_whole_cells_at_its_share() -> None:
    torch.manual_seed(0)
    kept = kept_cells(torch.zeros(2, 5, 100, 100), 0.65)
    assert kept.shape == (2, 1, 100, 100)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.35, abs=0.02)
    assert not torch.equal(kept[0], kept[1])
    assert kept_cells(kept, 0.0).all()


def test_nothing_is_left_to_learn_when_the_generator_gives_the_teacher() -> None:
    teacher = torch.rand(2, 4, 5, 5)
    g = generator(4)
    for layer in (g[0], g[2]):
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert generation_loss(g(teacher), teacher) == 0
    assert generation_loss(teacher + 1, teacher).item() == pytest.approx(4 * 5 * 5)


@pytest.mark.parametrize("mask", [-0.1, 1.0])
def test_a_mask_that_is_no_share_is_refused(mask: float) -> None:
    with pytest.raises(ConfigError, match="is no share of the cells"):
        MGD(mask=mask)
