import pytest
from hypothesis import given
from hypothesis import strategies as st

from skystill.data.sampler import MixedSampler, SeededSampler, ShareSampler
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


def mixed(n, extra, batch, added, epoch, rank=0, world=1, replay=0, seed=3):
    sampler = MixedSampler(SeededSampler(n, seed, rank, world, replay=replay), extra, batch, added)
    sampler.set_epoch(epoch)
    return sampler


@given(
    n=st.integers(3, 30),
    extra=st.integers(1, 20),
    batch=st.integers(1, 6),
    added=st.integers(1, 8),
    epoch=st.integers(0, 5),
    world=st.integers(1, 3),
)
def test_unlabelled_keys_only_add_to_what_the_labelled_ones_are(n, extra, batch, added, epoch, world):
    counts = set()
    for rank in range(world):
        sampler = mixed(n, extra, batch, added, epoch, rank, world)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        assert keys == list(mixed(n, extra, batch, added, epoch, rank, world))
        plain = SeededSampler(n, 3, rank, world)
        plain.set_epoch(epoch)
        assert [key for key in keys if key[1] < n] == list(plain)
        assert all(index < n + extra for _, index in keys)
        for start in range(0, len(keys) - batch - added + 1, batch + added):  # every whole batch of a loader
            whole = [index for _, index in keys[start : start + batch + added]]
            assert [index >= n for index in whole] == [False] * batch + [True] * added
        counts.add(sum(index >= n for _, index in keys))
    assert len(counts) == 1  # every rank alike


@given(extra=st.integers(1, 12), added=st.integers(1, 5), world=st.integers(1, 3))
def test_unlabelled_images_come_in_passes_over_the_epochs(extra, added, world):
    shares = [[list(mixed(6, extra, 2, added, epoch, rank, world)) for rank in range(world)] for epoch in range(9)]
    seen = []
    for ranks in shares:
        new = [[key for key in keys if key[1] >= 6] for keys in ranks]
        seen += [key for turn in zip(*new, strict=True) for key in turn]
    for view in range(len(seen) // extra):
        turn = seen[view * extra : (view + 1) * extra]
        assert {v for v, _ in turn} == {view}
        assert sorted(index for _, index in turn) == list(range(6, 6 + extra))


def test_unlabelled_views_come_again_with_replay_and_orders_depend_on_the_seed():
    keys = [key for epoch in range(4) for key in mixed(8, 4, 2, 1, epoch, replay=2) if key[1] >= 8]
    assert [view for view, _ in keys] == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    orders = {tuple(i for _, i in mixed(2, 40, 1, 40, 0, seed=seed) if i >= 2) for seed in range(3)}
    assert len(orders) == 3
