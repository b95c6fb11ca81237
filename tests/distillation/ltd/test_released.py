"""The authors' terms (METHOD's preset `released`) written out in numbers; ReviewKD is the case without LIC."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skystill.distillation.ltd import LTDReleased
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.ltd.released import (
    attention_imitation,
    hierarchical_distance,
    released_kd,
    released_ld,
)
from skystill.distillation.maps import spatial_attention
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]
TERMS = {"att", "ccd", "ld", "ld_vlr", "kd", "kd_vlr"}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values: list[float], tau: float = 1.0) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [p / sum(powers) for p in powers]


def mean_square(a: Tensor, b: Tensor) -> float:
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    return sum((x - y) ** 2 for x, y in pairs) / len(pairs)


def pooled(x: Tensor, size: int) -> Tensor:
    """Averages of size x size equal blocks; sides must be multiples of size."""
    b, c, h, w = x.shape
    return x.reshape(b, c, size, h // size, size, w // size).mean((3, 5))


def test_heads_of_other_lengths_are_told(make_knowledge: MakeKnowledge, make_dense: Callable[..., Dense]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    longer = replace(student, dense=make_dense(3, bins=20))
    with pytest.raises(ConfigError, match=r"20 with \d+ here; use ltd"):
        LTDReleased().build(longer, teacher)


def test_attention_imitation_by_hand() -> None:
    raw, adapted, t = draw(1, 2, 3, 4, 4), draw(2, 2, 5, 4, 4), draw(3, 2, 5, 4, 4)
    total = 0.0
    for b in range(2):
        for y in range(4):
            for x in range(4):
                m = (spatial_attention(raw, 0.1)[b, 0, y, x].item() + spatial_attention(t, 0.1)[b, 0, y, x].item()) / 2
                total += m * sum((float(adapted[b, c, y, x]) - float(t[b, c, y, x])) ** 2 for c in range(5))
    assert attention_imitation(adapted, raw, t).item() == pytest.approx(math.sqrt(total), rel=1e-4)


def test_attention_imitation_has_no_gradient_through_the_mask_and_none_at_equality() -> None:
    raw, adapted, t = draw(1, 1, 5, 4, 4).requires_grad_(), draw(2, 1, 5, 4, 4).requires_grad_(), draw(3, 1, 5, 4, 4)
    attention_imitation(adapted, raw, t).backward()
    assert raw.grad is None
    assert adapted.grad is not None
    same = t.clone().requires_grad_()
    loss = attention_imitation(same, t, t)
    loss.backward()
    assert loss.item() <= 1e-5
    assert same.grad is not None
    assert same.grad.isfinite().all()


@pytest.mark.parametrize(("side", "sizes"), [(8, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())])
def test_hierarchical_distance_by_hand(side: int, sizes: tuple[int, ...]) -> None:
    calibrated, plain, t = (draw(i, 2, 3, side, side) for i in range(3))
    weight = {4: 1 / 2, 2: 1 / 4, 1: 1 / 8}
    pools = sum(weight[n] * mean_square(pooled(plain, n), pooled(t, n)) for n in sizes)
    expected = mean_square(calibrated, t) + pools / (1 + sum(weight[n] for n in sizes))
    # The constants belong to the grid sizes, also where a small map leaves some out.
    assert hierarchical_distance(calibrated, plain, t).item() == pytest.approx(expected, rel=1e-4)


def reviewkd_hcl(f: Tensor, t: Tensor) -> float:
    """ReviewKD's hierarchical context loss at full depth: (MSE + sum c_l MSE of the pools) / (1 + sum c_l)."""
    pools = sum(c * mean_square(pooled(f, n), pooled(t, n)) for n, c in ((4, 1 / 2), (2, 1 / 4), (1, 1 / 8)))
    return (mean_square(f, t) + pools) / 1.875


def test_ltd_with_a_plain_convolution_and_fused_pools_is_reviewkd(make_knowledge: MakeKnowledge) -> None:
    """METHOD section 5: ReviewKD is LTD's fusion and distance without LIC, pools on fused features, all over 1.875."""
    strides = (4, 8)
    student, teacher = (make_knowledge(i, channels=6, side=64, strides=strides) for i in (1, 2))
    torch.manual_seed(0)
    method = LTDReleased()
    method.build(student, teacher)
    method.eval()
    fused = method.fusion(student.pyramid)
    for lic, norm, f, t in zip(method.lic, method.norm, fused, teacher.pyramid, strict=True):
        plain = F.batch_norm(
            F.conv2d(f, lic.weight, padding=1),
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,  # type: ignore[arg-type,union-attr]
        )
        ours = norm(lic(f).unflatten(2, f.shape[2:]))
        assert torch.allclose(ours, plain, atol=1e-5)
        distance = hierarchical_distance(ours, ours, t)
        mse = mean_square(plain.detach(), t)
        # Ours leaves the unpooled error undivided, as the authors of LTD ran it.
        assert (distance.item() - mse + mse / 1.875) == pytest.approx(reviewkd_hcl(plain.detach(), t), rel=1e-4)


def test_ld_by_hand() -> None:
    d_s, d_t = draw(0, 5, 4, 17) * 2, draw(1, 5, 4, 17) * 2
    total = 0.0
    for p in range(5):
        edge = softmax([sum(d_t[p, e].tolist()) / 5 for e in range(4)])
        for e in range(4):
            a, b = softmax(d_t[p, e].tolist(), 10.0), softmax(d_s[p, e].tolist(), 10.0)
            kl = sum(x * math.log(x / y) for x, y in zip(a, b, strict=True)) / 17
            total += 100 * 4 * edge[e] * kl
    assert released_ld(d_s, d_t).item() == pytest.approx(total, rel=1e-3)


def test_kd_by_hand() -> None:
    z_s, z_t = draw(0, 6, 3) * 2, draw(1, 6, 3) * 2
    total = 0.0
    for p in range(6):
        a, b = softmax(z_t[p].tolist(), 2.0), softmax(z_s[p].tolist(), 2.0)
        total += 4 * sum(x * math.log(x / y) for x, y in zip(a, b, strict=True)) / 3
    assert released_kd(z_s, z_t).item() == pytest.approx(total, rel=1e-4)


def built(student: Knowledge, teacher: Knowledge) -> LTDReleased:
    torch.manual_seed(0)
    method = LTDReleased()
    method.build(student, teacher)
    return method.train()


def test_terms_carry_the_published_weights(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = built(student, teacher)
    terms = method(student, teacher, two_images)
    assert set(terms) == TERMS
    dense_s, dense_t = student.dense, teacher.dense
    assert dense_s is not None
    assert dense_t is not None
    regions = find_regions(dense_t, two_images)
    for mask, suffix in ((regions.positives, ""), (regions.ring, "_vlr")):
        ld = released_ld(dense_s.edges[mask], dense_t.edges[mask])  # type: ignore[index]
        kd = released_kd(dense_s.logits[mask], dense_t.logits[mask])
        assert ld > 0
        assert terms[f"ld{suffix}"].item() == pytest.approx(0.025 * ld.item() / 16, rel=1e-4)
        assert terms[f"kd{suffix}"].item() == pytest.approx(0.5 * kd.item() / 16, rel=1e-4)
    att = ccd = 0.0
    fused = method.fusion(student.pyramid)
    for i, (s, t) in enumerate(zip(student.pyramid, teacher.pyramid, strict=True)):
        att += attention_imitation(method.phi[i](s), s, t).item()
        calibrated = method.norm[i](F.conv2d(fused[i], method.lic[i].weight, padding=1))  # type: ignore[arg-type]
        ccd += hierarchical_distance(calibrated, s, t).item()
    assert terms["att"].item() == pytest.approx(1e-3 * att, rel=1e-4)
    assert terms["ccd"].item() == pytest.approx(0.5 * ccd, rel=1e-4)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    same = make_knowledge(3, channels=8)
    method = built(same, same)
    method.phi = nn.ModuleList(nn.Identity() for _ in same.pyramid)
    method.norm = nn.ModuleList(nn.Identity() for _ in same.pyramid)
    method.fusion.reduce = nn.ModuleList(nn.Identity() for _ in same.pyramid)
    with torch.no_grad():
        for gate in method.fusion.gates:
            gate.weight.zero_()  # type: ignore[operator,union-attr]
            gate.bias.copy_(torch.tensor([100.0, -100.0]))  # type: ignore[operator,union-attr]
        for lic in method.lic:
            lic.weight.zero_()  # type: ignore[operator,union-attr]
            lic.weight[:, :, 1, 1] = torch.eye(8)  # type: ignore[index,operator]
    for name, value in method(same, same, two_images).items():
        assert value.item() == pytest.approx(0, abs=1e-5), name


def test_doubling_the_batch_doubles_the_prediction_terms(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = built(student, teacher)
    once = method(student, teacher, two_images)
    twice = method(doubled(student), doubled(teacher), two_images * 2)
    for name, factor in {"ld": 2, "ld_vlr": 2, "kd": 2, "kd_vlr": 2, "att": math.sqrt(2), "ccd": 1}.items():
        assert twice[name].item() == pytest.approx(factor * once[name].item(), rel=1e-4), name


def doubled(knowledge: Knowledge) -> Knowledge:
    dense = knowledge.dense
    assert dense is not None
    assert dense.edges is not None
    more = replace(
        dense,
        logits=dense.logits.repeat(2, 1, 1),
        boxes=dense.boxes.repeat(2, 1, 1),
        edges=dense.edges.repeat(2, 1, 1, 1),
    )
    return replace(knowledge, pyramid=tuple(p.repeat(2, 1, 1, 1) for p in knowledge.pyramid), dense=more)


def test_odd_truths_are_finite(make_knowledge: MakeKnowledge, odd_truths: dict[str, Targets]) -> None:
    student, teacher = make_knowledge(1, batch=1), make_knowledge(2, batch=1)
    method = built(student, teacher)
    for name, target in odd_truths.items():
        terms = method(student, teacher, [target])
        assert all(v.isfinite() for v in terms.values()), name
        if name in ("nothing", "only ignored"):
            assert all(terms[k] == 0 for k in TERMS - {"att", "ccd"})


def test_widths_and_levels_may_differ(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student = make_knowledge(1, channels=6, side=128, strides=(8, 16, 32))
    teacher = make_knowledge(2, channels=10, side=128, strides=(16, 32, 64))
    method = built(student, teacher)
    terms = method(student, teacher, two_images)
    sum(terms.values(), torch.zeros(())).backward()
    assert all(v.isfinite() for v in terms.values())
    assert all(p.grad is not None for p in method.parameters())
    assert method.matrices()["beta"].shape == (2, 2)


def test_a_head_without_distributions_is_refused(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    assert teacher.dense is not None
    with pytest.raises(ConfigError, match="edge distributions"):
        LTDReleased().build(student, replace(teacher, dense=replace(teacher.dense, edges=None)))
