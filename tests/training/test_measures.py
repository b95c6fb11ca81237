"""What a look measures, against autograd, plain loops and numbers by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skystill.boxes.atss import atss
from skystill.detectors.gfl import GFL
from skystill.structures import Dense, Knowledge, Targets
from skystill.training.measures import bindings_by_size, entropy, gradient_norms, known, parts_of, quality, size_of


def square(side: float, count: int = 1) -> Targets:
    return Targets(torch.tensor([[10.0, 10.0, 10 + side, 10 + side]] * count), torch.zeros(count, dtype=torch.int64))


def length(grads: list[Tensor | None]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in grads if g is not None))


def test_gradient_norms_are_those_of_a_backward_pass_of_the_term_alone(
    make_gfl: Callable[..., GFL], two_images: list[Targets]
) -> None:
    student = make_gfl(0).train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    output = student(images, two_images)
    terms = {
        **output.losses,
        "features": output.knowledge.pyramid[0].square().mean(),  # made before the head
        "elsewhere": next(student.backbone.parameters()).sum() * 0 + 1,
        "constant": torch.ones(()),
    }
    found = gradient_norms(terms, student)
    assert found.keys() == {f"grad_{part}/{term}" for part in ("neck", "head") for term in terms}
    assert all(p.grad is None for p in student.parameters())
    for term in [*output.losses, "features"]:
        student.zero_grad()
        terms[term].backward(retain_graph=True)  # the graph is still there
        for part, module in (("neck", student.neck), ("head", student.head)):
            expected = length([p.grad for p in module.parameters()])
            assert found[f"grad_{part}/{term}"] == pytest.approx(expected, rel=1e-4)
            assert (expected > 0) == (term != "features" or part == "neck")
    assert {found[f"grad_{part}/{term}"] for part in ("neck", "head") for term in ("elsewhere", "constant")} == {0.0}
    scaled = gradient_norms({"qfl": terms["qfl"]}, student, 1024.0)
    assert scaled == pytest.approx({k: v for k, v in found.items() if k.endswith("/qfl")}, rel=1e-4)


def test_the_head_is_all_outside_backbone_and_neck_that_learns(make_gfl: Callable[..., GFL]) -> None:
    student = make_gfl(0)
    parts = parts_of(student)
    assert {k: len(v) for k, v in parts.items()} == {
        "neck": len(list(student.neck.parameters())),
        "head": len(list(student.head.parameters())),
    }
    student.neck.requires_grad_(False)
    assert list(parts_of(student)) == ["head"]
    student.requires_grad_(False)
    assert parts_of(student) == {}
    assert gradient_norms({"x": torch.ones((), requires_grad=True)}, student) == {}
    student.requires_grad_(True)
    student.neck = nn.Identity()  # type: ignore[assignment]
    assert list(parts_of(student)) == ["head"]


def test_entropy_is_zero_on_one_level_and_one_over_all() -> None:
    one = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]])
    even = torch.full((2, 4), 0.25)
    half = torch.tensor([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]])
    assert entropy(torch.stack([one, even, half])).tolist() == pytest.approx([0.0, 1.0, 0.25])
    assert entropy(torch.stack([even, half]) * 3).tolist() == pytest.approx([1.0, 0.25])  # gates of any sum
    assert entropy(torch.ones(2, 3, 1)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (square(31.9), "small"),
        (square(32), "medium"),
        (square(95.9), "medium"),
        (square(96), "large"),
        (Targets.empty(), "none"),
        (Targets(square(96).boxes, square(96).labels, torch.tensor([True])), "none"),
        (Targets(torch.tensor([[50.0, 50.0, 200.0, 4.0, 0.7]]), torch.tensor([0])), "small"),  # its upright hull is not
        (
            Targets(torch.cat([square(10, 2).boxes, square(40, 2).boxes, square(200).boxes]), torch.zeros(5).long()),
            "medium",
        ),
    ],
)
def test_an_image_has_the_size_of_its_median_object(target: Targets, size: str) -> None:
    assert size_of(target) == size


def test_bindings_are_averaged_over_the_images_of_a_size() -> None:
    alpha = torch.tensor([[[0.5, 0.5], [1, 0]], [[1, 0], [1, 0]], [[0, 1], [0, 1]]], dtype=torch.float32)
    found = bindings_by_size({"alpha": alpha}, [square(8), square(200), square(20)])
    small = {"0_0": 0.25, "0_1": 0.75, "1_0": 0.5, "1_1": 0.5}
    large = {"0_0": 1, "0_1": 0, "1_0": 1, "1_1": 0}
    expected = {f"alpha_small/{k}": v for k, v in small.items()} | {f"alpha_large/{k}": v for k, v in large.items()}
    assert found == pytest.approx(expected | {"alpha_entropy/small": 0.25, "alpha_entropy/large": 0.0})
    assert bindings_by_size({}, [square(8)]) == {}


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_what_a_head_knows_place_by_place(make_dense: Callable[..., Dense], two_images: list[Targets]) -> None:
    dense = make_dense(3)
    ious, points = [], []
    for b, target in enumerate(two_images):
        owner = atss(dense.places, dense.levels, target.boxes).object.tolist()
        for m, (box, label) in enumerate(zip(target.boxes.tolist(), target.labels.tolist(), strict=True)):
            mine = [n for n, its in enumerate(owner) if its == m]
            ious.append(max(iou(dense.boxes[b, n].tolist(), box) for n in mine))
            points.append(max(1 / (1 + math.exp(-float(dense.logits[b, n, label]))) for n in mine))
    found = known(dense, two_images)
    assert torch.cat([i for i, _ in found]).tolist() == pytest.approx(ious, abs=1e-5)
    assert torch.cat([s for _, s in found]).tolist() == pytest.approx(points, abs=1e-5)
    means = quality("teacher", Knowledge((), (), dense), two_images)
    assert means == pytest.approx({"teacher/iou": sum(ious) / 4, "teacher/score": sum(points) / 4}, abs=1e-5)


def test_a_perfect_head_knows_all_and_one_that_is_elsewhere_nothing(
    make_dense: Callable[..., Dense], two_images: list[Targets]
) -> None:
    dense = make_dense(3)
    target = two_images[1]
    perfect, lost = target.boxes.expand(2, len(dense.places), 4), torch.tensor([[900.0, 900, 910, 910]])
    logits = torch.full_like(dense.logits, -20)
    logits[..., 1] = 20  # the object's class
    sure = Dense(logits, perfect, None, dense.places, dense.levels)
    found = quality("x", Knowledge((), (), sure), [target, target])
    assert found == pytest.approx({"x/iou": 1.0, "x/score": 1.0})
    wrong = Dense(-logits, lost.expand_as(perfect), None, dense.places, dense.levels)
    assert quality("x", Knowledge((), (), wrong), [target, target]) == pytest.approx(
        {"x/iou": 0, "x/score": 0}, abs=1e-6
    )


def test_batches_without_objects_and_heads_that_are_not_dense_have_no_quality(
    make_dense: Callable[..., Dense], odd_truths: dict[str, Targets]
) -> None:
    dense = make_dense(3)
    nothing = [odd_truths["nothing"], odd_truths["only ignored"]]
    assert all(map(math.isnan, quality("x", Knowledge((), (), dense), nothing).values()))
    assert quality("x", Knowledge((), ()), nothing) == {}
    (ious, scores), (more, _) = known(dense, [odd_truths["twice the same"], odd_truths["smaller than a cell"]])
    assert ious.isnan().tolist() == scores.isnan().tolist() == [True, False]  # one place, one of the twins has it
    assert not more.isnan().any()
