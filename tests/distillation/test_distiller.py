"""The Distiller with real, tiny detectors: who learns, who never does, and what comes out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import skystill
from skystill.detectors.gfl import GFL
from skystill.detectors.weights import create
from skystill.distillation.distiller import Distiller, inherit, pad_together
from skystill.distillation.ltd import LTD, LTDPlus, LTDReleased
from skystill.distillation.method import Method
from skystill.distillation.roles import Role
from skystill.errors import ConfigError, DataError
from skystill.structures import Knowledge, Targets

MakeGFL = Callable[..., GFL]
METHODS: dict[str, Callable[[], Method]] = {
    "ltd": lambda: LTD(width=8, dim=8, places=64),
    "ltd_plus": LTDPlus,
    "ltd_released": LTDReleased,
}
PAIRS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "same": ({}, {}),
    "more teacher levels": ({}, {"levels": (3, 7)}),
    "other strides": ({}, {"levels": (4, 6)}),
    "wider teacher": ({}, {"neck_channels": 48, "head_channels": 64, "convs": "dense", "norm": "gn"}),
    "grey images": ({"in_chans": 1}, {"in_chans": 1}),
}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(losses.values(), torch.zeros(()))


def steps(distiller: Distiller, images: Tensor, targets: Sequence[Targets], count: int = 3) -> None:
    optimizer = torch.optim.SGD(distiller.parameters(), 1e-3, momentum=0.9, weight_decay=0.1)
    distiller.train()
    for _ in range(count):
        optimizer.zero_grad()
        total(distiller(images, list(targets))).backward()
        optimizer.step()


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_the_student_learns_and_the_teacher_stays_bit_equal(
    make_gfl: MakeGFL, two_images: list[Targets], pair: str, method: str
) -> None:
    of_student, of_teacher = PAIRS[pair]
    student, teacher = make_gfl(0, **of_student), make_gfl(1, **of_teacher)
    teacher_before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student_before = {k: v.clone() for k, v in student.state_dict().items()}
    distiller = Distiller(student, teacher, METHODS[method]())
    images = torch.rand(2, student.in_chans, 64, 64)
    steps(distiller, images, two_images)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, teacher_before[key]), key
    assert all(p.grad is None for p in teacher.parameters())
    missing = [name for name, p in distiller.named_parameters() if p.grad is None]
    assert missing == []
    moved = {k for k, p in student.named_parameters() if not torch.equal(p, student_before[k])}
    assert {k.split(".")[0] for k in moved} == {"backbone", "neck", "head"}
    # A level that none of these small objects falls to may have nothing to learn; nothing else may stand still.
    idle = {k for k, p in student.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    assert {k for k, _ in student.named_parameters()} - moved <= idle
    assert all(k.startswith("head.reg") for k in idle)


def test_no_teacher_among_parameters_or_state(make_gfl: MakeGFL) -> None:
    student, teacher = make_gfl(0), make_gfl(1)
    distiller = Distiller(student, teacher, METHODS["ltd"]())
    theirs = {p.data_ptr() for p in teacher.parameters()} | {b.data_ptr() for b in teacher.buffers()}
    assert not theirs & {p.data_ptr() for p in distiller.parameters()}
    assert not theirs & {t.data_ptr() for t in distiller.state_dict().values()}
    assert {k.split(".")[0] for k in distiller.state_dict()} == {"student", "methods"}
    assert not any(p.requires_grad for p in teacher.parameters())


def test_the_teacher_stays_in_eval_when_the_distiller_trains(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    teacher = make_gfl(1).train()
    distiller = Distiller(make_gfl(0), teacher, METHODS["ltd"]()).train()
    assert distiller.student.training
    distiller(images, two_images)
    assert not any(m.training for m in teacher.modules())


def test_building_does_not_touch_the_student(make_gfl: MakeGFL) -> None:
    student = make_gfl(0).train()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    Distiller(student, make_gfl(1), METHODS["ltd"]())
    assert student.training
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_a_distilled_student_is_a_plain_student(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets], tmp_path: Path
) -> None:
    distiller = Distiller(make_gfl(0), make_gfl(1, neck_channels=48), METHODS["ltd"]())
    steps(distiller, images, two_images)
    distilled = distiller.student.eval()
    plain = make_gfl(7)
    assert [n for n, _ in distilled.named_modules()] == [n for n, _ in plain.named_modules()]
    assert sum(p.numel() for p in distilled.parameters()) == sum(p.numel() for p in plain.parameters())
    again = skystill.load(skystill.save(distilled, tmp_path / "student.safetensors"))
    plain.load_state_dict(distilled.state_dict())
    with torch.no_grad():
        scores, boxes = distilled.raw(images)
        for other in (again, plain):
            assert torch.equal(other.raw(images)[0], scores)
            assert torch.equal(other.raw(images)[1], boxes)
    assert operations(distilled, images) == operations(plain, images)


def operations(model: GFL, images: Tensor) -> dict[str, int]:
    """Floating point operations of every kind that inference runs."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.raw(images)
    counts = {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}
    assert sum(counts.values()) > 0
    return counts


def test_losses_are_the_students_own_and_the_methods(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    student, teacher = make_gfl(0), make_gfl(1)
    distiller = Distiller(student, teacher, METHODS["ltd"]())
    losses = distiller(images, two_images)
    own = student(images, two_images)
    assert set(losses) == set(own.losses) | {"ccd", "gates", "sem", "loc"}
    assert all(losses[k].item() == pytest.approx(own.losses[k].item(), rel=1e-5) for k in own.losses)
    alone = distiller.methods[0](own.knowledge, teacher(images).knowledge, two_images)
    assert losses["sem"].item() == pytest.approx(alone["sem"].item(), rel=1e-5)


def test_a_student_equal_to_its_teacher_has_no_task_to_learn(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    losses = Distiller(make_gfl(3), make_gfl(3), LTD(ccd=0.0)).eval()(images, two_images)
    assert losses["sem"] == 0
    assert losses["loc"].item() == pytest.approx(0, abs=1e-5)


def test_a_teacher_that_sees_the_image_enlarged(make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]) -> None:
    teacher = make_gfl(1, levels=(3, 6))
    distiller = Distiller(make_gfl(0), teacher, METHODS["ltd"](), teacher_scale=2)
    losses = distiller(images, two_images)
    total(losses).backward()
    assert all(v.isfinite() for v in losses.values())
    told = distiller.ask(teacher, images)
    assert told.strides == (4, 8, 16, 32)
    assert [p.shape[-1] for p in told.pyramid] == [16, 8, 4, 2]
    assert distiller.matrices()["alpha"].shape == (3, 4)


def test_an_observer_is_told_of_the_first_teacher_and_of_all_terms(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    teachers = [make_gfl(1), make_gfl(2, neck_channels=48)]
    distiller = Distiller(make_gfl(0), teachers, LTD())
    told: list[tuple[Knowledge, Knowledge, dict[str, Tensor]]] = []
    distiller.observer = lambda *what: told.append(what)
    losses = distiller(images, two_images)
    ((student, teacher, terms),) = told
    assert terms is losses
    assert student.dense is not None
    assert teacher.dense is not None
    assert torch.equal(teacher.dense.logits, distiller.ask(teachers[0], images).dense.logits)  # type: ignore[union-attr]
    assert torch.equal(student.dense.logits, distiller.student(images).knowledge.dense.logits)
    assert not student.dense.logits.requires_grad
    assert distiller.bindings()["alpha"].shape == (2, 3, 3)


def test_several_teachers_are_averaged(make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]) -> None:
    student, one, two = make_gfl(0), make_gfl(1), make_gfl(2)
    each = [Distiller(student, t, LTD(ccd=0.0))(images, two_images) for t in (one, two)]
    both = Distiller(student, [one, two], LTD(ccd=0.0))(images, two_images)
    for name in ("sem", "loc"):
        assert both[name].item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-5)
    with_adapters = Distiller(student, [one, two], METHODS["ltd"]())
    pointers = [p.data_ptr() for p in with_adapters.parameters()]
    assert len(pointers) == len(set(pointers))


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_autocast_gives_finite_float32_losses_and_gradients(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets], method: str
) -> None:
    distiller = Distiller(make_gfl(0), make_gfl(1), METHODS[method]()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = distiller(images, two_images)
    assert {v.dtype for v in losses.values()} == {torch.float32}
    total(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters())


def test_a_method_runs_in_float32_inside_autocast(make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]) -> None:
    class Product(Method):
        def build(self, student: Knowledge, teacher: Knowledge) -> None: ...

        def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
            assert {p.dtype for p in student.pyramid + teacher.pyramid} == {torch.float32}
            product = student.pyramid[0] @ teacher.pyramid[0].transpose(2, 3)
            assert product.dtype == torch.float32
            return {"product": product.mean()}

    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = Distiller(make_gfl(0), make_gfl(1), Product())(images, two_images)
    assert losses["product"].isfinite()


@pytest.mark.parametrize("method", METHODS)
def test_odd_truths_and_single_images(make_gfl: MakeGFL, odd_truths: dict[str, Targets], method: str) -> None:
    distiller = Distiller(make_gfl(0), make_gfl(1, levels=(3, 7)), METHODS[method]()).eval()
    for name, target in odd_truths.items():
        losses = distiller(torch.rand(1, 3, 96, 64), [target])
        assert all(v.isfinite() for v in losses.values()), name


@pytest.mark.parametrize("method", ["reviewkd", "ltd_released"])
def test_a_batch_norm_over_one_value_is_told(make_gfl: MakeGFL, method: str) -> None:
    """torch's own words for one image whose coarsest level is one cell name neither."""
    distiller = Distiller(make_gfl(0, levels=(3, 7)), make_gfl(1, levels=(3, 7)), method).train()
    with pytest.raises(ConfigError, match=r"one value a channel: 1 image of 128 x 128 px\. Give a batch of 2"):
        distiller(torch.rand(1, 3, 128, 128), [Targets.empty()])


def test_a_list_of_images_is_padded_at_the_right_and_bottom(make_gfl: MakeGFL, two_images: list[Targets]) -> None:
    small, wide = torch.rand(3, 50, 40), torch.rand(3, 33, 65)
    stacked = pad_together([small, wide], 32)
    assert stacked.shape == (2, 3, 64, 96)
    assert torch.equal(stacked[0, :, :50, :40], small)
    assert torch.equal(stacked[1, :, :33, :65], wide)
    assert stacked.sum().item() == pytest.approx((small.sum() + wide.sum()).item(), rel=1e-5)
    distiller = Distiller(make_gfl(0), make_gfl(1), LTD(ccd=0.0)).eval()
    a, b = distiller([small, wide], two_images), distiller(stacked, two_images)
    assert {k: v.item() for k, v in a.items()} == {k: v.item() for k, v in b.items()}


@pytest.mark.parametrize(("coarsest", "scale", "multiple"), [(6, 1.0, 64), (6, 2.0, 32), (5, 0.5, 64), (6, 0.5, 128)])
def test_images_are_padded_to_what_the_teacher_takes_too(
    make_gfl: MakeGFL, two_images: list[Targets], coarsest: int, scale: float, multiple: int
) -> None:
    teacher = make_gfl(1, levels=(3, coarsest))
    distiller = Distiller(make_gfl(0), teacher, LTD(), teacher_scale=scale)
    assert distiller.multiple == multiple
    assert multiple * scale % teacher.multiple == 0
    distiller([torch.rand(3, 50, 40), torch.rand(3, 33, 65)], two_images)


def test_progress_reaches_every_method(make_gfl: MakeGFL) -> None:
    distiller = Distiller(make_gfl(0), [make_gfl(1), make_gfl(2)], METHODS["ltd"]())
    distiller.set_progress(0.75)
    assert [m.progress for m in distiller.methods] == [0.75, 0.75]


def test_moving_the_distiller_moves_the_teacher(make_gfl: MakeGFL) -> None:
    teacher = make_gfl(1)
    Distiller(make_gfl(0), teacher, METHODS["ltd"]()).double()
    assert {p.dtype for p in teacher.parameters()} == {torch.float64}


def test_a_method_sees_teachers_without_gradient(make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]) -> None:
    seen: list[Knowledge] = []

    class Spy(Method):
        def build(self, student: Knowledge, teacher: Knowledge) -> None: ...

        def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
            seen.extend([student, teacher])
            return {"spy": student.pyramid[0].mean(), "qfl": student.pyramid[0].mean()}

    losses = Distiller(make_gfl(0), make_gfl(1), Spy())(images, two_images)
    student, teacher = seen
    assert student.pyramid[0].requires_grad
    assert teacher.dense is not None
    assert not any(t.requires_grad for t in (*teacher.pyramid, teacher.dense.logits, teacher.dense.boxes))
    assert {"qfl", "kd_qfl", "spy"} <= set(losses)  # a method's term never hides one of the student's own


@pytest.mark.parametrize(
    ("of_student", "of_teacher", "message"),
    [
        ({}, {"classes": ("ship", "plane", "bus")}, "only the student has car; only the teacher has bus"),
        ({"in_chans": 1}, {}, "takes 1 bands, the teacher 3"),
        ({"levels": (3, 4)}, {"levels": (5, 6)}, "none in common"),
    ],
)
def test_pairs_that_cannot_work_are_told_in_one_line(
    make_gfl: MakeGFL, of_student: dict[str, object], of_teacher: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Distiller(make_gfl(0, **of_student), make_gfl(1, **of_teacher), LTD())
    assert "\n" not in str(caught.value)


def test_other_kinds_of_boxes_no_teacher_and_a_teacher_that_is_the_student(make_gfl: MakeGFL) -> None:
    student, oriented = make_gfl(0), make_gfl(1)
    oriented.kind = "obb"
    with pytest.raises(ConfigError, match="hbb boxes, the teacher obb"):
        Distiller(student, oriented, LTD())
    with pytest.raises(ConfigError, match="hbb boxes, the teacher obb"):  # leave is given to upright teachers alone
        Distiller(student, oriented, LTD(), allow_hbb=True)
    with pytest.raises(ConfigError, match="at least one teacher"):
        Distiller(student, [], LTD())
    with pytest.raises(ConfigError, match="its own teacher"):
        Distiller(student, student, LTD())
    assert all(p.requires_grad for p in student.parameters())


def test_a_teacher_in_bfloat16_teaches_nearly_the_same(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    student, teacher = make_gfl(0).eval(), make_gfl(1)
    method = LTD("related")
    exact = Distiller(student, teacher, method)(images, two_images)
    rough = Distiller(student, teacher, LTD("related"), teacher_bf16=True)
    rough.methods = torch.nn.ModuleList([method])  # the same adapters, so that only the teacher's precision differs
    found = rough(images, two_images)
    for name in ("ccd", "sem", "loc"):
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], exact[name], rtol=0.05, atol=1e-3)
    assert any(not torch.equal(found[name], exact[name]) for name in ("ccd", "sem", "loc"))


def test_a_student_inherits_the_neck_and_head_that_fit(make_gfl: MakeGFL) -> None:
    student, teacher = make_gfl(0), make_gfl(1)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    copied = inherit(student, teacher)
    after, theirs = student.state_dict(), teacher.state_dict()
    assert {name.split(".")[0] for name in copied} == {"neck", "head"}
    for name, value in after.items():
        assert torch.equal(value, theirs[name] if name in copied else before[name]), name
    assert not torch.equal(after["head.cls.weight"], before["head.cls.weight"])


def test_what_has_another_shape_is_not_inherited(make_gfl: MakeGFL) -> None:
    student, teacher = make_gfl(0), make_gfl(1, head_channels=64)
    copied = inherit(student, teacher)
    assert any(name.startswith("neck") for name in copied)
    assert "head.cls.weight" not in copied
    with pytest.raises(ConfigError, match="inherit nothing"):
        inherit(student, create("tv_ssdlite", student.classes))


def test_a_head_that_speaks_of_other_classes_is_not_inherited(make_gfl: MakeGFL) -> None:
    student, teacher = make_gfl(0), make_gfl(1)
    teacher.classes = teacher.classes[::-1]
    with pytest.raises(ConfigError, match="are not in order the teacher's"):
        inherit(student, teacher)


def test_frozen_norms_stay_frozen_when_a_distiller_is_made(make_gfl: MakeGFL) -> None:
    student = make_gfl(0).train()
    frozen = next(m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    Distiller(student, make_gfl(1), LTD())
    assert student.training
    assert not frozen.training


def test_of_a_wrapped_model_the_backbone_is_not_inherited_either() -> None:
    student, teacher = (create("tv_ssdlite", ["ship"]) for _ in range(2))
    copied = inherit(student, teacher)
    assert any(name.startswith("model.head.") for name in copied)
    assert not any(name.startswith("model.backbone.features.") for name in copied)


def test_what_is_not_wrapped_is_told(make_gfl: MakeGFL) -> None:
    bare = torch.nn.Linear(1, 1)
    for student, teacher, whose in ((bare, make_gfl(), "student"), (make_gfl(), [bare], "teacher")):
        with pytest.raises(ConfigError, match=f"the {whose} is a Linear; give skystill.wrap") as caught:
            Distiller(student, teacher, LTD())  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_a_teacher_with_its_classes_in_another_order_teaches_the_same(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    student, teacher = make_gfl(0), make_gfl(1)
    shuffled = make_gfl(1, classes=("plane", "car", "ship"))
    with torch.no_grad():
        for part in (shuffled.head.cls.weight, shuffled.head.cls.bias):
            part.copy_(part[[1, 2, 0]].clone())
    plain = Distiller(student, teacher, LTD(ccd=0))(images, two_images)
    found = Distiller(student, shuffled, LTD(ccd=0))(images, two_images)
    torch.testing.assert_close(found, plain)


def test_teachers_of_different_roles_teach_what_each_knows(
    make_gfl: MakeGFL, images: Tensor, two_images: list[Targets]
) -> None:
    student, ships, rest = make_gfl(0), make_gfl(1, classes=("boat",)), make_gfl(2, classes=("car", "plane", "tree"))
    distiller = Distiller(student, [ships, rest], LTD(ccd=0), classes={"boat": "ship"})
    alone = [
        Distiller(student, teacher, LTD(ccd=0), classes=names)(images, two_images)
        for teacher, names in ((ships, {"boat": "ship"}), (rest, {}))
    ]
    losses = distiller(images, two_images)
    torch.testing.assert_close(losses["sem"], (alone[0]["sem"] + alone[1]["sem"]) / 2)
    shares = Distiller(
        student, [ships, rest], LTD(ccd=0), classes={"boat": "ship"}, roles=[Role(3.0, ["ship"]), Role(1.0)]
    )(images, two_images)
    torch.testing.assert_close(shares["sem"], 0.75 * alone[0]["sem"] + 0.25 * alone[1]["sem"])
    with pytest.raises(ConfigError, match="1 roles for 2 teachers"):
        Distiller(student, [ships, rest], LTD(), classes={"boat": "ship"}, roles=[Role()])


def test_a_teacher_of_upright_boxes_teaches_an_oriented_student_by_its_features_if_allowed(
    make_gfl: MakeGFL, images: Tensor, two_turned_images: list[Targets]
) -> None:
    student, teacher = make_gfl(0, kind="obb"), make_gfl(1)
    with pytest.raises(ConfigError, match="--allow-hbb-teacher"):
        Distiller(student, teacher, LTD())
    with pytest.raises(ConfigError, match="sem 0 and loc 0"):
        Distiller(student, teacher, LTD(), allow_hbb=True)
    distiller = Distiller(student, teacher, LTD(sem=0, loc=0), allow_hbb=True)
    losses = distiller(images, two_turned_images)
    assert float(losses["ccd"].detach()) > 0
    steps(distiller, images, two_turned_images)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([np.zeros((3, 64, 64))], "an image is a ndarray"),
        (np.zeros((2, 3, 64, 64)), "an image is a ndarray"),
        ([torch.rand(3, 64, 64), torch.rand(1, 64, 64)], "not alike: 1 bands of torch.float32 on cpu and 3 bands"),
        ([torch.rand(3, 64, 64, dtype=torch.float64)] * 2, "torch.float64 and the detector's weights torch.float32"),
    ],
)
def test_images_of_another_kind_are_refused(
    make_gfl: MakeGFL, two_images: list[Targets], images: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Distiller(make_gfl(0), make_gfl(1), "pkd")(images, two_images)


def test_boxes_as_shares_are_refused_at_the_first_step(make_gfl: MakeGFL, images: Tensor) -> None:
    shares = Targets(torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.9, 0.9]]), torch.tensor([0, 0]))
    with pytest.raises(DataError, match="shares of the image"):
        Distiller(make_gfl(0), make_gfl(1), "pkd")(images, [shares, shares])


def test_settings_that_mean_nothing_are_refused(make_gfl: MakeGFL) -> None:
    for scale in (0, -1.0):
        with pytest.raises(ConfigError, match="teacher_scale is"):
            Distiller(make_gfl(0), make_gfl(1), "pkd", teacher_scale=scale)
    with pytest.raises(ConfigError, match=r"a role is a dict; give skystill\.Role"):
        Distiller(make_gfl(0), make_gfl(1), "pkd", roles=[{"share": 2.0}])  # type: ignore[list-item]


def test_one_that_pads_small_images_inside_meets_the_other_from_its_own_size_on() -> None:
    """SSD300 needs 300 px: the shapes are taken, and images are, from there on."""
    student, teacher = create("tv_ssd300", ["a", "b"]), create("gfl_mnv3s_050", ["a", "b"])
    truth = [Targets(torch.tensor([[10.0, 10, 60, 70]]), torch.tensor([1]))]
    distiller = Distiller(student, teacher, LTD())
    with pytest.raises(ConfigError, match="256 x 256 px, and one of the pair pads them inside to 300"):
        distiller(torch.rand(1, 3, 256, 256), truth)
    losses = distiller(torch.rand(1, 3, 320, 320), truth)
    assert {"ccd", "sem", "loc"} <= set(losses)
    assert all(value.isfinite() for value in losses.values())
