"""Is one method better than another? Intervals for their difference, from paired seeds and from paired test images.

The two answer different questions. Seeds: would the method win again if both were trained again? Images: would these
very weights differ as much on other images of the same kind? A claim about a method needs the first; a gain that does
not survive the second is too small for the test set, however many seeds agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skystill.errors import DataError
from skystill.evaluation.matches import EXCUSED, Ints, Matches, ap_of_ranks, match_detections
from skystill.evaluation.pairs import Floats
from skystill.structures import Detections, Targets

_EXACT_SEEDS = 6  # up to here all n**n resamples are listed: 46656
_ROUNDS = 10000  # resamples of more seeds
_AT_ONCE = 100  # rounds computed together: some MB of memory


@dataclass(frozen=True)
class PairedInterval:
    """The mean difference method - alone over n paired seeds, in the unit of the scores.

    std: of the differences (n - 1), nan for one seed. t_low, t_high: Student's t interval, which takes the differences
    to be normal; THE ONE TO REPORT for few seeds. bootstrap_low, bootstrap_high: percentile interval over resampled
    pairs; with three seeds its 95 % interval is just the smallest and largest difference, which holds the true mean
    only about 75 % of the time. Both are nan for one seed: it says nothing of its own spread. wins: seeds in which the
    method scored higher.
    """

    n: int
    mean: float
    std: float
    level: float
    t_low: float
    t_high: float
    bootstrap_low: float
    bootstrap_high: float
    wins: int

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None."""
        return _plain(asdict(self))


@dataclass(frozen=True)
class BootstrapDifference:
    """COCO AP (0..100) of two sets of detections of the same images, each a mean over its seeds.

    a, b: on the images as they are. difference: b - a. low, high: percentile interval of the difference over `rounds`
    resamples of the images, at `level`. std: of the difference over resamples. better: share of the resamples in which
    b is ahead. seeds, images, groups: how many; as many groups as images where every image was drawn by itself.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    std: float
    better: float
    rounds: int
    seeds: int
    images: int
    groups: int

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None."""
        return _plain(asdict(self))


def paired_interval(alone: Sequence[float], method: Sequence[float], level: float = 0.95) -> PairedInterval:
    """How much higher `method` scores than `alone`: one score a seed, in the same order of seeds.

    Raises DataError where the lists are empty or differ in length, or a score is not finite.
    """
    _check_scores(alone, method, level)
    gains = np.asarray(method, dtype=np.float64) - np.asarray(alone, dtype=np.float64)
    n, mean = len(gains), float(gains.mean())
    wins = int((gains > 0).sum())
    if n == 1:
        return PairedInterval(1, mean, math.nan, level, math.nan, math.nan, math.nan, math.nan, wins)
    std = float(gains.std(ddof=1))
    reach = t_quantile((1 + level) / 2, n - 1) * std / math.sqrt(n)
    low, high = _percentiles(_resampled_means(gains), level)
    return PairedInterval(n, mean, std, level, mean - reach, mean + reach, low, high, wins)


def bootstrap_ap(
    detections_a: Sequence[Sequence[Detections]],
    detections_b: Sequence[Sequence[Detections]],
    targets: Sequence[Targets],
    classes: Sequence[str],
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    max_dets: int = 500,
    groups: Sequence[str] | None = None,
) -> BootstrapDifference:
    """Paired bootstrap over images of the difference b - a in COCO AP.

    detections_a, detections_b: for each seed one Detections an image, in the order of `targets`; seed s of a is paired
    with seed s of b. Each round draws as many images as there are, with replacement, the same for all seeds and both
    sides, and takes the mean over seeds of the difference in AP. Detections are matched once; a round weighs images.
    Images that are alike (frames of one flight) are not independent, so that the interval would be too narrow; groups
    names each image's flight, and whole flights are drawn.
    Raises DataError without images or seeds, where the seeds of a and b differ in number, where groups are not one an
    image, and as `check_pairs`.
    """
    _check_runs(detections_a, detections_b, targets, rounds, level)
    flight = _numbered(groups, len(targets))
    count = int(flight.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), rounds)[:, flight]
    weights = np.concatenate([np.ones((1, len(targets)), dtype=np.int64), draws])  # first the images as they are

    def mean_ap(runs: Sequence[Sequence[Detections]]) -> Floats:
        found = [average_precision(match_detections(run, targets, classes, max_dets), weights) for run in runs]
        return np.asarray(np.mean(found, axis=0))

    a, b = mean_ap(detections_a), mean_ap(detections_b)
    gains = (b - a)[1:]
    gains = gains[~np.isnan(gains)]  # a draw may hold no object at all
    low, high = _percentiles(gains, level)
    std = float(gains.std(ddof=1)) if len(gains) > 1 else math.nan
    better = float((gains > 0).mean()) if len(gains) else math.nan
    point_a, point_b = float(a[0]), float(b[0])
    return BootstrapDifference(
        point_a,
        point_b,
        point_b - point_a,
        low,
        high,
        level,
        std,
        better,
        rounds,
        len(detections_a),
        len(targets),
        count,
    )


def _numbered(groups: Sequence[str] | None, images: int) -> Ints:
    """(I,) number of each image's group."""
    if groups is None:
        return np.arange(images)
    if len(groups) != images:
        raise DataError(f"{len(groups)} groups for {images} images. Name one for each image.")
    return np.asarray(np.unique(list(groups), return_inverse=True)[1])


def average_precision(matches: Matches, weights: Ints) -> Floats:
    """COCO AP (R,) in 0..100 when image i is there weights[r, i] times; weights (R, I), not negative.

    nan where no image with objects is there. With weights of one it is `evaluate_coco`'s ap.
    """
    weights = weights.astype(np.int64)
    return np.concatenate(
        [np.zeros(0), *(_ap(matches, weights[i : i + _AT_ONCE]) for i in range(0, len(weights), _AT_ONCE))]
    )


def _ap(matches: Matches, weights: Ints) -> Floats:
    total, known = np.zeros(len(weights)), np.zeros(len(weights), dtype=np.int64)
    for k, objects in enumerate((weights @ matches.objects).T):
        if objects.any():
            total += np.where(objects > 0, _class_ap(matches, k, weights, objects), 0.0)
            known += objects > 0
    return np.where(known > 0, 100 * total / np.maximum(known, 1), np.nan)


def _class_ap(matches: Matches, label: int, weights: Ints, objects: Ints) -> Floats:
    """(R,) AP of one class, mean over IoUs."""
    mine = np.flatnonzero(matches.label == label)
    mine = mine[np.argsort(-matches.score[mine], kind="stable")]
    # Copies of an image stand at one rank. Listed one after the other they would give the same AP: between them
    # precision is below what it is at their end, and AP takes the best at a recall or beyond.
    weight = weights[:, matches.image[mine]]
    seen = weight.cumsum(axis=1)
    found = []
    for taken in matches.taken[:, mine]:
        right, excused = np.flatnonzero(taken >= 0), np.flatnonzero(taken == EXCUSED)
        counted = seen[:, right]
        if len(excused):
            without = np.pad(weight[:, excused].cumsum(axis=1), ((0, 0), (1, 0)))
            counted = counted - without[:, np.searchsorted(excused, right)]
        found.append(ap_of_ranks(weight[:, right].cumsum(axis=1), counted, objects))
    return np.asarray(np.mean(found, axis=0))


def t_quantile(share: float, freedom: int) -> float:
    """The value below which Student's t with `freedom` (whole) degrees lies with probability `share` in .5..1."""
    low, high = 0.0, 1.0
    while _t_within(high, freedom) < 2 * share - 1:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < 2 * share - 1 else (low, middle)
    return (low + high) / 2


def _t_within(t: float, freedom: int) -> float:
    """P(|T| <= t) as a finite sum: Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _resampled_means(gains: Floats) -> Floats:
    n = len(gains)
    if n <= _EXACT_SEEDS:
        rows = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        rows = np.random.default_rng(0).integers(0, n, (_ROUNDS, n))
    return np.asarray(gains[rows].mean(axis=1))


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    """The values that leave (1 - level) / 2 on either side; each is one of the values, for there may be few."""
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def _check_scores(alone: Sequence[float], method: Sequence[float], level: float) -> None:
    if len(alone) != len(method) or not len(alone):
        raise DataError(f"{len(alone)} scores of alone but {len(method)} of the method. Give one of each per seed.")
    for name, scores in (("alone", alone), ("method", method)):
        for i, score in enumerate(scores):
            if not math.isfinite(score):
                raise DataError(f"{name}, seed number {i}: the score is {score}. Leave this seed out of both lists.")
    _check_level(level)


def _check_runs(
    detections_a: Sequence[Sequence[Detections]],
    detections_b: Sequence[Sequence[Detections]],
    targets: Sequence[Targets],
    rounds: int,
    level: float,
) -> None:
    if len(detections_a) != len(detections_b) or not len(detections_a):
        raise DataError(
            f"{len(detections_a)} seeds of a but {len(detections_b)} of b. Give one list of images per seed for each."
        )
    if not len(targets):
        raise DataError("no image to draw from. Give the truth of one image at least.")
    if rounds < 1:
        raise DataError(f"{rounds} bootstrap rounds. Give 1 at least; 1000 is usual.")
    _check_level(level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise DataError(f"level {level} of an interval is not between 0 and 1. Give 0.95, say.")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}
