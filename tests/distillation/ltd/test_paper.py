"""The whole LTD method on small random knowledge."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from skystill.distillation.adapters import adapter
from skystill.distillation.ltd import LTD
from skystill.distillation.ltd.bindings import ExplicitBinding, bound, gate_lesson, relatedness
from skystill.distillation.ltd.lic import Pointwise
from skystill.distillation.ltd.losses import box_imitation_loss, localization_loss, semantic_loss
from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.maps import standardise
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]
BINDINGS = ("fusion", "lic", "explicit", "related", "both")


def built(student: Knowledge, teacher: Knowledge, **settings: object) -> LTD:
    torch.manual_seed(0)
    method = LTD(**({"width": 8, "dim": 16, "places": 10**6} | settings))  # type: ignore[arg-type]
    method.build(student, teacher)
    return method


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), torch.zeros(()))


@pytest.fixture
def pair(make_knowledge: MakeKnowledge) -> tuple[Knowledge, Knowledge]:
    return make_knowledge(1, channels=6, side=64), make_knowledge(2, channels=10, side=64)


@pytest.mark.parametrize("binding", BINDINGS)
def test_peaks_reach_the_distance_of_every_binding(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str
) -> None:
    found = [
        built(*pair, binding=binding, sem=0, loc=0, peaks=share)(*pair, two_images)["ccd"] for share in (0, 0.5, 1)
    ]
    assert len({round(value.item(), 4) for value in found}) == 3
    both = built(*pair, binding=binding, sem=0, loc=0)  # the same weights, for the seed is the same
    if both.ccd.implicit is not None:
        f = both.ccd.implicit.fusion(pair[0].pyramid)
        terms = [
            (lic(x, None).flatten(2).log_softmax(2), standardise(t).flatten(2).log_softmax(2))
            for x, lic, t in zip(f, both.ccd.implicit.lic, pair[1].pyramid, strict=True)
        ]
        expected = sum(((log_t.exp() * (log_t - log_s)).sum(2).mean() for log_s, log_t in terms), torch.zeros(()))
        made = built(*pair, binding=binding, peaks=1).ccd.implicit
        assert made is not None
        assert made(pair[0].pyramid, pair[1].pyramid).mean().item() == pytest.approx(expected.item() / 3, rel=1e-4)


@pytest.mark.parametrize("binding", BINDINGS)
def test_terms_are_the_weighted_losses(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str
) -> None:
    student, teacher = pair
    method = built(student, teacher, binding=binding, ccd=2.0, sem=1.5, loc=0.5, fade=(0.2, 0.6), warmup=0.8)
    method.progress = 0.4
    terms = method(student, teacher, two_images)
    dense_s, dense_t = student.dense, teacher.dense
    assert dense_s is not None
    assert dense_t is not None
    regions = find_regions(dense_t, two_images)
    expected = {
        "sem": 1.5 * semantic_loss(dense_s, dense_t, regions.sem),
        "loc": 0.5 * localization_loss(dense_s, dense_t, regions.loc),
    }
    lic = explicit = torch.zeros(())
    if method.ccd.implicit is not None:
        lic = method.ccd.implicit(student.pyramid, teacher.pyramid).mean()
    if method.ccd.cross is not None:
        d = method.ccd.cross.distances(student.pyramid, teacher.pyramid)
        gap = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
        alpha = relatedness(d, gap, 0.2, 0.5)
        if isinstance(method.ccd.cross, ExplicitBinding):
            alpha = method.ccd.cross.weights(student.pyramid, teacher.pyramid)
        explicit = bound(alpha, d)
    # Halfway through the warm-up, halfway through the fading of `both`.
    expected["ccd"] = 2.0 * 0.5 * (lic + (0.5 if binding == "both" else 1.0) * explicit)
    if binding == "both":
        assert method.ccd.implicit is not None
        expected["gates"] = 0.5 * 0.5 * gate_lesson(alpha.mean(0), method.ccd.implicit.fusion.beta().mean(0), [0, 1, 2])
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-4
    )


def test_shared_regions_teach_both_tasks_everywhere(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets]
) -> None:
    student, teacher = pair
    dense_s, dense_t = student.dense, teacher.dense
    assert dense_s is not None
    assert dense_t is not None
    found = find_regions(dense_t, two_images)
    assert not torch.equal(found.sem, found.loc)
    terms = built(student, teacher, ccd=0.0, loc=0.25, regions="shared")(student, teacher, two_images)
    together = found.sem | found.loc
    assert terms["sem"].item() == pytest.approx(semantic_loss(dense_s, dense_t, together).item())
    assert terms["loc"].item() == pytest.approx(0.25 * localization_loss(dense_s, dense_t, together).item())


def test_fusion_alone_is_a_1x1_convolution_of_the_fused_maps(pair: tuple[Knowledge, Knowledge]) -> None:
    student, teacher = pair
    method = built(student, teacher, binding="fusion")
    assert method.ccd.implicit is not None
    fused = method.ccd.implicit.fusion(student.pyramid)
    for f, head in zip(fused, method.ccd.implicit.lic, strict=True):
        assert isinstance(head, Pointwise)
        plain = torch.einsum("oc,bchw->bohw", head.conv.weight[..., 0, 0], f) + head.conv.bias[:, None, None]
        places = torch.tensor([3, 0])
        torch.testing.assert_close(head(f, places), plain.flatten(2)[:, :, places], rtol=1e-4, atol=1e-6)


def test_both_ends_as_lic_alone(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    student, teacher = pair
    both = built(student, teacher, binding="both")
    both.progress = 1.0
    alone = built(student, teacher, binding="lic")
    assert both.ccd.implicit is not None
    assert alone.ccd.implicit is not None
    alone.ccd.implicit.load_state_dict(both.ccd.implicit.state_dict())
    assert both(student, teacher, two_images)["ccd"].item() == pytest.approx(
        alone(student, teacher, two_images)["ccd"].item(), rel=1e-5
    )


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("binding", BINDINGS)
def test_every_adapter_gets_a_gradient_at_every_time(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str, progress: float
) -> None:
    """Distributed training waits for ever for a parameter without a gradient."""
    student, teacher = pair
    method = built(student, teacher, binding=binding)
    method.progress = progress
    total(method(student, teacher, two_images)).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_names_of_the_terms_do_not_change_during_training(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str
) -> None:
    student, teacher = pair
    method = built(student, teacher, binding=binding)
    names = []
    for progress in (0.0, 0.5, 1.0):
        method.progress = progress
        names.append(set(method(student, teacher, two_images)))
    assert names[0] == names[1] == names[2]


@pytest.mark.parametrize("binding", BINDINGS)
def test_gradients_reach_the_student_and_never_the_teacher(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str
) -> None:
    student, teacher = (
        replace(
            k,
            pyramid=tuple(p.clone().requires_grad_() for p in k.pyramid),
            dense=replace(
                k.dense,  # type: ignore[type-var]
                logits=k.dense.logits.clone().requires_grad_(),  # type: ignore[union-attr]
                edges=k.dense.edges.clone().requires_grad_(),  # type: ignore[union-attr]
            ),
        )
        for k in pair
    )
    method = built(student, teacher, binding=binding)
    total(method(student, teacher.detach(), two_images)).backward()

    def leaves(k: Knowledge) -> list[Tensor]:
        assert k.dense is not None
        assert k.dense.edges is not None
        return [*k.pyramid, k.dense.logits, k.dense.edges]

    assert all(t.grad is not None and t.grad.abs().max() > 0 for t in leaves(student))
    assert all(t.grad is None for t in leaves(teacher))


@pytest.mark.parametrize("binding", ["lic", "explicit"])
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    make_knowledge: MakeKnowledge, two_images: list[Targets], binding: str
) -> None:
    same = make_knowledge(3, channels=8)
    method = built(same, same, binding=binding, rho=100.0)  # a rho so large that every level is bound to itself
    if method.ccd.cross is not None:
        method.ccd.cross.adapt = nn.ModuleList(adapter(8, 8) for _ in same.pyramid)
    if method.ccd.implicit is not None:
        method.ccd.implicit.fusion.reduce = nn.ModuleList(nn.Identity() for _ in same.pyramid)
        with torch.no_grad():
            for gate in method.ccd.implicit.fusion.gates:
                gate.weight.zero_()  # type: ignore[operator,union-attr]
                gate.bias.copy_(torch.tensor([100.0, -100.0]))  # type: ignore[operator,union-attr]
            for lic in method.ccd.implicit.lic:
                lic.weight.zero_()  # type: ignore[operator,union-attr]
                lic.weight[:, :, 1, 1] = torch.eye(8)  # type: ignore[index,operator]
    terms = method(same, same, two_images)
    assert set(terms) == {"ccd", "sem", "loc"}
    for name, value in terms.items():
        assert value.item() == pytest.approx(0, abs=1e-5), name


@pytest.mark.parametrize("binding", BINDINGS)
def test_doubling_the_batch_changes_nothing(
    make_knowledge: MakeKnowledge, two_images: list[Targets], binding: str
) -> None:
    # Every level keeps at least 32 samples a channel, so both batches use the same kind of statistics.
    student, teacher = (make_knowledge(i, channels=6, side=64, strides=(4, 8, 16)) for i in (1, 2))

    def twice(k: Knowledge) -> Knowledge:
        assert k.dense is not None
        assert k.dense.edges is not None
        dense = replace(
            k.dense,
            logits=k.dense.logits.repeat(2, 1, 1),
            boxes=k.dense.boxes.repeat(2, 1, 1),
            edges=k.dense.edges.repeat(2, 1, 1, 1),
        )
        return replace(k, pyramid=tuple(p.repeat(2, 1, 1, 1) for p in k.pyramid), dense=dense)

    method = built(student, teacher, binding=binding)
    once = method(student, teacher, two_images)
    again = method(twice(student), twice(teacher), two_images * 2)
    assert {k: v.item() for k, v in again.items()} == pytest.approx({k: v.item() for k, v in once.items()}, rel=1e-4)


def test_odd_truths_are_finite_and_nothing_teaches_no_task(
    make_knowledge: MakeKnowledge, odd_truths: dict[str, Targets]
) -> None:
    student, teacher = make_knowledge(1, batch=1), make_knowledge(2, batch=1)
    method = built(student, teacher)
    for name, target in odd_truths.items():
        terms = method(student, teacher, [target])
        assert all(v.isfinite() for v in terms.values()), name
        taught = terms["sem"] > 0 and terms["loc"] > 0
        assert bool(taught) == (name not in ("nothing", "only ignored")), name
        if not taught:
            assert terms["sem"] == terms["loc"] == 0


def test_ignored_objects_are_as_if_absent(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    student, teacher = pair
    method = built(student, teacher)
    extra = torch.tensor([[2.0, 2.0, 60.0, 20.0]])
    ignored = [
        Targets(
            torch.cat([t.boxes, extra]), torch.cat([t.labels, torch.tensor([0])]), torch.arange(len(t) + 1) == len(t)
        )
        for t in two_images
    ]
    plain, with_ignored = method(student, teacher, two_images), method(student, teacher, ignored)
    assert plain["sem"] == with_ignored["sem"]
    assert plain["loc"] == with_ignored["loc"]


def test_without_distributions_boxes_are_imitated(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    student, teacher = pair
    assert teacher.dense is not None
    assert student.dense is not None
    plain = replace(teacher, dense=replace(teacher.dense, edges=None))
    terms = built(student, plain, loc=2.0)(student, plain, two_images)
    region = find_regions(teacher.dense, two_images).loc
    assert terms["loc"].item() == pytest.approx(2 * box_imitation_loss(student.dense, teacher.dense, region).item())


def test_a_weight_of_zero_leaves_the_term_out(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    student, teacher = pair
    assert set(built(student, teacher, ccd=0.0)(student, teacher, two_images)) == {"sem", "loc"}
    assert list(built(student, teacher, ccd=0.0).parameters()) == []
    no_head = replace(student, dense=None), replace(teacher, dense=None)
    assert set(built(*no_head, sem=0.0, loc=0.0, binding="lic")(*no_head, two_images)) == {"ccd"}


def test_a_softmax_teacher_tells_a_sigmoid_student_the_same_scores(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets]
) -> None:
    student, teacher = pair
    assert student.dense is not None
    assert teacher.dense is not None
    shared = replace(teacher, dense=replace(teacher.dense, activation="softmax"))  # two classes and background
    told = replace(teacher, dense=replace(teacher.dense, logits=shared.dense.scores().logit()))  # type: ignore[union-attr]
    student = replace(student, dense=replace(student.dense, logits=student.dense.logits[..., :2]))
    found, wanted = (built(student, t, ccd=0.0)(student, t, two_images) for t in (shared, told))
    assert {"sem", "loc"} == found.keys()
    for name, value in found.items():
        assert value.item() == pytest.approx(wanted[name].item(), rel=1e-4)


@pytest.mark.parametrize("binding", ["lic", "explicit", "related", "both"])
def test_teacher_levels_may_differ_in_width(
    make_knowledge: MakeKnowledge, two_images: list[Targets], binding: str
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    uneven = replace(teacher, pyramid=(teacher.pyramid[0][:, :4], *teacher.pyramid[1:]))
    assert 0 < built(student, uneven, binding=binding, ccd=1.0)(student, uneven, two_images)["ccd"].item() < 20 / 3


@pytest.mark.parametrize(
    ("binding", "names"), [("lic", {"beta"}), ("explicit", {"alpha"}), ("both", {"alpha", "beta"})]
)
def test_matrices_show_the_binding_of_the_last_step(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], binding: str, names: set[str]
) -> None:
    student, teacher = pair
    method = built(student, teacher, binding=binding)
    assert method.matrices() == {}
    method(student, teacher, two_images)
    shown = method.matrices()
    assert set(shown) == names
    assert all(m.shape == (3, 3) and not m.requires_grad for m in shown.values())
    if "alpha" in shown:
        assert torch.allclose(shown["alpha"].sum(1), torch.ones(3))
    each = method.bindings()
    assert set(each) == names
    assert all(torch.equal(each[name].mean(0), shown[name]) and len(each[name]) == 2 for name in names)


@pytest.mark.parametrize("regions", ["disentangled", "shared"])
def test_what_is_taught_where_is_what_the_terms_take(
    pair: tuple[Knowledge, Knowledge], two_images: list[Targets], regions: str
) -> None:
    student, teacher = pair
    assert student.dense is not None
    assert teacher.dense is not None
    method = built(student, teacher, regions=regions, sem=1.0, loc=1.0)
    taught = method.taught(teacher.dense, two_images)
    assert list(taught) == ["R_sem", "R_loc"]
    assert torch.equal(*taught.values()) == (regions == "shared")
    terms = method(student, teacher, two_images)
    assert torch.equal(terms["sem"], semantic_loss(student.dense, teacher.dense, taught["R_sem"]))
    assert torch.equal(terms["loc"], localization_loss(student.dense, teacher.dense, taught["R_loc"]))
    assert built(student, teacher, sem=0.0, loc=0.0).taught(teacher.dense, two_images) == {}


def test_a_method_can_be_copied_after_a_step(pair: tuple[Knowledge, Knowledge], two_images: list[Targets]) -> None:
    """Averaged weights and spawned workers copy the module; a graph of the last step kept inside forbids it."""
    student, teacher = pair
    method = built(student, teacher, binding="both")
    method(student, teacher, two_images)
    copied = deepcopy(method)
    assert torch.equal(copied.matrices()["alpha"], method.matrices()["alpha"])
    torch.manual_seed(1)
    before = method(student, teacher, two_images)
    torch.manual_seed(1)
    assert copied(student, teacher, two_images)["ccd"] == before["ccd"]
