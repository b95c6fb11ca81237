"""A store of decoded images that the worker processes of a loader share, so that no image is decoded once a worker."""

from __future__ import annotations

import mmap
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class SharedCache(Generic[T]):
    """Values by index 0..n-1, first come first kept, as many as fit into `budget` bytes; the rest is made every time.

    Forked processes share one store; the memory is taken as it fills. Under spawn each process has a store of its own,
    with the same budget. A value comes back as a copy, which its taker may change.
    """

    def __init__(self, n: int, budget: int) -> None:
        self.n, self.budget = n, budget
        if not budget:
            return
        # Anonymous memory: files in /dev/shm would end at the 64 MB that containers often give it.
        self._store = mmap.mmap(-1, budget)
        # Start and end of each value, and in the last row how far the store is used.
        self._table = np.frombuffer(mmap.mmap(-1, 16 * (n + 1)), dtype=np.int64).reshape(n + 1, 2)
        self._lock = multiprocessing.Lock()

    def __reduce__(self) -> tuple[type[SharedCache[T]], tuple[int, int]]:
        return type(self), (self.n, self.budget)

    def get(self, index: int, make: Callable[[int], T]) -> T:
        """The value, from the store or from `make(index)`."""
        if not self.budget:
            return make(index)
        with self._lock:
            start, end = self._table[index].tolist()
        if end:
            value: T = pickle.loads(self._store[start:end])
            return value
        value = make(index)
        self._keep(index, pickle.dumps(value, protocol=5))
        return value

    @property
    def used(self) -> int:
        """Bytes stored."""
        return int(self._table[self.n, 1]) if self.budget else 0

    def _keep(self, index: int, data: bytes) -> None:
        with self._lock:
            start = self.used
            if self._table[index, 1] or start + len(data) > self.budget:
                return
            self._store[start : start + len(data)] = data
            self._table[index] = self._table[self.n] = start, start + len(data)
