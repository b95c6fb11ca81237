"""The Gaussian KLD against torch.distributions and against what a divergence must be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from skystill.boxes.gaussian import gaussian_divergence, kld_loss

some = settings(max_examples=60, deadline=None)
box = st.tuples(
    st.floats(-30, 30), st.floats(-30, 30), st.floats(0.5, 60), st.floats(0.5, 60), st.floats(-math.pi, math.pi)
)


def normal(row: tuple[float, ...]) -> MultivariateNormal:
    cx, cy, w, h, theta = row
    turn = torch.tensor([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]], dtype=torch.float64)
    root = turn @ torch.diag(torch.tensor([w / 2, h / 2], dtype=torch.float64)) @ turn.T
    return MultivariateNormal(torch.tensor([cx, cy], dtype=torch.float64), root @ root)


@some
@given(box, box)
def test_it_is_the_divergence_of_the_two_normals(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    a, b = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    slow = float(kl_divergence(normal(one), normal(other)))
    assert float(gaussian_divergence(a, b)) == pytest.approx(slow, rel=1e-6, abs=1e-8)
    assert float(kld_loss(a, b)) == pytest.approx(1 - 1 / (1 + math.log(1 + slow)), rel=1e-6, abs=1e-8)


@some
@given(box, box)
def test_either_name_of_a_rectangle_costs_the_same(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    a, b = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    renamed = torch.tensor([[*other[:2], other[3], other[2], other[4] + math.pi / 2]], dtype=torch.float64)
    assert float(kld_loss(a, renamed)) == pytest.approx(float(kld_loss(a, b)), rel=1e-6, abs=1e-9)
    assert float(kld_loss(b, renamed)) == pytest.approx(0, abs=1e-9)


def test_no_jump_where_a_square_changes_its_longer_side() -> None:
    truth = torch.tensor([[0.0, 0.0, 10.001, 10.0, 0.3], [0.0, 0.0, 10.001, 10.0, 0.3 - math.pi / 2]])
    seen = torch.tensor([[1.0, 2.0, 14.0, 6.0, 1.1]])
    one, other = kld_loss(seen, truth).tolist()
    assert one == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize(
    ("seen", "truth"),
    [
        ([5.0, 5.0, 0.0, 0.0, 0.0], [5.0, 5.0, 8.0, 4.0, 0.2]),
        ([5.0, 5.0, 8.0, 4.0, 0.2], [5.0, 5.0, 0.0, 0.0, 0.0]),
        ([5.0, 5.0, 8.0, 0.0, 0.2], [900.0, 5.0, 3.0, 0.0, 1.0]),
        ([0.0, 0.0, 2000.0, 1000.0, 0.2], [20000.0, 20000.0, 0.5, 0.2, 1.0]),
        ([5.0, 5.0, 8.0, 4.0, 0.2], [5.0, 5.0, 8.0, 4.0, 0.2]),
    ],
)
def test_odd_sizes_give_finite_losses_and_gradients(seen: list[float], truth: list[float]) -> None:
    a = torch.tensor([seen], requires_grad=True)
    loss = kld_loss(a, torch.tensor([truth]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert 0 <= loss.item() <= 1
    assert a.grad.abs().max() < 100


def test_gradients_are_those_of_finite_differences() -> None:
    gen = torch.Generator().manual_seed(0)
    unit = torch.tensor([10.0, 10.0, 20.0, 10.0, 1.5], dtype=torch.float64)
    a: Tensor = (torch.rand(6, 5, generator=gen, dtype=torch.float64) + 0.2) * unit
    b = (torch.rand(6, 5, generator=gen, dtype=torch.float64) + 0.2) * unit
    assert torch.autograd.gradcheck(kld_loss, (a.requires_grad_(), b))


def test_a_step_against_the_gradient_comes_nearer_to_the_truth() -> None:
    truth = torch.tensor([[20.0, 20.0, 30.0, 6.0, 1.4]])
    seen = torch.tensor([[26.0, 15.0, 14.0, 14.0, 0.1]], requires_grad=True)
    optimizer = torch.optim.Adam([seen], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        kld_loss(seen, truth).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert kld_loss(seen, truth).item() < 0.01


def test_no_boxes_no_loss() -> None:
    assert kld_loss(torch.zeros(0, 5), torch.zeros(0, 5)).shape == (0,)
