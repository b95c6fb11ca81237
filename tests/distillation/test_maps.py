import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.distillation.maps import (
    Shrunk,
    at_common_size,
    columns,
    pearson_distance,
    pooled_errors,
    resize_down,
    sample_places,
    smaller,
    spatial_attention,
    standardise,
)

seeds = st.integers(0, 10**6)


@pytest.mark.parametrize("sizes", [[(8, 12), (4, 6), (2, 3)], [(5, 7), (4, 6), (3, 3)], [(16, 24), (1, 1)]])
def test_levels_are_averaged_down_in_steps_as_at_once(sizes: list[tuple[int, int]]) -> None:
    levels = [draw(0, 2, 3, 16, 24), draw(1, 2, 5, 8, 12)]
    shrunk = Shrunk(levels)
    for level, x in enumerate(levels):
        for size in sizes:
            if size <= x.shape[2:]:
                torch.testing.assert_close(shrunk.to(level, size), resize_down(x, size))
                assert shrunk.to(level, size) is shrunk.to(level, size)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def test_every_channel_gets_zero_mean_and_unit_variance_over_batch_and_places() -> None:
    z = standardise(draw(0, 2, 4, 5, 5))
    for c in range(4):
        values = z[:, c].flatten()
        assert values.mean().item() == pytest.approx(0, abs=1e-5)
        assert values.square().mean().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("cells", [4, 40])  # fewer than 32 samples a channel, and more
def test_cells_in_rows_are_standardised_as_cells_in_columns(cells: int) -> None:
    x = draw(3, 2, 6, cells)
    rows = x.mT.contiguous().mT
    assert rows.is_contiguous() is False
    torch.testing.assert_close(standardise(rows), standardise(x), rtol=1e-4, atol=1e-5)


def test_few_samples_are_standardised_image_by_image() -> None:
    x = draw(1, 3, 4, 2, 2)  # 12 samples a channel
    z = standardise(x)
    for b in range(3):
        assert torch.allclose(z[b], standardise(x[b : b + 1])[0], atol=1e-6)
        assert z[b].mean().item() == pytest.approx(0, abs=1e-5)
        assert z[b].square().mean().item() == pytest.approx(1, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_distance_is_one_minus_the_correlation_of_channels(seed: int) -> None:
    a, b = draw(seed, 2, 3, 5, 4), draw(seed + 1, 2, 3, 5, 4)
    correlations = [torch.corrcoef(torch.stack([a[:, c].flatten(), b[:, c].flatten()]))[0, 1].item() for c in range(3)]
    assert pearson_distance(a, b).mean().item() == pytest.approx(1 - sum(correlations) / 3, abs=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 3, 2, 2), (2, 3, 40)])
def test_distance_of_the_same_and_of_the_opposite(shape: tuple[int, ...]) -> None:
    x = draw(2, *shape)
    assert pearson_distance(x, x).tolist() == [0.0] * shape[0]
    assert pearson_distance(x, 4 * x + 7).abs().max() < 1e-4
    assert pearson_distance(x, -x).mean().item() == pytest.approx(2, abs=1e-3)


def test_a_constant_map_is_not_nan() -> None:
    x = torch.full((2, 3, 6, 6), 4.0, requires_grad=True)
    distance = pearson_distance(x, draw(3, 2, 3, 6, 6))
    distance.sum().backward()
    assert distance.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_both_maps_come_to_the_smaller_side_of_each() -> None:
    a, b = draw(4, 1, 2, 8, 6), draw(5, 1, 2, 4, 12)
    assert smaller(a, b) == (4, 6)
    assert resize_down(a, (4, 6)).shape == (1, 2, 4, 6)
    assert [x.shape[2:] for x in at_common_size(a, b)] == [(4, 6), (4, 6)]
    assert resize_down(a, (8, 6)) is a
    assert resize_down(a, (4, 3))[0, 1, 2, 1].item() == pytest.approx(a[0, 1, 4:6, 2:4].mean().item(), abs=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_columns_are_the_cells_in_either_layout(layout: torch.memory_format) -> None:
    x = draw(5, 2, 3, 4, 6).contiguous(memory_format=layout)
    places = torch.tensor([0, 7, 23])
    assert torch.equal(columns(x), x.flatten(2))
    for p, place in enumerate(places.tolist()):
        assert torch.equal(columns(x, places)[:, :, p], x[:, :, place // 6, place % 6])


def test_places_are_sampled_once_each_and_only_where_there_are_too_many() -> None:
    device = torch.device("cpu")
    assert sample_places(64, 2, 128, device) is None
    places = sample_places(100, 2, 80, device)
    assert places is not None
    assert len(places.unique()) == 40
    assert 0 <= places.min() <= places.max() < 100
    few = sample_places(100, 1000, 80, device)
    assert few is not None
    assert len(few) == 32  # an image keeps enough for statistics of its own


def test_attention_is_a_softmax_over_cells_with_mean_one() -> None:
    x = draw(0, 2, 3, 4, 5)
    got = spatial_attention(x, 0.1)
    for b in range(2):
        powers = [math.exp(x[b, :, i // 5, i % 5].abs().mean().item() / 0.1 - 60) for i in range(20)]
        assert got[b].flatten().tolist() == pytest.approx([20 * p / sum(powers) for p in powers], rel=1e-4)


def test_pooled_errors_are_those_of_blocks_below_the_height() -> None:
    a, b = draw(6, 2, 3, 4, 8), draw(7, 2, 3, 4, 8)
    found = pooled_errors(a, b)
    assert list(found) == [2, 1]
    for side, error in found.items():
        blocks = [x.reshape(2, 3, side, 4 // side, side, 8 // side).mean((3, 5)) for x in (a, b)]
        assert error.item() == pytest.approx((blocks[0] - blocks[1]).square().mean().item(), rel=1e-5)
