import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skystill.detectors.gfl import GFLConfig
from skystill.detectors.gfl.head import Head, anchors, decode


@pytest.mark.parametrize(("side", "stride", "scale"), [(64, 8, 8.0), (64, 32, 4.0)])
def test_anchors_are_centred_on_their_cells(cells: Callable[..., Tensor], side: int, stride: int, scale: float) -> None:
    got = anchors(side // stride, side // stride, stride, scale, torch.device("cpu"))
    assert torch.equal(got, cells(side, stride, scale))


def test_anchors_of_a_wide_map_run_row_by_row() -> None:
    got = anchors(2, 3, 4, 1.0, torch.device("cpu"))
    centre = (got[:, :2] + got[:, 2:]) / 2
    assert centre.tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_decode_takes_each_edges_mean_distance(seed: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    edges = torch.randn(2, 3, 4, 5, generator=gen) * 3
    places = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [-16.0, -16.0, 48.0, 48.0]])
    strides = [8.0, 8.0, 32.0]
    got = decode(edges, places, torch.tensor(strides))
    for b in range(2):
        for n in range(3):
            x1, y1, x2, y2 = places[n].tolist()
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            means = []
            for e in range(4):
                powers = [math.exp(v) for v in edges[b, n, e].tolist()]
                means.append(sum(i * p for i, p in enumerate(powers)) / sum(powers) * strides[n])
            left, top, right, bottom = means
            assert got[b, n].tolist() == pytest.approx([cx - left, cy - top, cx + right, cy + bottom], abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decode_keeps_full_precision_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    edges = torch.randn(1, 50, 4, 17) * 3
    places, strides = torch.rand(50, 4) * 100, torch.full((50,), 128.0)
    plain = decode(edges, places, strides)
    with torch.autocast("cpu", dtype=dtype):
        mixed = decode(edges, places, strides)
    assert torch.allclose(mixed, plain, atol=1e-3)


def test_places_logits_and_edges_belong_together() -> None:
    """A head whose output convolutions copy their input shows which cell of which level each row came from."""
    config = GFLConfig(levels=(3, 4), neck_channels=32, head_channels=32, head_depth=0, reg_max=7)
    head = Head(config, 3)
    with torch.no_grad():
        for conv in (head.cls, head.reg):
            conv.weight.zero_()
            conv.bias.zero_()  # type: ignore[union-attr]
            for channel in range(conv.out_channels):
                conv.weight[channel, channel, 1, 1] = 1
        head.scales.copy_(torch.tensor([1.0, 10.0]))
    fine, coarse = torch.randn(2, 32, 2, 3), torch.randn(2, 32, 1, 2)
    dense = head((fine, coarse))
    assert dense.levels == (6, 2)
    assert dense.edges is not None
    row = 0
    for feature, scale, stride in ((fine, 1.0, 8), (coarse, 10.0, 16)):
        for y in range(feature.shape[2]):
            for x in range(feature.shape[3]):
                cell = feature[:, :, y, x]
                assert torch.allclose(dense.logits[:, row], cell[:, :3])
                for e in range(4):
                    assert torch.allclose(dense.edges[:, row, e], cell[:, 8 * e : 8 * e + 8] * scale)
                middle = (dense.places[row, :2] + dense.places[row, 2:]) / 2
                assert middle.tolist() == [(x + 0.5) * stride, (y + 0.5) * stride]
                row += 1


def test_a_new_head_believes_that_one_place_in_a_hundred_is_an_object() -> None:
    torch.manual_seed(0)
    head = Head(GFLConfig(levels=(3, 4), neck_channels=32, head_channels=32, head_depth=1), 2)
    scores = head((torch.randn(1, 32, 4, 4), torch.randn(1, 32, 2, 2))).scores()
    assert scores.mean().item() == pytest.approx(0.01, abs=0.005)


HEADS: dict[str, GFLConfig] = {
    "dense": GFLConfig(levels=(3, 5), neck_channels=6, head_channels=8, head_depth=3, norm="gn", reg_max=5),
    "light": GFLConfig(levels=(3, 5), neck_channels=6, head_channels=8, head_depth=2, convs="depthwise", norm="bn"),
    "one convolution": GFLConfig(levels=(3, 5), neck_channels=6, head_channels=8, head_depth=1, norm="bn"),
    "no tower": GFLConfig(levels=(3, 5), neck_channels=8, head_channels=8, head_depth=0, norm="gn"),
}


def head_and_pyramid(name: str) -> tuple[Head, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    head = Head(HEADS[name], 3).eval()
    with torch.no_grad():
        head.scales.copy_(torch.tensor([1.0, 0.5, 2.0]))
    return head, tuple(torch.randn(2, HEADS[name].neck_channels, side, side) for side in (8, 4, 2))


@pytest.mark.parametrize("name", HEADS)
def test_the_end_makes_of_the_middle_what_the_whole_head_makes_of_the_pyramid(name: str) -> None:
    head, pyramid = head_and_pyramid(name)
    dense, maps = head.run(pyramid)
    whole = head(pyramid)
    again = head.finish(maps, (0, 1, 2))
    for other in (dense, again):
        assert other.levels == whole.levels
        for key in ("logits", "boxes", "edges", "places"):
            assert torch.equal(getattr(other, key), getattr(whole, key)), key
    some = head.finish([maps[0], maps[2]], [0, 2])
    rows = [*range(64), *range(80, 84)]
    assert some.levels == (64, 4)
    assert torch.equal(some.logits, whole.logits[:, rows])
    assert torch.equal(some.boxes, whole.boxes[:, rows])
    assert torch.equal(some.places, whole.places[rows])


@pytest.mark.parametrize("name", HEADS)
def test_the_middle_is_before_the_last_convolution(name: str) -> None:
    head, pyramid = head_and_pyramid(name)
    _, maps = head.run(pyramid)
    for level, (pair, x) in enumerate(zip(maps, pyramid, strict=True)):
        for tower, found in zip((head.cls_tower, head.reg_tower), pair, strict=True):
            assert found.shape == (2, head.middle_width, *x.shape[2:])
            expected = x
            for conv, norm in list(zip(tower.convs, tower.norms, strict=True))[:-1]:
                expected = norm(conv(expected), level).relu()
            assert torch.equal(found, expected)
