"""Intervals for paired seeds and paired images: known values, COCO's own AP, coverage on simulated data."""

import json
import math

import numpy as np
import pytest
import torch

from skystill.errors import DataError
from skystill.evaluation.coco import evaluate_coco
from skystill.evaluation.matches import match_detections
from skystill.evaluation.paired import average_precision, bootstrap_ap, paired_interval, t_quantile
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane", "car"]


@pytest.mark.parametrize(
    ("share", "freedom", "value"),  # from printed tables
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.975, 9, 2.262),
        (0.975, 30, 2.042),
        (0.95, 2, 2.920),
        (0.95, 5, 2.015),
        (0.995, 7, 3.499),
        (0.5, 4, 0.0),
    ],
)
def test_t_quantile(share, freedom, value):
    assert t_quantile(share, freedom) == pytest.approx(value, abs=6e-4)


def test_three_seeds_by_hand():
    found = paired_interval([30.0, 31.0, 29.0], [32.0, 32.0, 32.0])  # gains 2, 1, 3
    assert (found.n, found.mean, found.std, found.wins) == (3, 2, 1, 3)
    reach = 4.30265 / math.sqrt(3)
    assert (found.t_low, found.t_high) == pytest.approx((2 - reach, 2 + reach), abs=1e-4)
    assert (found.bootstrap_low, found.bootstrap_high) == (1, 3)  # 1 of 27 resamples is above, and 1 below, 2.5 %
    narrow = paired_interval([30.0, 31.0, 29.0], [32.0, 32.0, 32.0], level=0.5)
    assert found.t_low < narrow.t_low < narrow.t_high < found.t_high
    assert (narrow.bootstrap_low, narrow.bootstrap_high) == pytest.approx((5 / 3, 7 / 3))


def test_pairs_matter_not_the_spread_of_seeds():
    found = paired_interval([10.0, 40.0, 70.0], [12.0, 42.0, 72.0])
    assert (found.t_low, found.mean, found.t_high) == pytest.approx((2, 2, 2))


def test_one_seed_has_no_interval():
    found = paired_interval([30.0], [31.5])
    assert (found.n, found.mean, found.wins) == (1, 1.5, 1)
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert {values[k] for k in ("std", "t_low", "t_high", "bootstrap_low", "bootstrap_high")} == {None}


def test_many_seeds_are_resampled_the_same_each_time():
    rng = np.random.default_rng(3)
    gains = rng.normal(1.0, 1.0, 12)
    found = paired_interval([0.0] * 12, gains.tolist())
    assert found == paired_interval([0.0] * 12, gains.tolist())
    assert found.bootstrap_low < found.mean < found.bootstrap_high
    assert found.bootstrap_high - found.bootstrap_low < found.t_high - found.t_low


def test_three_seeds_are_covered_by_t_and_not_by_the_bootstrap():
    """What the docstring says: of 95 % intervals over three normal differences, t holds the truth, bootstrap 75 %."""
    rng = np.random.default_rng(0)
    by_t = by_bootstrap = 0
    for _ in range(600):
        found = paired_interval([0.0] * 3, rng.normal(1.0, 2.0, 3).tolist())
        by_t += found.t_low <= 1.0 <= found.t_high
        by_bootstrap += found.bootstrap_low <= 1.0 <= found.bootstrap_high
    assert 0.93 < by_t / 600 < 0.97
    assert 0.70 < by_bootstrap / 600 < 0.80


@pytest.mark.parametrize(
    ("alone", "method", "level", "message"),
    [
        ([1.0], [1.0, 2.0], 0.95, "1 scores of alone but 2 of the method"),
        ([], [], 0.95, "Give one of each per seed"),
        ([1.0, math.nan], [1.0, 2.0], 0.95, "alone, seed number 1: the score is nan"),
        ([1.0], [math.inf], 0.95, "method, seed number 0: the score is inf"),
        ([1.0], [1.0], 95, "level 95"),
    ],
)
def test_bad_scores_give_one_clear_line(alone, method, level, message):
    with pytest.raises(DataError) as caught:
        paired_interval(alone, method, level)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def scene(seed, columns=4, images=6):
    """Truth and detections with misses, shifts, confusions, ignored objects, and scores that are often equal."""
    rng = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=rng)  # noqa: E731
    detections, targets = [], []
    for _ in range(images):
        m = int(rand(1) * 8)
        true = torch.cat([rand(m, 2) * 200 + 60, 10 + rand(m, 2) * 110, rand(m, 1) * 3 - 1.5], 1)
        labels = (rand(m) * 3).long()
        found = torch.cat([true, true]) + torch.randn(2 * m, 5, generator=rng) * torch.tensor([5.0, 5.0, 5.0, 5.0, 0.1])
        found[:, 2:4].clamp_(min=5)
        guess = torch.cat([labels, torch.where(rand(m) < 0.5, labels, (labels + 1) % 3)])
        if columns == 4:
            true, found = (torch.cat([b[:, :2] - b[:, 2:4] / 2, b[:, :2] + b[:, 2:4] / 2], 1) for b in (true, found))
        targets.append(Targets(true, labels, rand(m) < 0.2))
        detections.append(Detections(found, (rand(2 * m) * 10).round() / 10, guess))
    return detections, targets


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("max_dets", [500, 2])
def test_every_image_once_is_cocos_ap(columns, max_dets):
    for seed in range(6):
        detections, targets = scene(seed, columns)
        coco = evaluate_coco(detections, targets, CLASSES, max_dets).ap
        matches = match_detections(detections, targets, CLASSES, max_dets)
        once = np.ones((1, len(targets)), dtype=np.int64)
        assert average_precision(matches, once)[0] == pytest.approx(coco, abs=1e-6)
        found = bootstrap_ap([detections], [detections], targets, CLASSES, 1, max_dets=max_dets)
        assert (found.a, found.b) == pytest.approx((coco, coco), abs=1e-6)


@pytest.mark.parametrize("columns", [4, 5])
def test_weights_are_images_in_the_list_that_often(columns):
    detections, targets = scene(11, columns)
    draws = np.random.default_rng(1).multinomial(6, [1 / 6] * 6, 12)
    fast = average_precision(match_detections(detections, targets, CLASSES), draws)
    for draw, value in zip(draws, fast, strict=True):
        rows = np.repeat(np.arange(6), draw)
        slow = evaluate_coco([detections[i] for i in rows], [targets[i] for i in rows], CLASSES).ap
        assert value == pytest.approx(slow, abs=1e-6, nan_ok=True)


def test_more_rounds_than_fit_at_once_are_the_same():
    detections, targets = scene(5)
    draws = np.random.default_rng(1).multinomial(6, [1 / 6] * 6, 230)
    matches = match_detections(detections, targets, CLASSES)
    together = average_precision(matches, draws)
    apart = [average_precision(matches, draw[None])[0] for draw in draws]
    assert together == pytest.approx(apart, nan_ok=True)


def test_equal_detections_differ_by_nothing():
    detections, targets = scene(2)
    found = bootstrap_ap([detections], [detections], targets, CLASSES, 50)
    assert (found.difference, found.low, found.high, found.std, found.better) == (0, 0, 0, 0, 0)


def pair(found_by_a, found_by_b, images):
    """Two objects an image; a side finds the first of them, or both, exactly."""
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [50.0, 0.0, 70.0, 20.0]])
    label = torch.zeros(2, dtype=torch.int64)
    found = {n: Detections(boxes[:n], torch.tensor([0.9, 0.8])[:n], label[:n]) for n in (1, 2)}
    return [found[found_by_a]] * images, [found[found_by_b]] * images, [Targets(boxes, label)] * images


def test_a_known_shift_is_found_in_every_resample():
    a, b, targets = pair(1, 2, 10)
    found = bootstrap_ap([a], [b], targets, CLASSES, 40)
    shift = 100 * 50 / 101  # half of the objects: the 51 recalls up to .5
    assert (found.a, found.b) == pytest.approx((100 - shift, 100))
    assert (found.low, found.difference, found.high) == pytest.approx((shift, shift, shift))
    assert (found.better, found.seeds, found.images, found.rounds) == (1, 1, 10, 40)
    back = bootstrap_ap([b], [a], targets, CLASSES, 40)
    assert (back.low, back.difference, back.better) == pytest.approx((-shift, -shift, 0))


def test_seeds_are_averaged_within_a_round():
    runs = [scene(20)[0], [Detections(d.boxes, 1 - d.scores, d.labels) for d in scene(20)[0]]]
    base, targets = scene(20)
    base = [Detections(d.boxes + 3, d.scores, d.labels) for d in base]
    one, two = (bootstrap_ap([base], [run], targets, CLASSES, 60, seed=4) for run in runs)
    both = bootstrap_ap([base, base], runs, targets, CLASSES, 60, seed=4)
    assert both.difference == pytest.approx((one.difference + two.difference) / 2)
    assert both.b == pytest.approx((one.b + two.b) / 2)
    assert both.seeds == 2
    # Opposite gains cancel in every round, not only on average.
    none = bootstrap_ap([base, runs[0]], [runs[0], base], targets, CLASSES, 60)
    assert (none.low, none.high) == pytest.approx((0, 0), abs=1e-9)


def test_whole_groups_are_drawn():
    a, targets = scene(8, images=9)
    b = [Detections(d.boxes + 4, d.scores, d.labels) for d in a]
    flights = ["p", "q", "p", "r", "q", "p", "r", "p", "q"]
    found = bootstrap_ap([a], [b], targets, CLASSES, 30, seed=5, groups=flights)
    assert (found.groups, found.images) == (3, 9)
    gains = []
    for draw in np.random.default_rng(5).multinomial(3, [1 / 3] * 3, 30):
        rows = [i for i, name in enumerate(flights) for _ in range(draw["pqr".index(name)])]
        one, other = (evaluate_coco([d[i] for i in rows], [targets[i] for i in rows], CLASSES).ap for d in (a, b))
        gains.append(other - one)
    assert found.low == pytest.approx(sorted(gains)[0], rel=1e-3)  # of 30 draws, the least is the 2.5th percentile
    assert found.std == pytest.approx(
        float(np.std(gains, ddof=1)), rel=1e-3
    )  # copies of equal score stand in another order
    every = bootstrap_ap([a], [b], targets, CLASSES, 30, seed=5, groups=[str(i) for i in range(9)])
    assert every == bootstrap_ap([a], [b], targets, CLASSES, 30, seed=5)
    with pytest.raises(DataError, match="2 groups for 9 images"):
        bootstrap_ap([a], [b], targets, CLASSES, groups=["p", "q"])


def test_the_seed_settles_the_draws():
    a, targets = scene(8)
    b = [Detections(d.boxes + 4, d.scores, d.labels) for d in a]
    first, again, other = (bootstrap_ap([a], [b], targets, CLASSES, 50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.difference == other.difference


def test_draws_without_objects_are_left_out():
    a, b, targets = pair(1, 2, 1)
    empty = Targets.empty()
    found = bootstrap_ap([a + a], [b + b], [targets[0], empty], ["ship"], 30)
    assert found.low <= found.difference <= found.high
    nothing = bootstrap_ap([a], [b], [empty], ["ship"], 5)
    values = json.loads(json.dumps(nothing.as_dict(), allow_nan=False))
    assert {values[k] for k in ("a", "b", "difference", "low", "high", "std", "better")} == {None}


def simulated(rng, images):
    """Images of two objects: a finds each with probability .5, b with .6; some images are harder for both."""
    a, b, targets = [], [], []
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [50.0, 0.0, 70.0, 20.0]])
    for _ in range(images):
        ease, luck = rng.choice([0.7, 1.3]), rng.random(2)
        for side, rate in ((a, 0.5), (b, 0.6)):
            hit = torch.from_numpy(luck < rate * ease)
            score = torch.from_numpy(rng.random(2))[hit].float()
            side.append(Detections(boxes[hit], score, torch.zeros(len(score), dtype=torch.int64)))
        targets.append(Targets(boxes, torch.zeros(2, dtype=torch.int64)))
    return a, b, targets


def test_intervals_cover_the_difference_of_the_population():
    """Without false alarms AP is the share found, so that the population's difference is 10 (and half a recall)."""
    rng = np.random.default_rng(5)
    covered, widths, trials = 0, [], 30
    for trial in range(trials):
        a, b, targets = simulated(rng, 40)
        found = bootstrap_ap([a], [b], targets, ["ship"], 150, seed=trial, level=0.9)
        covered += found.low <= 10 <= found.high
        widths.append(found.high - found.low)
    assert 23 <= covered < trials  # 27 expected; never to miss would be too wide
    assert 7 < np.mean(widths) < 14


@pytest.mark.parametrize(
    ("a", "b", "images", "options", "message"),
    [
        (1, 2, 1, {}, "1 seeds of a but 2 of b"),
        (0, 0, 1, {}, "0 seeds of a but 0 of b"),
        (1, 1, 0, {}, "no image to draw from"),
        (1, 1, 1, {"rounds": 0}, "0 bootstrap rounds"),
        (1, 1, 1, {"level": 1.0}, "level 1.0"),
    ],
)
def test_bad_runs_give_one_clear_line(a, b, images, options, message):
    one, _, targets = pair(1, 1, images)
    with pytest.raises(DataError) as caught:
        bootstrap_ap([one] * a, [one] * b, targets, CLASSES, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_of_other_images_give_one_clear_line():
    a, b, targets = pair(1, 2, 3)
    with pytest.raises(DataError, match="2 images of detections but 3 of truth"):
        bootstrap_ap([a], [b[:2]], targets, CLASSES)
