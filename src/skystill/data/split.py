"""Splits a data set into parts whose classes are balanced, without tearing groups (such as flights) apart.

Frames of one flight look alike. Where some of them train and others test, the test measures memory, so a group goes
into one part as a whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from skystill.data.annotations import Annotations, Record
from skystill.errors import ConfigError, DataError

Group = str | Callable[[Record], str] | None


def split(
    annotations: Annotations, fractions: Mapping[str, float], group: Group = None, seed: int = 0
) -> dict[str, Annotations]:
    """Parts by name, with about these fractions of the images and of every class's objects.

    group: a regular expression whose first group, searched in the image's file name, names the flight; or a function of
    the record; or None, every image by itself. The same seed gives the same parts, whatever the order of the records.
    Raises DataError when a name does not match or there are too few groups, ConfigError for impossible fractions.
    """
    _check(fractions)
    groups = _groups(annotations, group)
    if len(groups) < len(fractions):
        raise DataError(
            f"{len(groups)} group(s) cannot fill {len(fractions)} parts. Choose a finer group or fewer parts."
        )
    names = sorted(groups)
    counts = np.stack([_counts(groups[name], len(annotations.classes)) for name in names])
    places = _assign(counts, np.array(list(fractions.values())), seed)
    part_of = {id(record): int(place) for name, place in zip(names, places, strict=True) for record in groups[name]}
    parts: dict[str, Annotations] = {}
    for i, part in enumerate(fractions):
        records = [record for record in annotations.records if part_of[id(record)] == i]
        parts[part] = Annotations(annotations.classes, records, annotations.kind)
    return parts


def _check(fractions: Mapping[str, float]) -> None:
    total = sum(fractions.values())
    if len(fractions) < 2 or any(not 0 < f < 1 for f in fractions.values()) or abs(total - 1) > 1e-6:
        raise ConfigError(f"fractions {dict(fractions)} must be two or more, each above 0, with sum 1 (not {total:g}).")


def _groups(annotations: Annotations, group: Group) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in annotations.records:
        groups[_name(record, group)].append(record)
    return dict(groups)


def _name(record: Record, group: Group) -> str:
    if group is None:
        return str(record.image)
    return group(record) if callable(group) else flight_of(record.image.name, group)


def flight_of(name: str, group: str) -> str:
    """What the first group of the regular expression `group` finds in an image's file name.

    Errors: ConfigError when it is none or has no group, DataError when the name does not match.
    """
    match = flight_pattern(group).search(name)
    if match is None or match.group(1) is None:
        raise DataError(f"image {name} does not match group {group!r}. Correct the expression.")
    return match.group(1)


def flight_pattern(group: str) -> re.Pattern[str]:
    """The compiled expression. Errors: ConfigError when it is none or names nothing."""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError(f"group {group!r} is no regular expression ({error}). Correct it.") from None
    if not pattern.groups:
        raise ConfigError(f"group {group!r} has no group in parentheses to name the flight. Add one.")
    return pattern


def _counts(records: list[Record], classes: int) -> NDArray[np.float64]:
    """(K + 1,) objects of each class, and images."""
    objects = np.concatenate([record.labels for record in records])
    return np.append(np.bincount(objects, minlength=classes), len(records)).astype(np.float64)


def _assign(counts: NDArray[np.float64], fractions: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """(G,) part of each group, greedily: the largest first, each where the parts then miss their shares least.

    The miss is chi-squared: squared distance from the share over the share, summed over classes, each as a part of its
    total so that rare classes count like common ones, and over images, which weigh as much as all classes together.
    """
    used = counts[:, counts.sum(0) > 0]
    shares = used / used.sum(0)
    weight = np.ones(shares.shape[1])
    weight[-1] = max(1, shares.shape[1] - 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-shares[order].max(1), kind="stable")]
    have = np.zeros((len(fractions), shares.shape[1]))
    places = np.zeros(len(counts), dtype=np.int64)
    for step, index in enumerate(order):
        before, after = have - fractions[:, None], have + shares[index] - fractions[:, None]
        cost = ((after**2 - before**2) * weight).sum(1) / fractions
        empty = have[:, -1] == 0
        if len(order) - step <= empty.sum():  # the last groups go where nothing is yet
            cost[~empty] = np.inf
        places[index] = cost.argmin()
        have[places[index]] += shares[index]
    return places
