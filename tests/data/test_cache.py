import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st

from skystill.data.cache import SharedCache


@given(
    sizes=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    budget=st.integers(0, 700),
    order=st.lists(st.integers(0, 7), max_size=30),
)
def test_values_come_back_whole_and_the_budget_holds(sizes, budget, order):
    cache, made = SharedCache[bytes](len(sizes), budget), []

    def make(index):
        made.append(index)
        return bytes([index]) * sizes[index]

    kept, used = set(), 0
    for index in (i % len(sizes) for i in order):
        before = len(made)
        assert cache.get(index, make) == bytes([index]) * sizes[index]
        assert (len(made) == before) == (index in kept)
        weight = len(pickle.dumps(bytes([index]) * sizes[index], protocol=5))
        if index not in kept and used + weight <= budget:
            kept.add(index)
            used += weight
        assert cache.used == used


def test_a_taker_may_change_its_copy():
    cache = SharedCache[torch.Tensor](1, 10_000)
    for _ in range(3):
        image = cache.get(0, lambda index: torch.ones(4))
        assert image.tolist() == [1, 1, 1, 1]
        image.zero_()


def test_a_process_that_does_not_fork_starts_empty():
    cache = SharedCache[int](3, 1000)
    cache.get(1, lambda index: 7)
    twin = pickle.loads(pickle.dumps(cache))
    assert (twin.n, twin.budget, twin.used) == (3, 1000, 0)
    assert twin.get(1, lambda index: 8) == 8
