"""The breakdown of errors: scenes with a single kind of error, a slow re-statement of the rules, and the edges."""

import json
import math

import pytest
import shapely
import torch

from skystill.errors import DataError
from skystill.evaluation.coco import evaluate_coco
from skystill.evaluation.errors import KINDS, ErrorBreakdown, evaluate_errors
from skystill.structures import Detections, Targets

CLASSES = ["ship", "plane", "car"]
SHIP, PLANE, CAR = range(3)
TURN = 0.4
NEAR = 40 * 0.7 / 1.3  # a shift along a side of 40 px that leaves an IoU of .3


def box(x, columns, width=40.0, height=20.0):
    """A box at x along a line, which is level for HBB and turned for OBB, so that overlaps are the same."""
    if columns == 4:
        return [x, 0.0, x + width, height]
    along = x + width / 2
    return [along * math.cos(TURN), along * math.sin(TURN), width, height, TURN]


def truth(objects, columns, ignore=()):
    boxes = torch.tensor([box(x, columns) for x, _ in objects]).reshape(-1, columns)
    flags = torch.tensor([i in ignore for i in range(len(objects))], dtype=torch.bool)
    return Targets(boxes, torch.tensor([k for _, k in objects], dtype=torch.int64), flags)


def seen(found, columns):
    boxes = torch.tensor([box(x, columns) for x, _, _ in found]).reshape(-1, columns)
    scores = torch.tensor([s for _, s, _ in found], dtype=torch.float32)
    return Detections(boxes, scores, torch.tensor([k for _, _, k in found], dtype=torch.int64))


TWO = [(0, SHIP), (100, SHIP)]
HALF = 100 * 50 / 101  # one of two objects found: the 51 recalls up to .5 have precision 1, the others none
THIRD = 100 * 50 / 101 / 3  # both found, a false one between them: those others have precision 2/3

SINGLE = {
    "localization": (TWO, [(0, 0.9, SHIP), (100 + NEAR, 0.8, SHIP)], HALF),
    "classification": (TWO, [(0, 0.9, SHIP), (100, 0.8, PLANE)], HALF),
    # Halves the precision of the one plane, and there are two classes.
    "both": (
        [*TWO, (200, PLANE)],
        [(0, 0.9, SHIP), (100, 0.8, SHIP), (200, 0.7, PLANE), (100 + NEAR, 0.95, PLANE)],
        100 / 4,
    ),
    "duplicate": (TWO, [(0, 0.9, SHIP), (0, 0.8, SHIP), (100, 0.7, SHIP)], THIRD),
    "background": (TWO, [(0, 0.9, SHIP), (300, 0.8, SHIP), (100, 0.7, SHIP)], THIRD),
    "missed": (TWO, [(0, 0.9, SHIP)], HALF),
}


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_single_error_has_its_name_and_its_cost(kind, columns):
    objects, found, cost = SINGLE[kind]
    result = evaluate_errors([seen(found, columns)], [truth(objects, columns)], CLASSES)
    assert result.counts == {name: int(name == kind) for name in KINDS}
    assert result.ap50 == pytest.approx(100 - cost)
    assert result.dap50 == pytest.approx({name: cost if name == kind else 0.0 for name in KINDS})


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("label", [SHIP, PLANE])
def test_of_two_that_aim_at_one_object_the_better_stays(label, columns):
    shift = NEAR if label == SHIP else 0.0
    found = [(0, 0.9, SHIP), (100 + shift, 0.8, label), (100 - shift, 0.7, label)]
    result = evaluate_errors([seen(found, columns)], [truth(TWO, columns)], CLASSES)
    kind = "localization" if label == SHIP else "classification"
    assert result.counts == {name: 2 * (name == kind) for name in KINDS}
    assert result.dap50[kind] == pytest.approx(HALF)


def test_what_aims_at_a_taken_object_is_left_out():
    found = [(0, 0.9, SHIP), (NEAR, 0.8, SHIP), (100, 0.7, SHIP)]
    result = evaluate_errors([seen(found, 4)], [truth(TWO, 4)], CLASSES)
    assert result.counts["localization"] == 1
    assert result.dap50["localization"] == pytest.approx(THIRD)


def test_nothing_found_is_all_missed():
    result = evaluate_errors([seen([], 4)], [truth([*TWO, (200, CAR)], 4)], CLASSES)
    assert (result.ap50, result.dap50["missed"], result.counts["missed"]) == (0, 100, 3)


@pytest.mark.parametrize("columns", [4, 5])
def test_ignored_objects_are_not_missed_and_excuse_their_class_alone(columns):
    targets = [truth([*TWO, (200, SHIP)], columns, ignore=[2])]
    right = [(0, 0.9, SHIP), (100, 0.8, SHIP)]
    for extra, errors in (([], 0), ([(200, 0.95, SHIP), (200, 0.94, SHIP)], 0), ([(200, 0.95, PLANE)], 1)):
        result = evaluate_errors([seen([*right, *extra], columns)], targets, CLASSES)
        assert result.counts == {name: errors * (name == "background") for name in KINDS}
        assert result.ap50 == pytest.approx(100)
        assert sum(result.objects.values()) == 2


def test_detections_beyond_max_dets_are_no_errors():
    found = seen(SINGLE["duplicate"][1], 4)
    result = evaluate_errors([found], [truth(TWO, 4)], CLASSES, max_dets=2)
    assert result.counts["duplicate"] == 1
    assert result.counts["missed"] == 1
    assert evaluate_errors([found], [truth(TWO, 4)], CLASSES, max_dets=1).counts["duplicate"] == 0


@pytest.mark.parametrize("columns", [4, 5])
def test_images_without_objects_hold_background_alone(columns):
    empty = Targets.empty(columns=columns)
    result = evaluate_errors([seen([(0, 0.9, SHIP)], columns), seen([], columns)], [empty, empty], CLASSES)
    assert result.counts == {name: int(name == "background") for name in KINDS}
    assert math.isnan(result.ap50)
    assert all(math.isnan(gain) for gain in result.dap50.values())
    # Beside an image with objects they cost what a false alarm costs.
    beside = evaluate_errors(
        [seen([(0, 0.9, SHIP)], columns), seen([(0, 0.8, SHIP), (100, 0.7, SHIP)], columns)],
        [empty, truth(TWO, columns)],
        CLASSES,
    )
    assert beside.dap50["background"] == pytest.approx(100 - beside.ap50)


def test_no_images():
    result = evaluate_errors([], [], CLASSES)
    assert math.isnan(result.ap50)
    assert result.counts == dict.fromkeys(KINDS, 0)
    assert result.objects == {"small": 0, "medium": 0, "large": 0}


def test_missed_objects_by_size():
    sides = [31.0, 33.0, 95.0, 97.0, 200.0]
    boxes = torch.tensor([[300.0 * i, 0, 300.0 * i + s, s] for i, s in enumerate(sides)])
    targets = [Targets(boxes, torch.zeros(5, dtype=torch.int64))]
    found = Detections(boxes[[1, 3]], torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64))
    result = evaluate_errors([found], targets, CLASSES)
    assert result.objects == {"small": 1, "medium": 2, "large": 2}
    assert result.missed == {"small": 1, "medium": 1, "large": 1}


def test_breakdown_survives_json():
    objects, found, _ = SINGLE["both"]
    for targets, detections in ((truth(objects, 4), seen(found, 4)), (Targets.empty(), seen([], 4))):
        result = evaluate_errors([detections], [targets], CLASSES)
        again = ErrorBreakdown.from_dict(json.loads(json.dumps(result.as_dict(), allow_nan=False)))
        assert again.ap50 == pytest.approx(result.ap50, nan_ok=True)
        assert again.dap50 == pytest.approx(result.dap50, nan_ok=True)
        assert (again.counts, again.missed, again.objects) == (result.counts, result.missed, result.objects)


def test_bad_input_gives_one_clear_line():
    with pytest.raises(DataError, match="1 images of detections but 0 of truth"):
        evaluate_errors([seen([], 4)], [], CLASSES)
    with pytest.raises(DataError, match="detections have 5 box columns, the truth 4"):
        evaluate_errors([seen([(0, 0.9, SHIP)], 5)], [truth(TWO, 4)], CLASSES)


# The rules once more, in plain loops over polygons.


def polygon(row):
    if len(row) == 4:
        return shapely.box(*row)
    cx, cy, w, h, theta = row
    points = []
    for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x, y = i * w / 2, j * h / 2
        points.append((cx + x * math.cos(theta) - y * math.sin(theta), cy + x * math.sin(theta) + y * math.cos(theta)))
    return shapely.Polygon(points)


def slow_image(detections, targets, max_dets):
    """One image. Detections as dicts with kind and aim, objects as dicts with taken."""
    objects, crowds = [], []
    for row, label, ignore in zip(
        targets.boxes.tolist(), targets.labels.tolist(), targets.ignore.tolist(), strict=True
    ):
        (crowds if ignore else objects).append({"shape": polygon(row), "label": label, "taken": False, "aimed": False})
    rows = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    ranked, number = [], {}
    for row, score, label in sorted(rows, key=lambda r: -r[1]):
        number[label] = number.get(label, 0) + 1
        if number[label] <= max_dets:
            ranked.append({"shape": polygon(row), "score": score, "label": label, "aim": None})
    for d in ranked:
        d["ious"] = [d["shape"].intersection(o["shape"]).area / d["shape"].union(o["shape"]).area for o in objects]
        free = [(i, o) for i, o in zip(d["ious"], objects, strict=True) if o["label"] == d["label"] and not o["taken"]]
        best = max(free, key=lambda pair: pair[0], default=(0, None))
        if best[0] >= 0.5:
            best[1]["taken"], d["kind"] = True, "right"
        elif any(
            c["label"] == d["label"] and d["shape"].intersection(c["shape"]).area >= 0.5 * d["shape"].area
            for c in crowds
        ):
            d["kind"] = "excused"
        else:
            d["kind"] = "false"
    for d in ranked:
        if d["kind"] == "false":
            name_error(d, objects)
    return ranked, objects


def name_error(d, objects):
    own = max(((i, n) for n, i in enumerate(d["ious"]) if objects[n]["label"] == d["label"]), default=(0, None))
    other = max(((i, n) for n, i in enumerate(d["ious"]) if objects[n]["label"] != d["label"]), default=(0, None))
    if 0.1 <= own[0] < 0.5:
        d["kind"], d["aim"] = "localization", objects[own[1]]
    elif other[0] >= 0.5:
        d["kind"], d["aim"] = "classification", objects[other[1]]
    elif own[0] >= 0.5:
        d["kind"] = "duplicate"
    elif max(own[0], other[0]) <= 0.1:
        d["kind"] = "background"
    else:
        d["kind"] = "both"
    if d["aim"]:
        d["aim"]["aimed"] = True


def slow_ap50(pairs, objects, classes):
    """pairs: (label, score, right). objects: label -> (how many there are, how many count)."""
    values = []
    for k in range(classes):
        there, count = objects[k]
        if not there:
            continue
        if not count:
            values.append(1.0)
            continue
        hits, points = 0, []
        for n, (_, _, right) in enumerate(sorted((p for p in pairs if p[0] == k), key=lambda p: -p[1]), start=1):
            hits += right
            points.append((hits / count, hits / n))
        values.append(sum(max((p for r, p in points if r >= i / 100 - 1e-12), default=0) for i in range(101)) / 101)
    return 100 * sum(values) / len(values) if values else math.nan


def slow_breakdown(detections, targets, classes, max_dets):
    ranked, objects = [], []
    for one, true in zip(detections, targets, strict=True):
        more, there = slow_image(one, true, max_dets)
        ranked, objects = ranked + more, objects + there
    missed = [o for o in objects if not o["taken"] and not o["aimed"]]
    kept = [d for d in ranked if d["kind"] != "excused"]
    plain = {k: (sum(o["label"] == k for o in objects),) * 2 for k in range(classes)}
    base = slow_ap50([(d["label"], d["score"], d["kind"] == "right") for d in kept], plain, classes)
    gains, counts = {}, {}
    for kind in KINDS:
        pairs, mended = [], []
        for d in sorted(kept, key=lambda d: -d["score"]):
            if d["kind"] != kind:
                pairs.append((d["label"], d["score"], d["kind"] == "right"))
            elif d["aim"] and not d["aim"]["taken"] and not any(o is d["aim"] for o in mended):
                mended.append(d["aim"])
                pairs.append((d["aim"]["label"], d["score"], True))
        left = plain
        if kind == "missed":
            left = {k: (n, n - sum(o["label"] == k for o in missed)) for k, (n, _) in plain.items()}
        gains[kind] = slow_ap50(pairs, left, classes) - base
        counts[kind] = sum(d["kind"] == kind for d in kept)
    return base, gains, counts | {"missed": len(missed)}


def scene(seed, columns, images=4):
    """Truth and detections with every kind of error; all scores differ, and some images are empty."""
    rng = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=rng)  # noqa: E731
    detections, targets = [], []
    for _ in range(images):
        m = int(rand(1) * 9)
        true = torch.cat([rand(m, 2) * 200, 15 + rand(m, 2) * 90, rand(m, 1) * 3 - 1.5], 1)
        labels = (rand(m) * 3).long()
        spread = torch.tensor([9.0, 9.0, 6.0, 6.0, 0.15])
        found = torch.cat([true + torch.randn(m, 5, generator=rng) * spread for _ in range(3)])
        found = found[rand(len(found)) < 0.6]
        near = torch.cat([labels] * 3)[: len(found)]
        guess = torch.where(rand(len(found)) < 0.3, (near + 1) % 3, near)
        far = torch.cat([rand(2, 2) * 200 + 400, 20 + rand(2, 2) * 9, rand(2, 1)], 1)
        found, guess = torch.cat([found, far]), torch.cat([guess, (rand(2) * 3).long()])
        found[:, 2:4].clamp_(min=5)
        if columns == 4:
            true, found = (torch.cat([b[:, :2] - b[:, 2:4] / 2, b[:, :2] + b[:, 2:4] / 2], 1) for b in (true, found))
        targets.append(Targets(true, labels, rand(m) < 0.15))
        detections.append(Detections(found, rand(len(found)), guess))
    return detections, targets


@pytest.mark.parametrize("columns", [4, 5])
def test_breakdown_equals_the_slow_statement(columns):
    met = dict.fromkeys(KINDS, 0)
    for seed in range(5):
        detections, targets = scene(seed, columns)
        for max_dets in (500, 2):
            ap50, gains, counts = slow_breakdown(detections, targets, len(CLASSES), max_dets)
            result = evaluate_errors(detections, targets, CLASSES, max_dets)
            assert result.counts == counts
            assert result.ap50 == pytest.approx(ap50, abs=1e-6, nan_ok=True)
            assert result.dap50 == pytest.approx(gains, abs=1e-6, nan_ok=True)
            assert sum(result.missed.values()) == counts["missed"]
            met = {kind: met[kind] + counts[kind] for kind in KINDS}
    assert min(met.values()) >= 3, met  # the scenes hold every kind


@pytest.mark.parametrize("columns", [4, 5])
def test_ap50_is_cocos_and_no_oracle_lowers_it(columns):
    for seed in range(30):
        detections, targets = scene(100 + seed, columns, images=2)
        for max_dets in (500, 3):
            result = evaluate_errors(detections, targets, CLASSES, max_dets)
            coco = evaluate_coco(detections, targets, CLASSES, max_dets).ap50
            assert result.ap50 == pytest.approx(coco, abs=1e-6, nan_ok=True)
            assert all(gain >= 0 or math.isnan(coco) for gain in result.dap50.values())


def test_level_oriented_boxes_have_the_errors_of_horizontal_ones():
    detections, targets = scene(3, 4)

    def level(boxes):
        return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], boxes[:, :1] * 0], 1)

    turned = [Detections(level(d.boxes), d.scores, d.labels) for d in detections]
    truths = [Targets(level(t.boxes), t.labels, t.ignore) for t in targets]
    flat, level_result = evaluate_errors(detections, targets, CLASSES), evaluate_errors(turned, truths, CLASSES)
    assert level_result.counts == flat.counts
    assert level_result.dap50 == pytest.approx(flat.dap50)
