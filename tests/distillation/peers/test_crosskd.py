"""CrossKD between tiny detectors: the student's maps through the teacher's last layers, step by step and number by
number."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skystill.detectors.gfl import GFL
from skystill.distillation.distiller import Distiller
from skystill.distillation.methods import make_method
from skystill.distillation.pairing import rescale
from skystill.distillation.peers.crosskd import CrossKD
from skystill.errors import ConfigError
from skystill.structures import Dense, HeadView, Knowledge, Targets

MakeGFL = Callable[..., GFL]
MakeKnowledge = Callable[..., Knowledge]
PAIRS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "same": ({}, {}),
    "deeper": ({"head_depth": 3}, {"head_depth": 2}),
    "wider, other layers": (
        {},
        {"neck_channels": 48, "head_channels": 40, "head_depth": 2, "convs": "dense", "norm": "gn"},
    ),
    "other strides": ({"levels": (3, 5)}, {"levels": (4, 7), "head_depth": 2}),
}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), torch.zeros(()))


def told(model: GFL, images: Tensor) -> Knowledge:
    """What a frozen teacher says."""
    with torch.no_grad():
        return model.requires_grad_(False).eval().knowledge(images).detach()


def built(student: Knowledge, teacher: Knowledge, **settings: float) -> CrossKD:
    torch.manual_seed(0)
    method = CrossKD(**settings)
    method.build(student, teacher)
    return method


def opinionated(model: GFL) -> GFL:
    """Scores that differ from place to place, as a trained head's do."""
    torch.nn.init.normal_(model.head.cls.weight, std=0.3)
    torch.nn.init.zeros_(model.head.cls.bias)
    torch.nn.init.normal_(model.head.reg.weight, std=0.3)
    return model


def test_the_students_maps_pass_the_teachers_last_layers(make_gfl: MakeGFL, images: Tensor) -> None:
    student = make_gfl(0, levels=(3, 5), head_depth=2)
    teacher = make_gfl(1, levels=(4, 6), head_depth=3, head_channels=40)
    seen, lesson = student.knowledge(images), told(teacher, images)
    method = built(seen, lesson)
    crossed = method.cross(seen)
    assert method.levels == [(1, 0), (2, 1)]
    logits, edges = [], []
    for i, j in method.levels:
        outputs = []
        for tower_s, tower_t, phi, last in (
            (student.head.cls_tower, teacher.head.cls_tower, method.adapt.pairs[0][0], teacher.head.cls),
            (student.head.reg_tower, teacher.head.reg_tower, method.adapt.pairs[0][1], teacher.head.reg),
        ):
            x = tower_s.norms[0](tower_s.convs[0](seen.pyramid[i]), i).relu()
            x = tower_t.norms[2](tower_t.convs[2](phi(x)), j).relu()
            outputs.append(last(x).flatten(2).transpose(1, 2))
        logits.append(outputs[0])
        edges.append(outputs[1] * teacher.head.scales[j])
    assert torch.allclose(crossed.logits, torch.cat(logits, 1), atol=1e-5)
    assert crossed.edges is not None
    assert torch.allclose(crossed.edges.flatten(2), torch.cat(edges, 1), atol=1e-5)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: list[float], tau: float) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [p / sum(powers) for p in powers]


def test_the_loss_over_numbers(make_dense: Callable[..., Dense], make_knowledge: MakeKnowledge) -> None:
    crossed, teacher = make_dense(1), make_knowledge(2)
    dense_t = teacher.dense
    assert dense_t is not None
    assert dense_t.edges is not None
    assert crossed.edges is not None
    view = HeadView((8, 8), lambda maps, levels: crossed, tuple((p, p) for p in teacher.pyramid))
    teacher = replace(teacher, head=view)
    terms = built(teacher, teacher, sem=2.0, loc=3.0, tau=4.0)(teacher, teacher, [])
    sem = loc = norm = 0.0
    for b in range(2):
        for p in range(84):
            scores = [sigmoid(z) for z in dense_t.logits[b, p].tolist()]
            norm += max(scores)
            for z, t in zip(crossed.logits[b, p].tolist(), scores, strict=True):
                s = sigmoid(z)
                sem -= abs(t - s) * (t * math.log(s) + (1 - t) * math.log(1 - s))
            for e in range(4):
                wanted, seen = (softmax(d[b, p, e].tolist(), 4.0) for d in (dense_t.edges, crossed.edges))
                loc += max(scores) * 16 * sum(t * math.log(t / s) for t, s in zip(wanted, seen, strict=True))
    assert norm > 1
    assert terms["crosskd_sem"].item() == pytest.approx(2 * sem / norm, rel=1e-4)
    assert terms["crosskd_loc"].item() == pytest.approx(3 * loc / norm, rel=1e-4)
    assert set(built(teacher, teacher, sem=0.0)(teacher, teacher, [])) == {"crosskd_loc"}
    assert set(built(teacher, teacher, loc=0.0)(teacher, teacher, [])) == {"crosskd_sem"}


def test_heads_without_distributions_compare_boxes(
    make_dense: Callable[..., Dense], make_knowledge: MakeKnowledge
) -> None:
    crossed, teacher = replace(make_dense(1), edges=None), make_knowledge(2)
    assert teacher.dense is not None
    view = HeadView((8, 8), lambda maps, levels: crossed, tuple((p, p) for p in teacher.pyramid))
    without = replace(teacher, dense=replace(teacher.dense, edges=None), head=view)
    found = built(without, without)(without, without, [])["crosskd_loc"].item()
    assert 0 < found < 2
    crossed = replace(crossed, boxes=teacher.dense.boxes)
    assert built(without, without)(without, without, [])["crosskd_loc"].item() == pytest.approx(0, abs=1e-5)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn(make_gfl: MakeGFL, images: Tensor) -> None:
    student, teacher = (opinionated(make_gfl(3, head_depth=2)) for _ in range(2))
    teacher.load_state_dict(student.state_dict())
    seen, lesson = student.knowledge(images), told(teacher, images)
    method = built(seen, lesson)
    assert list(method.parameters()) == []
    for term, value in method(seen, lesson, []).items():
        assert value.item() == pytest.approx(0, abs=1e-5), term


@pytest.mark.parametrize("pair", PAIRS)
def test_the_student_learns_up_to_its_middle_and_the_teacher_stays_bit_equal(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets], pair: str
) -> None:
    student, teacher = make_gfl(0, **PAIRS[pair][0]), opinionated(make_gfl(1, **PAIRS[pair][1]))
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    distiller = Distiller(student, teacher, make_method("crosskd")).train()
    losses = distiller(images, two_images)
    ours = {k: v for k, v in losses.items() if k.startswith("crosskd")}
    assert set(ours) == {"crosskd_sem", "crosskd_loc"}
    assert all(v > 0 and v.isfinite() for v in ours.values())
    total(ours).backward()
    depth = student.architecture.head_depth
    layers = [f"{tower}_tower.{part}.{depth - 1}" for tower in ("cls", "reg") for part in ("convs", "norms")]
    last = tuple(f"head.{layer}." for layer in ("cls", "reg", *layers))
    for name, p in student.named_parameters():
        if name.startswith(last) or name == "head.scales":
            assert p.grad is None, name
    reached = {name.split(".")[0] for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"backbone", "neck"} <= reached
    assert ("head" in reached) == (depth > 1)
    assert all(p.grad is not None and p.grad.any() for p in distiller.methods.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    theirs = {p.data_ptr() for p in teacher.parameters()}
    assert not theirs & {p.data_ptr() for p in distiller.parameters()}
    assert not any("finish" in k for k in distiller.state_dict())


def test_steps_bring_the_student_nearer(make_gfl: MakeGFL, images: Tensor) -> None:
    student, teacher = make_gfl(0, head_depth=2), opinionated(make_gfl(1, head_depth=2, head_channels=40))
    lesson = told(teacher, images)
    method = built(student.knowledge(images), lesson)
    optimizer = torch.optim.Adam([*student.parameters(), *method.parameters()], 1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(total(method(student.knowledge(images), lesson, [])))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_lesson_from_a_cache_has_no_head_and_says_the_same(make_gfl: MakeGFL, images: Tensor) -> None:
    student, teacher = make_gfl(0), opinionated(make_gfl(1))
    seen, lesson = student.knowledge(images), told(teacher, images)
    method = built(seen, lesson)
    live, stored = method(seen, lesson, []), method(seen, replace(lesson, head=None), [])
    assert {k: v.item() for k, v in live.items()} == {k: v.item() for k, v in stored.items()}
    probed = built(seen, replace(lesson, head=teacher.head_view()))
    assert {k: v.item() for k, v in probed(seen, lesson, []).items()} == {k: v.item() for k, v in live.items()}


def test_an_enlarging_teacher_answers_in_the_students_pixels(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    teacher = make_gfl(1, levels=(4, 6))
    distiller = Distiller(make_gfl(0), teacher, CrossKD(), teacher_scale=2)
    losses = distiller(images, two_images)
    assert losses["crosskd_loc"].isfinite()
    lesson = distiller.ask(teacher, images)
    assert lesson.strides == (8, 16, 32)
    large = torch.nn.functional.interpolate(images, scale_factor=2.0, mode="bilinear", antialias=True)
    with torch.no_grad():
        known = teacher.knowledge(large)
    assert known.head is not None
    scaled = rescale(known, 2.0).head
    assert scaled is not None
    assert lesson.dense is not None
    finished = scaled.finish(known.head.maps, (0, 1, 2))
    assert torch.allclose(finished.boxes, lesson.dense.boxes, atol=1e-3)
    assert torch.equal(finished.places, lesson.dense.places)


def test_odd_truths_under_autocast_are_finite(make_gfl: MakeGFL, odd_truths: dict[str, Targets]) -> None:
    distiller = Distiller(make_gfl(0), make_gfl(1, head_channels=40), CrossKD()).train()
    for name, target in odd_truths.items():
        with torch.autocast("cpu", torch.bfloat16):
            losses = distiller(torch.rand(2, 3, 64, 64), [target, target])
        assert all(v.isfinite() and v.dtype == torch.float32 for k, v in losses.items() if k.startswith("cross")), name
        total(losses).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters()), name


def test_each_of_several_teachers_has_its_own_end(make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]) -> None:
    student, one, two = make_gfl(0).eval(), opinionated(make_gfl(1)), opinionated(make_gfl(2))
    each = [Distiller(student, t, CrossKD()).eval()(images, two_images) for t in (one, two)]
    both = Distiller(student, [one, two], CrossKD()).eval()(images, two_images)
    for name in ("crosskd_sem", "crosskd_loc"):
        assert each[0][name].item() != pytest.approx(each[1][name].item(), rel=1e-2)
        assert both[name].item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-5)


def test_heads_that_cannot_be_opened_or_meet_are_refused(make_gfl: MakeGFL, images: Tensor) -> None:
    seen = told(make_gfl(0), images)
    closed = replace(seen, head=None)
    coarse = told(make_gfl(1, levels=(5, 7)), images)
    for student, teacher, message in (
        (closed, seen, "the student's head cannot be opened. Methods .* ltd, bckd"),
        (seen, closed, "the teacher's head cannot be opened. Methods .* ltd, bckd"),
        (replace(seen, dense=None), seen, "knows layers of the (student|teacher) but not its head"),
        (told(make_gfl(0, levels=(3, 4)), images), coarse, "none in common"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            CrossKD().build(student, teacher)
        assert "\n" not in str(caught.value)
