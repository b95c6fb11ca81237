"""The fusion against ReviewKD's equations, its beta against the recursion fed one level at a time."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.ltd.fusion import Fusion

SIZES = [(8, 12), (4, 6), (2, 3), (1, 2)]


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    made = Fusion([5, 6, 7, 8], 4, nn.BatchNorm2d).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return made


@pytest.fixture
def pyramid() -> tuple[Tensor, ...]:
    gen = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, 5 + i, h, w, generator=gen) for i, (h, w) in enumerate(SIZES))


def reduced(fusion: Fusion, i: int, s: Tensor) -> Tensor:
    """BN(1x1 conv(s_i)) as a matrix product and an affine map."""
    conv, norm = fusion.reduce[i]  # type: ignore[misc]
    x = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], s)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return x * scale.view(1, -1, 1, 1) + (norm.bias - norm.running_mean * scale).view(1, -1, 1, 1)


def nearest(f: Tensor, size: tuple[int, int]) -> Tensor:
    rows = [y * f.shape[2] // size[0] for y in range(size[0])]
    columns = [x * f.shape[3] // size[1] for x in range(size[1])]
    return f[:, :, rows][:, :, :, columns]


def slow_fusion(fusion: Fusion, pyramid: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Fused maps and gates, fine to coarse, cell by cell as METHOD's recursion f_i = g_1 x_i + g_2 up(f_{i+1})."""
    last = len(pyramid) - 1
    fused, gates = [reduced(fusion, last, pyramid[last])], []
    for i in range(last - 1, -1, -1):
        x, y = reduced(fusion, i, pyramid[i]), nearest(fused[0], pyramid[i].shape[2:])  # type: ignore[arg-type]
        conv = fusion.gates[i]
        both = torch.cat([x, y], 1)
        raw = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], both) + conv.bias.view(1, 2, 1, 1)  # type: ignore
        g = 1 / (1 + torch.exp(-raw))
        fused.insert(0, g[:, 0:1] * x + g[:, 1:2] * y)
        gates.insert(0, g)
    return fused, gates


def test_the_fusion_is_reviewkds(fusion: Fusion, pyramid: tuple[Tensor, ...]) -> None:
    for ours, slow in zip(fusion(pyramid), slow_fusion(fusion, pyramid)[0], strict=True):
        assert torch.allclose(ours, slow, atol=1e-5)


def test_beta_is_what_each_level_adds_when_it_is_fed_alone(fusion: Fusion, pyramid: tuple[Tensor, ...]) -> None:
    """With the gates held, the recursion is linear; a map of ones at level j alone leaves beta(i<-j) at level i."""
    fusion(pyramid)
    beta = fusion.beta().mean(0)
    _, gates = slow_fusion(fusion, pyramid)
    last = len(SIZES) - 1
    for j in range(last + 1):
        f = torch.full((2, 1, *SIZES[last]), float(j == last))
        assert beta[last, j].item() == pytest.approx(float(j == last))
        for i in range(last - 1, -1, -1):
            f = gates[i][:, 0:1] * float(j == i) + gates[i][:, 1:2] * nearest(f, SIZES[i])
            assert beta[i, j].item() == pytest.approx(f.mean().item(), abs=1e-5)


def test_a_level_is_fed_only_from_its_own_and_coarser_ones(fusion: Fusion, pyramid: tuple[Tensor, ...]) -> None:
    fusion(pyramid)
    beta = fusion.beta().mean(0)
    assert beta.tril(-1).abs().max() == 0
    assert (beta[beta.triu() > 0] <= 1).all()
    assert beta[-1, -1] == 1


def test_beta_of_an_image_is_that_of_the_image_alone(fusion: Fusion, pyramid: tuple[Tensor, ...]) -> None:
    fusion(pyramid)
    beta = fusion.beta()
    assert beta.shape == (2, 4, 4)
    assert not torch.allclose(beta[0], beta[1])
    for image in (0, 1):
        fusion(tuple(s[image : image + 1] for s in pyramid))
        assert torch.allclose(beta[image], fusion.beta().mean(0), atol=1e-6)


def test_one_level_is_only_reduced(pyramid: tuple[Tensor, ...]) -> None:
    one = Fusion([5], 4, lambda c: nn.Identity())
    (f,) = one(pyramid[:1])
    assert torch.allclose(f, F.conv2d(pyramid[0], one.reduce[0][0].weight))  # type: ignore[index]
    assert one.beta().tolist() == [[[1.0]], [[1.0]]]


def test_gradients_reach_every_gate(pyramid: tuple[Tensor, ...]) -> None:
    torch.manual_seed(0)
    norm: Callable[[int], nn.Module] = lambda c: nn.GroupNorm(1, c)  # noqa: E731
    fusion = Fusion([5, 6, 7, 8], 4, norm)
    fusion(pyramid)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in fusion.parameters())
