"""FGD's eq. 2-13 over numbers, cell by cell."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skystill.distillation.peers.fgd import FGD, GlobalContext, channel_attention, focal_losses, object_masks
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def spatial(x: Tensor, tau: float) -> list[float]:
    """A^S of (C, H, W), cell after cell."""
    c, h, w = x.shape
    energy = [sum(abs(float(x[k, i // w, i % w])) for k in range(c)) / c / tau for i in range(h * w)]
    return [h * w * p for p in softmax(energy)]


def channel(x: Tensor, tau: float) -> list[float]:
    """A^C of (C, H, W)."""
    energy = [sum(map(abs, x[k].flatten().tolist())) / x[k].numel() / tau for k in range(len(x))]
    return [len(x) * p for p in softmax(energy)]


def masks_by_loops(target: Targets, size: tuple[int, int], stride: int) -> tuple[list[float], list[float]]:
    fg, bg = [], []
    covered: list[list[tuple[int, int]]] = []
    for x1, y1, x2, y2 in target.boxes.tolist():
        rows = range(math.floor(y1 / stride), math.ceil(y2 / stride))
        columns = range(math.floor(x1 / stride), math.ceil(x2 / stride))
        covered.append([(y, x) for y in rows for x in columns if 0 <= y < size[0] and 0 <= x < size[1]])
    for y in range(size[0]):
        for x in range(size[1]):
            areas = [
                len(c)
                for c, ignored in zip(covered, target.ignore.tolist(), strict=True)
                if (y, x) in c and not ignored
            ]
            fg.append(1 / min(areas) if areas else 0.0)
            bg.append(0.0 if any((y, x) in c for c in covered) else 1.0)
    return fg, [v / max(1, sum(bg)) for v in bg]


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_masks_by_loops(two_images: list[Targets], odd_truths: dict[str, Targets], stride: int) -> None:
    size = (64 // stride, 64 // stride)
    beyond = Targets(torch.tensor([[-9.0, 50.0, 7.0, 99.0], [70.0, 3.0, 80.0, 9.0]]), torch.tensor([0, 1]))
    mixed = Targets(two_images[0].boxes, two_images[0].labels, torch.tensor([False, True, False]))
    for target in [*two_images, *odd_truths.values(), beyond, mixed]:
        fg, bg = object_masks(target, size, (stride, stride))
        expected_fg, expected_bg = masks_by_loops(target, size, stride)
        assert fg.flatten().tolist() == pytest.approx(expected_fg), target.name
        assert bg.flatten().tolist() == pytest.approx(expected_bg), target.name


def test_masks_of_an_oriented_box_are_those_of_its_upright_box() -> None:
    wanted = object_masks(Targets(torch.tensor([[9.0, 13.0, 39.0, 27.0]]), torch.tensor([0])), (6, 12), (8.0, 4.0))
    assert wanted[0].count_nonzero() == 3 * 8
    for box in ([24.0, 20.0, 30.0, 14.0, 0.0], [24.0, 20.0, 14.0, 30.0, -math.pi / 2]):
        found = object_masks(Targets(torch.tensor([box]), torch.tensor([0])), (6, 12), (8.0, 4.0))
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_focal_lines_over_numbers(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    s, t = make_knowledge(1, channels=3).pyramid[0], make_knowledge(2, channels=3).pyramid[0]
    masks = [object_masks(target, (8, 8), (8, 8)) for target in two_images]
    fg, bg = torch.stack([m[0] for m in masks])[:, None], torch.stack([m[1] for m in masks])[:, None]
    expected = [0.0, 0.0, 0.0]
    for b, target in enumerate(two_images):
        a_t, c_t, a_s, c_s = spatial(t[b], 0.5), channel(t[b], 0.5), spatial(s[b], 0.5), channel(s[b], 0.5)
        cells_fg, cells_bg = masks_by_loops(target, (8, 8), 8)
        for i in range(64):
            y, x = divmod(i, 8)
            error = sum(c_t[k] * (float(t[b, k, y, x]) - float(s[b, k, y, x])) ** 2 for k in range(3))
            expected[0] += cells_fg[i] * a_t[i] * error / 2
            expected[1] += cells_bg[i] * a_t[i] * error / 2
            expected[2] += abs(a_t[i] - a_s[i]) / 2
        expected[2] += sum(abs(p - q) for p, q in zip(c_t, c_s, strict=True)) / 2
    assert [v.item() for v in focal_losses(s, t, fg, bg, 0.5)] == pytest.approx(expected, rel=1e-4)
    assert [v.item() for v in focal_losses(t, t, fg, bg, 0.5)] == [0.0, 0.0, 0.0]


def test_channel_attention_has_mean_one() -> None:
    assert channel_attention(torch.randn(2, 7, 4, 4), 0.5).mean((1, 2, 3)).tolist() == pytest.approx([1.0, 1.0])


def test_global_context_over_numbers() -> None:
    torch.manual_seed(0)
    block = GlobalContext(4).requires_grad_(False)
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(block(x), x)  # before it has learned anything
    first, norm, _, last = block.transform
    last.weight.normal_()  # type: ignore[operator,union-attr]
    last.bias.normal_()  # type: ignore[operator,union-attr]
    cells = [x[0, :, i // 3, i % 3] for i in range(9)]
    where = softmax([float(block.mask.weight[0, :, 0, 0] @ cell + block.mask.bias[0]) for cell in cells])  # type: ignore
    pooled = sum((p * cell for p, cell in zip(where, cells, strict=True)), torch.zeros(4))
    inner = first.weight[:, :, 0, 0] @ pooled + first.bias  # type: ignore[index,operator]
    spread = math.sqrt(float(inner.var(unbiased=False)) + norm.eps)  # type: ignore[arg-type,operator]
    inner = ((inner - inner.mean()) / spread).clamp(min=0)
    added = last.weight[:, :, 0, 0] @ inner + last.bias  # type: ignore[index,operator]
    for i, cell in enumerate(cells):
        assert block(x)[0, :, i // 3, i % 3].tolist() == pytest.approx((cell + added).tolist(), abs=1e-5)


def test_terms_carry_their_factors_and_add_up_over_levels(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = FGD(weight=2.0, alpha=0.1, beta=0.2, gamma=0.3, lam=0.4)
    method.build(student, teacher)
    sums = torch.zeros(4)
    for s, t, stride in zip(student.pyramid, teacher.pyramid, student.strides, strict=True):
        masks = [object_masks(target, (t.shape[2], t.shape[3]), (stride, stride)) for target in two_images]
        fg, bg = torch.stack([m[0] for m in masks])[:, None], torch.stack([m[1] for m in masks])[:, None]
        relation = (t - s).square().sum() / 2  # both context blocks begin as the identity
        sums += torch.stack([*focal_losses(s, t, fg, bg, 0.5), relation])
    expected = 2.0 * torch.tensor([0.1, 0.2, 0.3, 0.4]) * sums
    terms = method(student, teacher, two_images)
    assert list(terms) == ["fgd_fg", "fgd_bg", "fgd_attention", "fgd_relation"]
    assert [v.item() for v in terms.values()] == pytest.approx(expected.tolist(), rel=1e-4)
    assert all(v == 0 for v in method(teacher, teacher, two_images).values())


def test_masks_follow_the_resolution_at_which_a_pair_meets(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    """A student of stride 8 that meets a teacher of stride 16 is compared on cells of 16 pixels."""
    student, teacher = make_knowledge(1, strides=(8,)), make_knowledge(2, strides=(16,))
    method = FGD(alpha=1.0)
    method.build(student, teacher)
    masks = [object_masks(target, (4, 4), (16, 16)) for target in two_images]
    fg, bg = torch.stack([m[0] for m in masks])[:, None], torch.stack([m[1] for m in masks])[:, None]
    pooled = torch.nn.functional.avg_pool2d(student.pyramid[0], 2)
    expected = focal_losses(pooled, teacher.pyramid[0], fg, bg, 0.5)[0].item()
    assert method(student, teacher, two_images)["fgd_fg"].item() == pytest.approx(expected, rel=1e-5)


def test_without_objects_all_is_background(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1, batch=1), make_knowledge(2, batch=1)
    method = FGD()
    method.build(student, teacher)
    terms = method(student, teacher, [Targets.empty()])
    assert terms["fgd_fg"] == 0
    assert terms["fgd_bg"] > 0
