import pytest
from hypothesis import given
from hypothesis import strategies as st

from skystill.data.sampler import SeededSampler, ShareSampler
from skystill.errors import ConfigError


@given(n=st.integers(1, 40), world=st.integers(1, 5), repeats=st.integers(1, 4), epoch=st.integers(0, 9))
def test_ranks_share_an_epoch_equally_without_overlap(n, world, repeats, epoch):
    if n * repeats < world:
        with pytest.raises(ConfigError, match="cannot be shared"):
            SeededSampler(n, 0, 0, world, repeats=repeats)
        return
    shares = []
    for rank in range(world):
        sampler = SeededSampler(n, 7, rank, world, repeats=repeats)
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == n * repeats // world
    together = [key for share in shares for key in share]
    assert len(set(together)) == len(together)
    views = range(epoch * repeats, (epoch + 1) * repeats)
    assert set(together) <= {(view, index) for view in views for index in range(n)}


def test_one_process_sees_every_image_once_a_pass():
    sampler = SeededSampler(5, seed=3, repeats=2)
    sampler.set_epoch(4)
    keys = list(sampler)
    assert [view for view, _ in keys] == [8] * 5 + [9] * 5
    assert sorted(index for _, index in keys[:5]) == sorted(index for _, index in keys[5:]) == list(range(5))


def test_views_come_again_in_new_orders():
    def keys(epoch):
        sampler = SeededSampler(20, seed=1, repeats=2, replay=3)
        sampler.set_epoch(epoch)
        return list(sampler)

    views = [view for epoch in range(3) for view, _ in keys(epoch)][::20]
    assert views == [0, 1, 2, 0, 1, 2]
    first, again = keys(0)[:20], keys(1)[20:]
    assert sorted(first) == sorted(again)
    assert first != again


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = SeededSampler(50, seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(1, 2) == order(1, 2)
    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(o) for o in orders}) == 9  # neighbouring seeds do not walk through each other's epochs


def test_order_can_be_kept():
    assert list(SeededSampler(3, 0, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


@given(n=st.integers(0, 30), world=st.integers(1, 6))
def test_evaluation_sees_every_image_exactly_once(n, world):
    shares = [ShareSampler(n, rank, world) for rank in range(world)]
    assert all(len(share) == len(list(share)) for share in shares)
    assert sorted(key for share in shares for key in share) == [(0, i) for i in range(n)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
