"""Which image comes when: a pure function of (seed, epoch), the same for every method, so that runs are paired.

Both samplers share the images between the processes of a distributed run themselves. They derive from
DistributedSampler only so that Lightning leaves them in place and tells them the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DistributedSampler

from skystill.errors import ConfigError

Key = tuple[int, int]  # (view, index of the image)


class SeededSampler(DistributedSampler[Key]):
    """Every image `repeats` times an epoch, as (view, index); view = epoch * repeats + r counts passes over the data,
    modulo `replay` where that is not 0.

    Each pass is a permutation of its own, so an image comes back only after all the others. The state is (seed, epoch)
    alone: a resumed run sees what the uninterrupted one would have seen. Ranks get disjoint shares of equal length, so
    the last few samples of an epoch drop out when they do not divide evenly.

    Raises ConfigError when there are fewer samples than ranks.
    """

    def __init__(
        self, n: int, seed: int, rank: int = 0, world: int = 1, shuffle: bool = True, repeats: int = 1, replay: int = 0
    ) -> None:
        if n * repeats < world:
            raise ConfigError(
                f"{n} image(s) x {repeats} view(s) cannot be shared by {world} processes. "
                "Add images, raise data.views or use fewer processes."
            )
        self.n, self.seed, self.rank, self.world, self.shuffle = n, seed, rank, world, shuffle
        self.repeats, self.replay = repeats, replay
        self.epoch = 0

    def __len__(self) -> int:
        return self.n * self.repeats // self.world

    def __iter__(self) -> Iterator[Key]:
        # The order is drawn anew in every pass, also when the views come again.
        keys = [(view % (self.replay or view + 1), index) for view in self._views() for index in self._pass(view)]
        return iter(keys[self.rank : len(self) * self.world : self.world])

    def _views(self) -> range:
        return range(self.epoch * self.repeats, (self.epoch + 1) * self.repeats)

    def _pass(self, view: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.n))
        # The seeds of neighbouring runs must not meet: seed 0 at view 1 is not seed 1 at view 0.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + view) % 2**63)
        order: list[int] = torch.randperm(self.n, generator=generator).tolist()
        return order


class ShareSampler(DistributedSampler[Key]):
    """Every image once, in order, as (0, index), for evaluation. Ranks get disjoint shares, equal to within one."""

    def __init__(self, n: int, rank: int = 0, world: int = 1) -> None:
        self.n, self.rank, self.world = n, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return len(range(self.rank, self.n, self.world))

    def __iter__(self) -> Iterator[Key]:
        return iter([(0, index) for index in range(self.rank, self.n, self.world)])
