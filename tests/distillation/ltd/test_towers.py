"""TASD inside the heads, held to its formula by plain loops."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.distillation.distiller import Distiller
from skystill.distillation.ltd import LTD
from skystill.distillation.ltd.towers import Towers
from skystill.structures import HeadView, Knowledge, MapPair, Targets

WIDTH_S, WIDTH_T = 6, 10


def never(*_: object) -> None:
    raise AssertionError("this head is not to be run")


def opened(knowledge: Knowledge, width: int, seed: int) -> Knowledge:
    """Knowledge with random maps in the middle of its head."""
    noise = torch.Generator().manual_seed(seed)
    maps = tuple(
        (
            torch.randn(len(p), width, *p.shape[2:], generator=noise),
            torch.randn(len(p), width, *p.shape[2:], generator=noise),
        )
        for p in knowledge.pyramid
    )
    return replace(knowledge, head=HeadView((width, width), never, never, maps))  # type: ignore[arg-type]


@pytest.fixture
def pair(make_knowledge: Callable[..., Knowledge]) -> tuple[Knowledge, Knowledge]:
    student, teacher = make_knowledge(1, channels=4, side=64), make_knowledge(2, channels=4, side=64)
    return opened(student, WIDTH_S, 3), opened(teacher, WIDTH_T, 4)


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    both = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return both / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def by_hand(towers: Towers, student: Knowledge, teacher: Knowledge, task: int) -> float:
    """1 - mean over levels and channels of the correlation over a batch's cells."""
    assert student.head is not None
    assert teacher.head is not None
    levels = []
    for level, (s, t) in enumerate(zip(student.head.maps, teacher.head.maps, strict=True)):
        phi = list(towers.adapt.parameters())[task + (0 if student.head.shared else 2 * level)]
        weight = phi[:, :, 0, 0].tolist()
        cells = [
            s[task][b, :, y, x].tolist() for b in range(2) for y in range(s[0].shape[2]) for x in range(len(s[0][0, 0]))
        ]
        wanted = [
            t[task][b, :, y, x].tolist() for b in range(2) for y in range(t[0].shape[2]) for x in range(len(t[0][0, 0]))
        ]
        channels = []
        for c in range(WIDTH_T):
            seen = [sum(w * v for w, v in zip(weight[c], cell, strict=True)) for cell in cells]
            channels.append(1 - correlation(seen, [cell[c] for cell in wanted]))
        levels.append(sum(channels) / len(channels))
    return sum(levels) / len(levels)


@pytest.mark.parametrize("shared", [True, False])
def test_each_tower_teaches_its_own(pair: tuple[Knowledge, Knowledge], shared: bool) -> None:
    """Heads of the same towers at all levels, and of others at each."""
    # Levels of 8x8, 4x4 and 2x2 cells: of the last, 8 samples a channel, `standardise` has other statistics.
    student, teacher = ((replace(k, head=replace(k.head, maps=k.head.maps[:2]))) for k in pair if k.head is not None)
    student, teacher = (replace(k, strides=k.strides[:2]) for k in (student, teacher))
    assert student.head is not None
    student = replace(student, head=replace(student.head, shared=shared))
    torch.manual_seed(0)
    towers = Towers(student, teacher, 10**6)
    assert len(list(towers.parameters())) == (2 if shared else 4)
    assert student.head is not None
    found = towers(student.head.maps, teacher)
    assert [term.item() for term in found] == pytest.approx(
        [by_hand(towers, student, teacher, k) for k in (0, 1)], rel=1e-4
    )
    assert found[0].item() != pytest.approx(found[1].item(), rel=1e-4)


def test_some_images_of_a_batch_estimate_all_of_them(make_knowledge: Callable[..., Knowledge]) -> None:
    """Where the finest level has more cells than `places`; live, and where the towers run for it."""
    student = opened(make_knowledge(1, channels=4, side=64, batch=6), WIDTH_S, 3)
    teacher = opened(make_knowledge(2, channels=4, side=64, batch=6), WIDTH_T, 4)
    assert student.head is not None
    assert teacher.head is not None
    torch.manual_seed(0)
    every = Towers(student, teacher, 6 * 64)(student.head.maps, teacher)[0].item()
    ran: list[int] = []

    def run(pyramid: Sequence[Tensor]) -> tuple[MapPair, ...]:
        ran.append(len(pyramid[0]))
        return tuple((p.repeat(1, 3, 1, 1)[:, :WIDTH_T], p.repeat(1, 3, 1, 1)[:, :WIDTH_T]) for p in pyramid)

    torch.manual_seed(0)
    some = Towers(student, replace(teacher, head=replace(teacher.head, open=run)), 3 * 64 + 1)
    sampled = [some(student.head.maps, teacher)[0].item() for _ in range(150)]
    assert len({round(value, 4) for value in sampled}) == math.comb(6, 3)
    assert sum(sampled) / len(sampled) == pytest.approx(every, rel=0.05)
    some(student.head.maps, replace(teacher, head=None))
    Towers(student, replace(teacher, head=replace(teacher.head, open=run)), 1)(
        student.head.maps, replace(teacher, head=None)
    )
    assert ran == [3, 1]


def test_terms_are_weighted_and_left_out_where_a_head_is_closed(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets]
) -> None:
    student, teacher = pair
    method = LTD(ccd=0, sem=0, loc=0, towers=3.0)
    assert (method.features, method.head_maps, LTD().head_maps) == (True, True, False)
    method.prepare(student, teacher)
    terms = method(student, teacher, two_images)
    assert method.inside is not None
    assert student.head is not None
    sem, loc = method.inside(student.head.maps, teacher)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {"tower_sem": 3 * sem.item(), "tower_loc": 3 * loc.item()}
    )
    for one, other in ((replace(student, head=None), teacher), (student, replace(teacher, head=None))):
        closed = LTD(sem=0, loc=0, towers=3.0)
        closed.prepare(one, other)
        assert set(closed(one, other, two_images)) == {"ccd", "gates"}


def test_lessons_without_a_head_teach_the_same(make_gfl: Callable[..., GFL], two_images: list[Targets]) -> None:
    """What a cache holds is a pyramid; the teacher's towers run on it again."""
    torch.manual_seed(0)
    student, teacher = make_gfl(0), make_gfl(1, head_depth=2)
    distiller = Distiller(student, teacher, LTD(ccd=0, sem=0, loc=0, towers=1.0))
    (method,) = distiller.methods
    images = torch.rand(2, 3, 64, 64)
    seen, told = student(images).knowledge, distiller.ask(teacher, images)
    assert told.head is not None
    assert len(told.head.maps) == 3
    assert not any(m.requires_grad for pair in told.head.maps for m in pair)
    live, stored = (method(seen, k, two_images) for k in (told, Knowledge(told.pyramid, told.strides, told.dense)))
    for name, value in live.items():
        torch.testing.assert_close(value, stored[name])
    sum(stored.values(), torch.zeros(())).backward()
    felt = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("backbone") for name in felt)
    assert all(p.grad is None for p in teacher.parameters())
    assert not any("head" in name for name in method.state_dict())


def test_maps_are_let_go_where_nobody_asks(make_gfl: Callable[..., GFL]) -> None:
    teacher = make_gfl(1)
    told = Distiller(make_gfl(0), teacher, LTD()).ask(teacher, torch.rand(1, 3, 64, 64))
    assert told.head is not None
    assert told.head.maps == ()


def test_equal_heads_are_at_rest(make_knowledge: Callable[..., Knowledge]) -> None:
    both = opened(make_knowledge(1, channels=4, side=64), WIDTH_S, 3)
    assert both.head is not None
    found: tuple[Tensor, Tensor] = Towers(both, both, 10**6)(both.head.maps, both)
    assert [term.item() for term in found] == pytest.approx([0, 0], abs=1e-6)


def test_a_finer_head_is_averaged_down(pair: tuple[Knowledge, Knowledge]) -> None:
    """A teacher of an enlarged image: twice as many cells each way."""
    student, teacher = pair
    assert student.head is not None
    assert teacher.head is not None
    up: tuple[MapPair, ...] = tuple(
        (c.repeat_interleave(2, 2).repeat_interleave(2, 3), b.repeat_interleave(2, 2).repeat_interleave(2, 3))
        for c, b in teacher.head.maps
    )
    finer = replace(teacher, head=replace(teacher.head, maps=up))
    towers = Towers(student, teacher, 10**6)
    for one, other in zip(towers(student.head.maps, teacher), towers(student.head.maps, finer), strict=True):
        torch.testing.assert_close(one, other)


def test_towers_fade_out_and_their_adapters_rest(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    method = LTD(ccd=0, sem=0, loc=0, towers=2.0, fade=(0.2, 0.6))
    method.build(student, teacher)
    found = []
    for progress in (0.0, 0.4, 0.6, 1.0):
        method.progress = progress
        found.append(method(student, teacher, []))
    first, half, last, end = (torch.stack([terms["tower_sem"], terms["tower_loc"]]) for terms in found)
    assert torch.allclose(half, first / 2)
    assert first.min() > 0
    assert last.tolist() == end.tolist() == [0, 0]
    method.zero_grad()
    found[-1]["tower_sem"].backward()
    assert [float(p.grad.abs().sum()) for p in method.parameters()] == [0.0] * len(list(method.parameters()))  # type: ignore[union-attr]
