"""Distributions over cells, against a slow restatement."""

import math

import pytest
import torch
from torch import Tensor, nn

from skystill.distillation.correlation import Seen
from skystill.distillation.maps import pearson_distance, standardise
from skystill.distillation.peaks import Peaks, peaks_distance


def slowly(a: Tensor, b: Tensor) -> list[float]:
    """Of each image the mean over channels of sum_p q(b) log(q(b) / q(a)), by Python's floats."""
    found = []
    for image_a, image_b in zip(a.tolist(), b.tolist(), strict=True):
        total = 0.0
        for row_a, row_b in zip(image_a, image_b, strict=True):
            exp_a, exp_b = [math.exp(x) for x in row_a], [math.exp(x) for x in row_b]
            q_a, q_b = [x / sum(exp_a) for x in exp_a], [x / sum(exp_b) for x in exp_b]
            total += sum(t * math.log(t / s) for s, t in zip(q_a, q_b, strict=True))
        found.append(total / len(image_a))
    return found


def test_the_distance_is_the_formulas() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 5, 40, dtype=torch.float64), torch.randn(3, 5, 40, dtype=torch.float64)
    assert peaks_distance(a, b).tolist() == pytest.approx(slowly(a, b))
    assert peaks_distance(b + 7, b).abs().max() < 1e-12  # a constant is no peak


@pytest.mark.parametrize("bias", [False, True])
def test_through_a_convolution_values_and_gradients_are_those_of_its_maps(bias: bool) -> None:
    torch.manual_seed(0)
    phi = nn.Conv2d(6, 10, 1, bias=bias)
    features, wanted, weights = torch.randn(4, 6, 30), torch.randn(4, 10, 30), torch.rand(4)
    found = []
    for way in (
        lambda s: Peaks(wanted).distance(phi, Seen(s)),
        lambda s: peaks_distance(phi(s.unsqueeze(3)).squeeze(3), wanted),
    ):
        leaf = features.clone().requires_grad_()
        phi.zero_grad()
        value = way(leaf)
        (weights * value).sum().backward()
        assert leaf.grad is not None
        assert phi.weight.grad is not None
        found.append((value.detach(), leaf.grad, phi.weight.grad.clone()))
    for fast, slow in zip(*found, strict=True):
        assert torch.allclose(fast, slow, atol=1e-6)


def test_of_small_errors_it_is_the_distance_of_patterns_with_strong_cells_counting_more() -> None:
    torch.manual_seed(0)
    wanted = standardise(torch.randn(2, 8, 200))
    strong = wanted > 1.5
    errors = 0.05 * torch.randn_like(wanted)
    at_peaks, elsewhere = wanted + errors * strong, wanted + errors * ~strong
    ratio_of_cells = strong.float().mean() / (~strong).float().mean()
    patterns = pearson_distance(at_peaks, wanted).sum() / pearson_distance(elsewhere, wanted).sum()
    peaks = peaks_distance(at_peaks, wanted).sum() / peaks_distance(elsewhere, wanted).sum()
    assert patterns == pytest.approx(ratio_of_cells.item(), rel=0.3)
    assert peaks > 3 * patterns
