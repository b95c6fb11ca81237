"""Depthwise convolutions in float32 beside others in bfloat16."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from skystill.training.precision import keep_depthwise_in_float32


def mixed(model: nn.Module, images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        found: Tensor = model(images)
    return found


def test_only_depthwise_convolutions_stay_out_of_mixed_precision() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 8, 6, 6)
    for conv, kept in (
        (nn.Conv2d(8, 8, 3, groups=8), True),
        (nn.Conv2d(8, 16, 3, groups=8), True),  # two filters a channel
        (nn.Conv2d(8, 8, 3, groups=4), False),
        (nn.Conv2d(8, 8, 3), False),
    ):
        exact = conv(images)
        assert keep_depthwise_in_float32(nn.Sequential(conv, nn.ReLU())) == kept
        found = mixed(conv, images.bfloat16() if kept else images)
        assert found.dtype == (torch.float32 if kept else torch.bfloat16)
        assert torch.allclose(found.float(), exact, atol=2e-2)


def test_a_grey_image_s_first_convolution_is_not_depthwise() -> None:
    assert keep_depthwise_in_float32(nn.Sequential(nn.Conv2d(1, 8, 3))) == 0


def test_a_copy_runs_on_weights_of_its_own() -> None:
    conv = nn.Conv2d(4, 4, 1, groups=4)
    keep_depthwise_in_float32(conv)
    names, copy = list(conv.state_dict()), deepcopy(conv)
    nn.init.zeros_(copy.weight)
    nn.init.zeros_(copy.bias)  # type: ignore[arg-type]
    images = torch.rand(1, 4, 2, 2)
    assert mixed(copy, images).dtype == torch.float32
    assert not mixed(copy, images).any()
    assert mixed(conv, images).any()
    assert list(copy.state_dict()) == names
