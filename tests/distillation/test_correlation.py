"""The Pearson distance through a 1x1 convolution, against the maps that it does not make."""

import pytest
import torch
from torch import Tensor, nn

from skystill.distillation.correlation import Seen, distance_through
from skystill.distillation.maps import standardise

Case = tuple[Tensor, Tensor, nn.Conv2d]


def case(batch: int, inputs: int, outputs: int, cells: int) -> Case:
    """Student features far from zero mean, a teacher's that depend on them, and a convolution."""
    torch.manual_seed(0)
    phi = nn.Conv2d(inputs, outputs, 1, bias=False)
    student = 3 + 2 * torch.randn(batch, inputs, cells)
    teacher = torch.randn(outputs, inputs) @ student + torch.randn(batch, outputs, cells)
    return student, standardise(teacher), phi


def slowly(student: Tensor, wanted: Tensor, phi: nn.Conv2d) -> Tensor:
    """(B,) half the mean squared difference, through the maps themselves."""
    made = standardise(phi(student.unsqueeze(3)).squeeze(3), torch.tensor(1e-6))
    return torch.stack([0.5 * ((a - b) ** 2).mean() for a, b in zip(made, wanted, strict=True)])


@pytest.mark.parametrize("shape", [(4, 6, 10, 50), (4, 20, 10, 50), (2, 10, 6, 400), (1, 5, 5, 64), (2, 6, 10, 3)])
def test_values_and_gradients_are_those_of_the_maps(shape: tuple[int, int, int, int]) -> None:
    student, wanted, phi = case(*shape)
    weights = torch.rand(shape[0])
    found = []
    for way in (lambda s: distance_through(phi, Seen(s), wanted), lambda s: slowly(s, wanted, phi)):
        leaf = student.clone().requires_grad_()
        phi.zero_grad()
        value = way(leaf)
        (weights * value).sum().backward()
        assert leaf.grad is not None
        assert phi.weight.grad is not None
        found.append((value.detach(), leaf.grad, phi.weight.grad.clone()))
    for fast, slow in zip(*found, strict=True):
        assert torch.allclose(fast, slow, atol=1e-5, rtol=1e-4)


def test_zero_where_the_convolution_makes_the_teachers_features() -> None:
    student, _, phi = case(3, 6, 8, 40)
    wanted = standardise(phi(student.unsqueeze(3)).squeeze(3).detach())
    assert distance_through(phi, Seen(student), wanted).abs().max() < 1e-5


def test_a_channel_that_never_changes_is_at_distance_one_half() -> None:
    student = torch.ones(2, 3, 40)
    wanted = standardise(torch.randn(2, 4, 40))
    assert distance_through(nn.Conv2d(3, 4, 1), Seen(student), wanted).mean().item() == pytest.approx(0.5, abs=1e-4)
