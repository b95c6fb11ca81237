"""LD's loss edge by edge and bin by bin, and the heads it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from skystill.boxes.atss import atss
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.peers.ld import LD, edge_divergence, ld_loss
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

MakeDense = Callable[..., Dense]
MakeKnowledge = Callable[..., Knowledge]


def softened(values: list[float], tau: float) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [p / sum(powers) for p in powers]


def by_hand(student: Dense, teacher: Dense, spots: list[tuple[int, int]], tau: float) -> float:
    assert student.edges is not None
    assert teacher.edges is not None
    total = 0.0
    for b, p in spots:
        for e in range(4):
            wanted, seen = (softened(d[b, p, e].tolist(), tau) for d in (teacher.edges, student.edges))
            total += tau**2 * sum(t * math.log(t / s) for t, s in zip(wanted, seen, strict=True))
    return total / max(1, len(spots))


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_the_loss_over_numbers(make_dense: MakeDense, tau: float) -> None:
    student, teacher = make_dense(1), make_dense(2)
    region = torch.rand(2, 84, generator=torch.Generator().manual_seed(9)) < 0.2
    spots = [(b, p) for b, p in region.nonzero().tolist()]
    assert len(spots) > 9
    assert ld_loss(student, teacher, region, tau).item() == pytest.approx(
        by_hand(student, teacher, spots, tau), rel=1e-3
    )


def test_one_place_weighs_as_much_as_many(make_dense: MakeDense) -> None:
    student, teacher = make_dense(1, batch=1), make_dense(2, batch=1)
    one = torch.zeros(1, 84, dtype=torch.bool)
    one[0, 5] = True
    once = ld_loss(student, teacher, one)
    four = [replace(d, edges=d.edges[:, [5] * 84]) for d in (student, teacher)]  # type: ignore[index]
    assert ld_loss(four[0], four[1], torch.ones(1, 84, dtype=torch.bool)).item() == pytest.approx(once.item(), rel=1e-5)


def test_a_shift_of_an_edges_logits_says_nothing() -> None:
    edges = torch.randn(3, 4, 17)
    assert edge_divergence(edges + 5, edges, 10.0).abs().max() < 1e-4


def test_each_region_has_its_weight(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    dense_s, dense_t = student.dense, teacher.dense
    assert dense_s is not None
    assert dense_t is not None
    method = LD(main=2.0, vlr=3.0, tau=4.0)
    method.build(student, teacher)
    terms = method(student, teacher, two_images)
    main, ring = [], []
    for b, target in enumerate(two_images):
        positive = atss(dense_t.places, dense_t.levels, target.boxes).object >= 0
        main += [(b, p) for p in positive.nonzero().flatten().tolist()]
        ring += [(b, p) for p in find_regions(dense_t, two_images).ring[b].nonzero().flatten().tolist()]
    assert set(main).isdisjoint(ring)
    assert min(len(main), len(ring)) > 0
    assert terms["ld"].item() == pytest.approx(2 * by_hand(dense_s, dense_t, main, 4.0), rel=1e-3)
    assert terms["ld_vlr"].item() == pytest.approx(3 * by_hand(dense_s, dense_t, ring, 4.0), rel=1e-3)
    assert set(LD(vlr=0.0)(student, teacher, two_images)) == {"ld"}
    assert set(LD(main=0.0)(student, teacher, two_images)) == {"ld_vlr"}


def test_heads_without_comparable_distributions_are_refused(make_knowledge: MakeKnowledge) -> None:
    whole = make_knowledge(1)
    assert whole.dense is not None
    assert whole.dense.edges is not None
    without = replace(whole, dense=replace(whole.dense, edges=None))
    coarser = replace(whole, dense=replace(whole.dense, edges=whole.dense.edges[..., :9]))
    for student, teacher, message in (
        (without, whole, "the student's head has none. Methods that do without them: ltd, bckd"),
        (whole, without, "the teacher's head has none. Methods that do without them: ltd, bckd"),
        (whole, coarser, "the student has 17 bins and the teacher 9. Give both the same reg_max"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            LD().build(student, teacher)
        assert "\n" not in str(caught.value)
