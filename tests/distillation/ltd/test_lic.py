"""LIC against a plain convolution, torchvision's deformable convolution, and its own sum written out in numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import deform_conv2d

from skystill.distillation.ltd.lic import LIC, calibrate, conv_at

some = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)


def draw(seed: int, h: int, w: int, reach: float = 2.5) -> tuple[Tensor, Tensor, Tensor]:
    """f (2, 3, h, w), offsets up to and beyond the border, weight (4, 3, 3, 3); all want gradients."""
    gen = torch.Generator().manual_seed(seed)
    f, offset = torch.randn(2, 3, h, w, generator=gen), torch.randn(2, 18, h, w, generator=gen) * reach
    return f.requires_grad_(), offset.requires_grad_(), torch.randn(4, 3, 3, 3, generator=gen).requires_grad_()


def cell(f: Tensor, y: int, x: int) -> float:
    return float(f[y, x]) if 0 <= y < f.shape[0] and 0 <= x < f.shape[1] else 0.0


def bilinear(f: Tensor, y: float, x: float) -> float:
    """Value of map f (H, W) between its cells; outside the map every cell is 0."""
    y0, x0 = math.floor(y), math.floor(x)
    a, b = y - y0, x - x0
    upper = (1 - b) * cell(f, y0, x0) + b * cell(f, y0, x0 + 1)
    lower = (1 - b) * cell(f, y0 + 1, x0) + b * cell(f, y0 + 1, x0 + 1)
    return (1 - a) * upper + a * lower


@some
@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_the_sum_written_out(seed: int, h: int, w: int) -> None:
    f, offset, weight = (t.detach() for t in draw(seed, h, w))
    got = calibrate(f, offset, weight)
    assert got.shape == (2, 4, h * w)
    b, out = seed % 2, seed % 4
    for y in range(h):
        for x in range(w):
            total = 0.0
            for k in range(9):
                dy, dx = float(offset[b, 2 * k, y, x]), float(offset[b, 2 * k + 1, y, x])
                at_y, at_x = y + k // 3 - 1 + dy, x + k % 3 - 1 + dx
                total += sum(float(weight[out, c, k // 3, k % 3]) * bilinear(f[b, c], at_y, at_x) for c in range(3))
            assert got[b, out, y * w + x].item() == pytest.approx(total, abs=2e-4)


@some
@given(seeds, st.integers(1, 7), st.integers(1, 7), st.sampled_from([0.3, 2.5, 20.0]))
def test_values_and_gradients_are_torchvisions(seed: int, h: int, w: int, reach: float) -> None:
    f, offset, weight = draw(seed, h, w, reach)
    lesson = torch.randn(2, 4, h * w, generator=torch.Generator().manual_seed(seed))
    ours = calibrate(f, offset, weight)
    theirs = deform_conv2d(f, offset, weight, padding=1).flatten(2)
    assert torch.allclose(ours, theirs, atol=1e-4)
    for a, b in zip(
        torch.autograd.grad((ours * lesson).sum(), (f, offset, weight)),
        torch.autograd.grad((theirs * lesson).sum(), (f, offset, weight)),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-3)


@some
@given(seeds, st.lists(st.integers(0, 34), min_size=1, max_size=12, unique=True))
def test_a_sample_of_places_is_that_part_of_the_whole(seed: int, chosen: list[int]) -> None:
    f, offset, weight = draw(seed, 5, 7)
    places = torch.tensor(chosen)
    part, whole = calibrate(f, offset, weight, places), calibrate(f, offset, weight)[:, :, places]
    assert torch.allclose(part, whole, atol=1e-5)
    of_part = torch.autograd.grad(part.square().sum(), (f, offset, weight))
    of_whole = torch.autograd.grad(whole.square().sum(), (f, offset, weight))
    for a, b in zip(of_part, of_whole, strict=True):
        assert torch.allclose(a, b, atol=1e-3)


@some
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_a_convolution_at_places_is_that_part_of_the_whole(seed: int, h: int, w: int, bias: bool) -> None:
    torch.manual_seed(seed)
    conv, f = torch.nn.Conv2d(3, 4, 3, padding=1, bias=bias), torch.randn(2, 3, h, w, requires_grad=True)
    places = torch.randperm(h * w)[: 1 + seed % (h * w)]
    part, whole = conv_at(f, conv, places), conv(f).flatten(2)[:, :, places]
    assert torch.allclose(part, whole, atol=1e-5)
    wanted = (f, *conv.parameters())
    of_part = torch.autograd.grad(part.square().sum(), wanted)
    for a, b in zip(of_part, torch.autograd.grad(whole.square().sum(), wanted), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("places", [torch.tensor([0, 6, 17, 34]), torch.arange(0, 35, 2)])
def test_a_lic_that_has_learned_gives_at_few_or_many_places_what_it_gives_everywhere(places: Tensor) -> None:
    torch.manual_seed(0)
    f, lic = torch.randn(2, 6, 5, 7), LIC(6, 5)
    torch.nn.init.normal_(lic.offset.weight)
    assert torch.allclose(lic(f, places), lic(f)[:, :, places], atol=1e-5)


def test_a_new_lic_is_a_plain_convolution() -> None:
    torch.manual_seed(0)
    f, lic = torch.randn(2, 6, 9, 4), LIC(6, 5)
    assert torch.allclose(lic(f).unflatten(2, (9, 4)), F.conv2d(f, lic.weight, padding=1), atol=1e-5)


def test_a_new_lic_learns_where_to_look() -> None:
    """Zero offsets must not be a dead start: the offsets' own convolution gets a gradient."""
    torch.manual_seed(0)
    lic = LIC(6, 5)
    lic(torch.randn(2, 6, 9, 4)).square().sum().backward()
    assert lic.offset.weight.grad is not None
    assert lic.offset.weight.grad.abs().max() > 0


def test_offsets_far_beyond_the_map_read_zero() -> None:
    f, _, weight = draw(0, 3, 3)
    assert calibrate(f, torch.full((2, 18, 3, 3), 1e6), weight).abs().max() == 0


def test_a_student_that_diverged_has_a_loss_to_be_stopped_by() -> None:
    lic = LIC(4, 6)
    assert lic(torch.full((1, 4, 5, 5), torch.nan), None).isnan().all()
