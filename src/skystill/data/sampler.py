"""Which image comes when: a pure function of (seed, epoch), the same for every method, so that runs are paired.

All samplers share the images between the processes of a distributed run themselves. They derive from
DistributedSampler only so that Lightning leaves them in place and tells them the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

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


class MixedSampler(DistributedSampler[Key]):
    """The keys of `labelled`, in its order, and after every `batch` of them `added` keys of unlabelled images, whose
    indices follow on those of the labelled ones.

    A loader whose batches hold batch + added keys then shows the labelled images as it would without the others. The
    unlabelled ones come in passes that go on from epoch to epoch: each pass is a permutation of its own, and `view`
    counts passes, modulo replay. The state is (seed, epoch) alone, and ranks take turns in a pass, so that all get as
    many of either kind.
    """

    def __init__(self, labelled: SeededSampler, unlabelled: int, batch: int, added: int) -> None:
        self.labelled, self.unlabelled, self.batch, self.added = labelled, unlabelled, batch, added
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is drawn next."""
        self.epoch = epoch
        self.labelled.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.labelled) + sum(self._counts())

    def __iter__(self) -> Iterator[Key]:
        known, extra = iter(self.labelled), iter(self._extra(sum(self._counts())))
        for count in self._counts():
            yield from islice(known, self.batch)
            yield from islice(extra, count)

    def _counts(self) -> list[int]:
        """How many unlabelled images follow each run of labelled ones; fewer follow the last, shorter run."""
        full, rest = divmod(len(self.labelled), self.batch)
        return [self.added] * full + ([max(1, round(self.added * rest / self.batch))] if rest else [])

    def _extra(self, count: int) -> list[Key]:
        """This rank's next `count` keys of unlabelled images in this epoch."""
        world, replay = self.labelled.world, self.labelled.replay
        start = self.epoch * count * world + self.labelled.rank
        places = [divmod(start + step * world, self.unlabelled) for step in range(count)]
        orders = {view: self._pass(view) for view in {view for view, _ in places}}
        return [(view % (replay or view + 1), self.labelled.n + orders[view][place]) for view, place in places]

    def _pass(self, view: int) -> list[int]:
        # Another constant than SeededSampler's, so that equally many images do not come in the same order.
        generator = torch.Generator().manual_seed((self.labelled.seed * 1_000_003 + view + 2**40) % 2**63)
        order: list[int] = torch.randperm(self.unlabelled, generator=generator).tolist()
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
