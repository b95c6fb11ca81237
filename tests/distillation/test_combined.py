"""Several methods at once: each as it would be alone, times its weight."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skystill.detectors.gfl import GFL
from skystill.distillation.combined import Combined, merged
from skystill.distillation.distiller import Distiller
from skystill.distillation.method import Method
from skystill.distillation.methods import make_method, settings_by_method
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


class Watched(Method):
    """Says what it was told: `scale` times the first feature, and the progress it saw."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[float] = []

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        self.learned = nn.Parameter(torch.ones(()))

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        self.seen.append(self.progress)
        return {"own": self.scale * self.learned * student.pyramid[0].mean(), f"of_{self.scale:.0f}": torch.ones(())}

    def bindings(self) -> dict[str, Tensor]:
        return {"alpha": torch.full((2, 1, 1), float(self.scale))}

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        return {"here": torch.tensor([[self.scale > 2]]), f"at_{self.scale:.0f}": torch.ones(1, 1)}


def test_terms_are_those_of_the_methods_alone_times_the_weights(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = make_method("ld+bckd", {"ld": {"tau": 5.0}}, {"bckd": 2.5})
    method.build(student, teacher)
    found = method(student, teacher, two_images)
    ld = make_method("ld", {"tau": 5.0})(student, teacher, two_images)
    bckd = make_method("bckd")(student, teacher, two_images)
    expected = ld | {term: 2.5 * value for term, value in bckd.items()}
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        assert value > 0
        assert found[term].item() == pytest.approx(value.item(), rel=1e-6)


def test_it_needs_what_any_of_them_needs() -> None:
    assert Combined({"watched": Watched(1)}).features
    assert make_method("bckd+pkd").features
    assert not make_method("bckd+ld").features


def test_shared_names_are_told_apart_and_nothing_is_lost(
    make_knowledge: MakeKnowledge, two_images: list[Targets]
) -> None:
    method = Combined({"a": Watched(1), "b": Watched(3)}, {"b": 2})
    student, teacher = make_knowledge(1), make_knowledge(2)
    method.build(student, teacher)
    mean = student.pyramid[0].mean().item()
    found = {term: value.item() for term, value in method(student, teacher, two_images).items()}
    assert found == pytest.approx({"a_own": mean, "of_1": 1, "b_own": 6 * mean, "of_3": 2})
    assert {name: m.item() for name, m in method.matrices().items()} == {"a_alpha": 1, "b_alpha": 3}
    assert student.dense is not None
    taught = {name: bool(mask) for name, mask in method.taught(student.dense, two_images).items()}
    assert taught == {"a_here": False, "b_here": True, "at_1": True, "at_3": True}
    one, two = torch.zeros(()), torch.ones(())
    assert merged({"a": {"x": one}, "b": {"y": two}}) == {"x": one, "y": two}


def test_progress_reaches_every_method(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    first, second = Watched(1), Watched(2)
    method = Combined({"a": first, "b": second})
    method.build(make_knowledge(1), make_knowledge(2))
    for t in (0.0, 0.75):
        method.progress = t
        method(make_knowledge(1), make_knowledge(2), two_images)
    assert first.seen == second.seen == [0.0, 0.75]


def test_the_parts_learn_under_a_distiller_each_teacher_with_its_own(
    make_gfl: Callable[..., GFL], two_images: list[Targets]
) -> None:
    method = make_method("ltd_released+ld+fitnet", {}, {"fitnet": 0.5})
    distiller = Distiller(make_gfl(0), [make_gfl(1), make_gfl(2, neck_channels=48)], method).train()
    losses = distiller(torch.rand(2, 3, 64, 64), two_images)
    assert {"ltd_released_ld", "ld_ld", "ltd_released_ld_vlr", "ld_ld_vlr", "att", "ccd", "fitnet"} <= losses.keys()
    assert "ld" not in losses
    assert set(distiller.matrices()) == {"beta"}
    sum(losses.values(), torch.zeros(())).backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    names = {n.split(".")[3] for n, _ in distiller.methods.named_parameters() if n.startswith("1.")} | {
        n.split(".")[2] for n, _ in distiller.methods.named_parameters()
    }
    assert {"ltd_released", "fitnet"} <= names
    pointers = [p.data_ptr() for p in distiller.parameters()]
    assert len(pointers) == len(set(pointers))


def test_one_name_is_that_method_and_a_weight_is_kept(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    assert settings_by_method("ltd", {"ccd": 1.0}) == {"ltd": {"ccd": 1.0}}
    assert settings_by_method("ltd+pkd", {"pkd": {"weight": 1.0}}) == {"ltd": {}, "pkd": {"weight": 1.0}}
    student, teacher = make_knowledge(1), make_knowledge(2)
    alone = make_method("bckd", {"loc": 1.0})
    heavier = make_method("bckd", {"loc": 1.0}, {"bckd": 4.0})
    assert not isinstance(alone, Combined)
    for term, value in alone(student, teacher, two_images).items():
        assert heavier(student, teacher, two_images)[term].item() == pytest.approx(4 * value.item(), rel=1e-6)


def test_a_part_that_cannot_serve_the_pair_refuses_it(make_knowledge: MakeKnowledge) -> None:
    with pytest.raises(ConfigError, match="none in common"):
        make_method("pkd+bckd").build(make_knowledge(1, strides=(8,)), make_knowledge(2, strides=(16,)))


@pytest.mark.parametrize(
    ("name", "settings", "weights", "message"),
    [
        ("ltd+lttd", {}, {}, "'lttd' is unknown; the methods are ltd"),
        ("ltd+", {}, {}, "'' is unknown; the methods are ltd"),
        ("ltd+ltd", {}, {}, "'ltd\\+ltd' names ltd twice. Name each method once"),
        (
            "ltd+bckd",
            {"binding": "lic"},
            {},
            "takes settings by method, e.g. {ltd: {key: value}}, not 'binding': 'lic'",
        ),
        ("ltd+bckd", {"bckd": 3}, {}, "takes settings by method, .* not 'bckd': 3"),
        ("ltd+bckd", {"bckd": {"locc": 3}}, {}, "method bckd has no setting 'locc'; its settings are sem, loc"),
        ("ltd+bckd", {}, {"pkd": 1.0}, "no use for 'pkd'; the methods are ltd, bckd"),
        ("ltd", {}, {"pkd": 1.0}, "no use for 'pkd'; the methods are ltd"),
        ("ltd+bckd", {}, {"ltd": -1.0}, "ltd is -1.0. Give a number of at least 0"),
        ("ltd+bckd", {}, {"ltd": math.nan}, "ltd is nan. Give a number of at least 0"),
        ("ltd+bckd", {}, {"ltd": math.inf}, "ltd is inf. Give a number of at least 0"),
    ],
)
def test_what_cannot_be_combined_is_told_in_one_line(
    name: str, settings: dict[str, object], weights: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_method(name, settings, weights)
    assert "\n" not in str(caught.value)
