"""Cross-layer calibration: both bindings, their bounds, and what becomes of them when they are trained."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from skystill.distillation.adapters import adapter
from skystill.distillation.ltd.bindings import ExplicitBinding, ImplicitBinding, bound, gate_lesson, relatedness
from skystill.distillation.ltd.distances import cross_distances, level_gap
from skystill.distillation.maps import pearson_distance, standardise
from skystill.structures import Knowledge

MakeKnowledge = Callable[..., Knowledge]


def binding(student: Knowledge, teacher: Knowledge, gamma: float = 1.0, rho: float = 0.5) -> ExplicitBinding:
    torch.manual_seed(0)
    return ExplicitBinding(student, teacher, places=1024, dim=16, gamma=gamma, rho=rho)


@pytest.fixture
def pair(make_knowledge: MakeKnowledge) -> tuple[Knowledge, Knowledge]:
    """Three student levels of 6 channels, five teacher levels of 10."""
    return make_knowledge(1, channels=6, side=128), make_knowledge(
        2, channels=10, side=128, strides=(8, 16, 32, 64, 128)
    )


def test_gap_counts_octaves() -> None:
    assert level_gap((8, 16), (4, 8, 16, 32)).tolist() == [[1, 0, 1, 2], [2, 1, 0, 1]]


def test_alpha_is_the_formula(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    made = binding(student, teacher, gamma=3.0, rho=0.7).requires_grad_(False)
    alpha = made.weights(student.pyramid, teacher.pyramid)
    for b in range(2):
        for i, s in enumerate(student.pyramid):
            seen_s = torch.cat([s[b].flatten(1).mean(1), s[b].flatten(1).max(1).values])
            u = made.query[i].weight @ seen_s  # type: ignore[operator]
            logits = []
            for j, t in enumerate(teacher.pyramid):
                seen_t = torch.cat([t[b].flatten(1).mean(1), t[b].flatten(1).max(1).values])
                v = made.key[j].weight @ seen_t  # type: ignore[operator]
                logits.append(3.0 * float(u @ v / u.norm() / v.norm()) - 0.7 * abs(i - j))
            powers = [math.exp(x) for x in logits]
            assert alpha[b, i].tolist() == pytest.approx([p / sum(powers) for p in powers], abs=1e-5)


def test_rows_of_alpha_sum_to_one(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    made = binding(student, teacher)
    measured = relatedness(made.distances(student.pyramid, teacher.pyramid), made.gap, 0.2, 0.5)  # type: ignore
    for alpha in (made.weights(student.pyramid, teacher.pyramid), measured):
        assert alpha.shape == (2, 3, 5)
        assert torch.allclose(alpha.sum(2), torch.ones(2, 3))
        assert (alpha > 0).all()


def test_permuting_the_teachers_levels_permutes_alpha_and_distances(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    order = [3, 0, 4, 2, 1]
    shuffled = Knowledge(tuple(teacher.pyramid[j] for j in order), tuple(teacher.strides[j] for j in order))
    made, other = binding(student, teacher), binding(student, shuffled)
    other.load_state_dict(made.state_dict())
    other.key = nn.ModuleList(made.key[j] for j in order)
    for before, after in (
        (made.weights(student.pyramid, teacher.pyramid), other.weights(student.pyramid, shuffled.pyramid)),
        (made.distances(student.pyramid, teacher.pyramid), other.distances(student.pyramid, shuffled.pyramid)),
    ):
        assert torch.allclose(before[:, :, order], after, atol=1e-6)


def test_alpha_is_bounded_however_large_the_features(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    huge = tuple(1e4 * t for t in teacher.pyramid)
    alpha = binding(student, teacher, rho=0.0).weights(student.pyramid, huge)
    assert (alpha.amax(2) / alpha.amin(2)).max() <= math.exp(2) * 1.001


def test_distance_of_a_pair_is_at_the_smaller_resolution(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    made = binding(student, teacher)
    d = made.distances(student.pyramid, teacher.pyramid)
    for i, s in enumerate(student.pyramid):
        for j, t in enumerate(teacher.pyramid):
            size = min(s.shape[2], t.shape[2])
            adapted = made.adapt[i](s)
            small_s, small_t = (F.adaptive_avg_pool2d(x, size) for x in (adapted, t))
            assert torch.allclose(d[:, i, j], pearson_distance(small_s, small_t), atol=1e-5)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_distance_may_be_that_of_peaks(pair: tuple[Knowledge, Knowledge], share: float) -> None:
    student, teacher = pair
    made = binding(student, teacher)
    plain = made.distances(student.pyramid, teacher.pyramid)
    made.peaks = share
    d = made.distances(student.pyramid, teacher.pyramid)
    for i, s in enumerate(student.pyramid):
        for j, t in enumerate(teacher.pyramid):
            size = min(s.shape[2], t.shape[2])
            small_s, small_t = (F.adaptive_avg_pool2d(x, size) for x in (made.adapt[i](s), t))
            log_s, log_t = (x.flatten(2).log_softmax(2) for x in (small_s, standardise(small_t)))
            peaks = (log_t.exp() * (log_t - log_s)).sum(2).mean(1)
            assert torch.allclose(d[:, i, j], (1 - share) * plain[:, i, j] + share * peaks, atol=1e-5)


def test_no_distance_to_itself_through_an_identity(make_knowledge: MakeKnowledge) -> None:
    teacher = make_knowledge(3, channels=8)
    made = binding(teacher, teacher)
    made.adapt = nn.ModuleList(adapter(8, 8) for _ in teacher.pyramid)
    d = made.distances(teacher.pyramid, teacher.pyramid)
    assert d.diagonal(dim1=1, dim2=2).abs().max() < 1e-6
    assert d.mean(0).fill_diagonal_(1).min() > 0.5


def test_bound_by_hand() -> None:
    alpha, d = torch.tensor([[[0.25, 0.75], [1.0, 0.0]]]), torch.tensor([[[1.0, 2.0], [0.5, 9.0]]])
    assert bound(alpha, d).item() == pytest.approx((0.25 + 1.5 + 0.5) / 2)


def test_relatedness_by_hand_teaches_nothing() -> None:
    d = torch.tensor([[[0.2, 0.6], [0.4, 0.2]]], requires_grad=True)
    alpha = relatedness(d, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), tau=0.2, rho=0.5)
    first, second = math.exp((0.3 - 0.2) / 0.2 - 0.5), math.exp((0.4 - 0.6) / 0.2)
    assert alpha[0, 0].tolist() == pytest.approx([first / (first + second), second / (first + second)])
    first, second = math.exp((0.3 - 0.4) / 0.2), math.exp((0.4 - 0.2) / 0.2 - 0.5)
    assert alpha[0, 1].tolist() == pytest.approx([first / (first + second), second / (first + second)])
    assert not alpha.requires_grad


def test_a_level_that_is_easy_for_all_gains_no_weight() -> None:
    d = torch.tensor([[[0.3, 0.7, 0.6], [0.7, 0.3, 0.6], [0.8, 0.7, 0.5]]])
    easier = d - torch.tensor([0.0, 0.0, 0.45])
    gap = level_gap((8, 16, 32), (8, 16, 32))
    alpha = relatedness(d, gap, 0.2, 0.5)
    assert torch.allclose(alpha, relatedness(easier, gap, 0.2, 0.5), atol=1e-6)
    assert alpha[0].argmax(1).tolist() == [0, 1, 2]


def test_alpha_does_not_collapse_when_teacher_levels_differ_in_magnitude() -> None:
    """The failure that standardised distances and bounded logits prevent: all weight on the weakest, easiest level."""
    gen = torch.Generator().manual_seed(0)
    sizes, strides = (16, 8, 4, 2, 1), (8, 16, 32, 64, 128)
    loud = (1.0, 0.8, 0.6, 0.4, 0.2)
    teacher = tuple(m * torch.randn(8, 8, n, n, generator=gen) for n, m in zip(sizes, loud, strict=True))
    student = [torch.randn(8, 6, n, n, generator=gen).requires_grad_() for n in sizes]
    made = binding(Knowledge(tuple(student), strides), Knowledge(teacher, strides), rho=0.0)
    optimizer = torch.optim.Adam([*student, *made.parameters()], 1e-2)
    losses = []
    for _ in range(200):
        alpha = made.weights(tuple(student), teacher)
        loss = bound(alpha, made.distances(tuple(student), teacher))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    entropy = -(alpha * alpha.log()).sum(2)
    assert losses[-1] < 0.8 * losses[0]
    assert entropy.min().item() > 0.3 * math.log(5)


def identity_implicit(student: Knowledge, teacher: Knowledge, places: int) -> ImplicitBinding:
    """Gates that pass only a level's own map, no norm, a LIC whose centre tap is the identity."""
    width = student.pyramid[0].shape[1]
    made = ImplicitBinding(student, teacher, width, places)
    made.fusion.reduce = nn.ModuleList(nn.Identity() for _ in student.pyramid)
    with torch.no_grad():
        for gate in made.fusion.gates:
            gate.weight.zero_()  # type: ignore[operator,union-attr]
            gate.bias.copy_(torch.tensor([100.0, -100.0]))  # type: ignore[operator,union-attr]
        for lic in made.lic:
            lic.weight.zero_()  # type: ignore[operator,union-attr]
            lic.weight[:, :, 1, 1] = torch.eye(width)  # type: ignore[index,operator]
    return made


@pytest.mark.parametrize("places", [7, 10**6])
def test_implicit_binding_of_a_student_that_equals_its_teacher_is_zero(
    make_knowledge: MakeKnowledge, places: int
) -> None:
    same = make_knowledge(4, channels=8)
    made = identity_implicit(same, same, places)
    assert made(same.pyramid, same.pyramid).abs().max().item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(made.fusion.beta().mean(0), torch.eye(3))


def test_implicit_binding_is_the_mean_distance_to_the_partners(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(5, channels=8), make_knowledge(6, channels=8, strides=(4, 8, 16, 32))
    made = identity_implicit(student, teacher, 10**6)
    assert made.partner == [1, 2, 3]
    expected = [pearson_distance(s, teacher.pyramid[i + 1]).mean().item() for i, s in enumerate(student.pyramid)]
    assert made(student.pyramid, teacher.pyramid).mean().item() == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_a_sample_of_places_estimates_the_whole(make_knowledge: MakeKnowledge) -> None:
    student, teacher = make_knowledge(7, channels=8, side=256), make_knowledge(8, channels=8, side=256)
    torch.manual_seed(0)
    part = ImplicitBinding(student, teacher, 8, places=512)
    whole = ImplicitBinding(student, teacher, 8, places=10**6)
    whole.load_state_dict(part.state_dict())
    samples = torch.stack([part(student.pyramid, teacher.pyramid).mean().detach() for _ in range(20)])
    assert samples.std() > 0
    assert samples.mean().item() == pytest.approx(whole(student.pyramid, teacher.pyramid).mean().item(), abs=0.01)


def test_pyramids_of_other_strides_and_widths(make_knowledge: MakeKnowledge) -> None:
    student = make_knowledge(9, channels=5, side=128, strides=(8, 16, 32))
    teacher = make_knowledge(10, channels=12, side=128, strides=(16, 32, 64))
    torch.manual_seed(0)
    made = ImplicitBinding(student, teacher, 4, 1024)
    assert made.partner == [0, 0, 1]
    loss = made(student.pyramid, teacher.pyramid).mean()
    loss.backward()
    assert 0 < loss.item() < 2
    assert all(p.grad is not None for p in made.parameters())


def test_gate_lesson_is_zero_when_gates_follow_alpha_and_pulls_them_there() -> None:
    alpha = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.2, 0.6]])
    followed = torch.tensor([[0.6, 0.2, 0.2], [0.0, 0.5, 0.2], [0.0, 0.0, 1.0]])
    assert gate_lesson(alpha, followed, [0, 1, 2]).item() == pytest.approx(0, abs=1e-6)
    raw = torch.zeros(3, 3, requires_grad=True)
    optimizer = torch.optim.Adam([raw], 0.05)
    for _ in range(300):
        beta = raw.sigmoid().triu()
        loss = gate_lesson(alpha, beta, [0, 1, 2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned = beta[0] / beta[0].sum()
    assert torch.allclose(learned, torch.tensor([0.6, 0.2, 0.2]), atol=0.02)


def test_gate_lesson_is_the_mean_kl_over_levels() -> None:
    gen = torch.Generator().manual_seed(0)
    alpha, beta = torch.rand(3, 4, generator=gen).softmax(1), torch.rand(3, 3, generator=gen).triu()
    partner, total = [1, 2, 3], 0.0
    for i, t in enumerate(partner):
        p = [float(alpha[j, t]) for j in range(i, 3)]
        q = [float(beta[i, j]) for j in range(i, 3)]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    assert gate_lesson(alpha, beta, partner).item() == pytest.approx(total / 3, abs=1e-5)


def test_cross_distances_have_a_gradient_to_the_student_alone(pair: tuple[Knowledge, Knowledge]) -> None:
    level = torch.randn(2, 10, 4, 4, requires_grad=True)
    cross_distances((level,), pair[1].pyramid, [adapter(10, 10)], places=1024).sum().backward()
    assert level.grad is not None
    assert all(t.grad is None for t in pair[1].pyramid)


def test_distances_at_sampled_places_estimate_those_at_all() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(2, 6, 24, 24), torch.randn(2, 6, 24, 24)
    t = t + s  # correlated, so that there is something to estimate
    phi = [adapter(6, 6)]
    exact = cross_distances((s,), (t,), phi, places=2 * 24 * 24).mean()
    drawn = torch.stack([cross_distances((s,), (t,), phi, places=200).mean() for _ in range(200)])
    assert drawn.std() > 0
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / 200**0.5 + 2e-3
