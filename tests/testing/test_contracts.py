"""A contract that nothing can break holds nothing: each of these breaks is found by the test that is for it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skystill
from skystill.boxes.nms import Selection
from skystill.data.config import DataConfig
from skystill.detectors import weights
from skystill.detectors.gfl import GFL
from skystill.distillation.method import Method
from skystill.structures import Detections, Knowledge, Output, Queries, Targets, TwoStage
from skystill.testing import DetectorContract, MethodContract
from skystill.testing.shapes import check_head, check_queries, check_stages
from skystill.training.fit import make_detector
from skystill.training.recipe import DetectorConfig, Recipe

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def on_the_page(word: str, **names: Any) -> dict[str, Any]:
    """What the page's block of Python that names `word` defines, where `names` are known."""
    found = [b for b in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if word in b]
    assert len(found) == 1
    exec(found[0], names)
    return names


Dots: Any = on_the_page("DetectorContract")["Dots"]
AttentionTransfer: Any = on_the_page("MethodContract")["AttentionTransfer"]


class TestThePagesDetector(DetectorContract):
    def make(self) -> skystill.Detector:
        made: skystill.Detector = Dots(("ship", "plane"), width=8)
        return made


def test_the_page_brings_its_detector_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "FAMILIES", dict(weights.FAMILIES))
    monkeypatch.setattr(weights, "PRESETS", dict(weights.PRESETS))
    on_the_page("FAMILIES", Dots=Dots, __name__=__name__)
    recipe = Recipe(DataConfig(bands=3), DetectorConfig("dots", {"width": 16}))
    detector = make_detector(recipe, ("ship", "plane"))
    assert detector.width == 16
    again = skystill.load(skystill.save(detector.eval(), tmp_path / "dots.safetensors"))
    images = torch.rand(1, 3, 64, 64)
    assert again.raw(images)[0].equal(detector.raw(images)[0])


class TestThePagesMethod(MethodContract):
    def make(self) -> Method:
        made: Method = AttentionTransfer()
        return made


class Unreached(Dots):  # type: ignore[misc]
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.spare = nn.Parameter(torch.zeros(1))


class Shares(Dots):  # type: ignore[misc]
    """Boxes as shares of the image."""

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        output: Output = super().forward(images, targets)
        assert output.knowledge.dense is not None
        dense = replace(output.knowledge.dense, boxes=output.knowledge.dense.boxes / images.shape[3])
        return replace(output, knowledge=replace(output.knowledge, dense=dense))


class ByColumns(Dots):  # type: ignore[misc]
    """Places column by column."""

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        output: Output = super().forward(images, targets)
        dense = output.knowledge.dense
        assert dense is not None
        height, width = output.knowledge.pyramid[0].shape[2:]
        fine = dense.places[: dense.levels[0]].view(height, width, 4).transpose(0, 1).flatten(0, 1)
        dense = replace(dense, places=torch.cat([fine, dense.places[dense.levels[0] :]]))
        return replace(output, knowledge=replace(output.knowledge, dense=dense))


class WrongStrides(Dots):  # type: ignore[misc]
    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        output: Output = super().forward(images, targets)
        return replace(output, knowledge=replace(output.knowledge, strides=(4, 8)))


class NoObjects(Dots):  # type: ignore[misc]
    """Divides by the number of objects."""

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        output: Output = super().forward(images, targets)
        count = sum(len(t.counted()) for t in targets or [])
        return replace(output, losses={name: v * (torch.tensor(1.0) / count) for name, v in output.losses.items()})


class NoGradient(Dots):  # type: ignore[misc]
    def losses(self, *args: Any) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in super().losses(*args).items()}


class LeavesEval(Dots):  # type: ignore[misc]
    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        self.eval()
        found: list[Detections] = super().predict(images, how)
        return found


class NoThreshold(Dots):  # type: ignore[misc]
    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        found: list[Detections] = super().predict(images, replace(how or Selection(), score=0.0))
        return found


class OfTheBatch(Dots):  # type: ignore[misc]
    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        output: Output = super().forward(images - images.mean(0), targets)
        return output


class Forgets(Dots):  # type: ignore[misc]
    """Something random that no state holds."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.gain = torch.rand(()).item()

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes = super().raw(images)
        return scores * self.gain, boxes


class NotPlain(Dots):  # type: ignore[misc]
    def config(self) -> dict[str, Any]:
        return {"width": torch.tensor(8)}


class AnyBands(Dots):  # type: ignore[misc]
    def check(self, images: Tensor, targets: Any = None) -> None:
        pass


def uphill(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values, with a gradient that leads to larger ones."""
    return {name: 2 * value.detach() - value for name, value in terms.items()}


class Uphill(Dots):  # type: ignore[misc]
    def losses(self, *args: Any) -> dict[str, Tensor]:
        return uphill(super().losses(*args))


@pytest.mark.parametrize(
    ("broken", "test", "message"),
    [
        (Unreached, "test_gradients_reach_every_parameter", "no loss reaches spare"),
        (Shares, "test_knowledge_is_what_it_promises", "boxes are decoded, in pixels"),
        (ByColumns, "test_knowledge_is_what_it_promises", "row by row"),
        (WrongStrides, "test_knowledge_is_what_it_promises", "are not of stride 4"),
        (NoObjects, "test_losses_are_finite_for_any_truth", "nothing: focal is inf"),
        (NoGradient, "test_losses_are_finite_for_any_truth", "carry no gradient"),
        (LeavesEval, "test_predict_leaves_no_trace", "changes the mode"),
        (NoThreshold, "test_detections_are_among_raw_predictions", "passes over the least score"),
        (OfTheBatch, "test_an_image_is_seen_alike_in_any_batch", "depend on the batch"),
        (Forgets, "test_the_state_is_all_that_it_learned", "its state dict predicts otherwise"),
        (NotPlain, "test_a_file_brings_it_back", "not plain values"),
        (AnyBands, "test_other_bands_are_refused", "with a SkystillError, not RuntimeError"),
        (Uphill, "test_it_learns", "its losses go from"),
    ],
)
def test_a_broken_detector_is_found(broken: Callable[..., skystill.Detector], test: str, message: str) -> None:
    class Broken(DetectorContract):
        def make(self) -> skystill.Detector:
            return broken(("ship", "plane"), width=8)

    with pytest.raises(AssertionError, match=message):
        getattr(Broken(), test)()


def test_an_open_head_must_end_as_the_head_does(make_gfl: Callable[..., GFL]) -> None:
    with torch.no_grad():
        knowledge = make_gfl()(torch.rand(2, 3, 64, 64)).knowledge
    dense, head = knowledge.dense, knowledge.head
    assert dense is not None
    assert head is not None
    check_head(knowledge, dense)
    with pytest.raises(AssertionError, match="gives other logits than the head"):
        check_head(knowledge, replace(dense, logits=dense.logits + 1))
    with pytest.raises(AssertionError, match=r"channels wide, and HeadView.widths says \(5, 5\)"):
        check_head(replace(knowledge, head=replace(head, widths=(5, 5))), dense)


def test_queries_are_pixels_and_of_all_classes() -> None:
    detector, images = Dots(("ship", "plane")), torch.rand(2, 3, 64, 64)
    shares = Queries(torch.zeros(2, 5, 2), torch.rand(2, 5, 4))
    check_queries(replace(shares, boxes=64 * shares.boxes), detector, images)
    with pytest.raises(AssertionError, match="not shares of the image"):
        check_queries(shares, detector, images)
    with pytest.raises(AssertionError, match="queries of 1 classes"):
        check_queries(replace(shares, activation="softmax"), detector, images)


def test_a_second_stage_has_a_background() -> None:
    detector, images = Dots(("ship",)).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        knowledge = detector(images).knowledge
    for outputs, fits in ((2, True), (1, False)):
        asked = TwoStage(knowledge.dense, [], lambda _, boxes, k=outputs: judged(boxes, k))
        if fits:
            check_stages(asked, knowledge, detector, images)
            continue
        with pytest.raises(AssertionError, match=r"the judge gives logits \(5, 1\) for 5 boxes"):
            check_stages(asked, knowledge, detector, images)


def judged(boxes: Sequence[Tensor], outputs: int) -> tuple[Tensor, Tensor]:
    every = torch.cat(list(boxes))
    return torch.zeros(len(every), outputs), every[:, None]


class Lone(AttentionTransfer):  # type: ignore[misc]
    """An adapter that no term reaches."""

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        super().build(student, teacher)
        self.adapt = nn.Conv2d(student.pyramid[0].shape[1], 4, 1)


class Thief(AttentionTransfer):  # type: ignore[misc]
    """Keeps a part of the teacher among its own modules."""

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        super().build(student, teacher)
        assert teacher.head is not None
        self.head = teacher.head.finish.__self__  # type: ignore[attr-defined]


class OfObjects(AttentionTransfer):  # type: ignore[misc]
    """A mean over objects, of which there may be none."""

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        count = torch.cat([t.boxes for t in targets]).sum(1).mean()
        return {name: v * count for name, v in super().forward(student, teacher, targets).items()}


class OfCells(AttentionTransfer):  # type: ignore[misc]
    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        return {"at": student.pyramid[0].square().mean(1)}


class Away(AttentionTransfer):  # type: ignore[misc]
    """Asks for another map than the teacher's."""

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        other = replace(teacher, pyramid=tuple(1 + 2 * p.flip(3) for p in teacher.pyramid))
        found: dict[str, Tensor] = super().forward(student, other, targets)
        return found


class Rough(AttentionTransfer):  # type: ignore[misc]
    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        return {name: v.bfloat16() for name, v in super().forward(student, teacher, targets).items()}


class Deaf(AttentionTransfer):  # type: ignore[misc]
    """Compares all predictions, whatever the teacher may speak of."""

    features = False

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        assert student.dense is not None
        assert teacher.dense is not None
        n = student.dense.logits.shape[1]
        return {"logits": (student.dense.logits - teacher.dense.logits[:, :n]).square().mean()}


class Sightless(AttentionTransfer):  # type: ignore[misc]
    """Says that it needs no features, and does."""

    features = False


class Unkept(AttentionTransfer):  # type: ignore[misc]
    """Random weights that no state holds."""

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        super().build(student, teacher)
        self.gain = torch.rand(())

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        return {name: self.gain * v for name, v in super().forward(student, teacher, targets).items()}


class Worse(AttentionTransfer):  # type: ignore[misc]
    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        return uphill(super().forward(student, teacher, targets))


@pytest.mark.parametrize(
    ("broken", "test", "message"),
    [
        (Lone, "test_gradients_go_to_student_and_adapters_alone", "no term reaches the method's adapt.weight"),
        (Thief, "test_neither_network_is_part_of_it", "registers the teacher's head"),
        (OfObjects, "test_terms_are_finite_for_any_truth", "nothing: at is nan"),
        (OfCells, "test_terms_are_finite_for_any_truth", "not that of a scalar"),
        (Away, "test_a_perfect_student_has_nothing_to_learn", "pulls at a student that equals its teacher"),
        (Rough, "test_bfloat16_terms_are_finite_and_float32", "not float32"),
        (Deaf, "test_a_role_is_kept_or_refused", "logits is .* and pulls at a student whose teacher may not speak"),
        (Sightless, "test_a_black_box_is_served_or_refused", "refuse it with a SkystillError, not"),
        (Unkept, "test_adapters_are_kept", "with its state loaded: at differs"),
        (Worse, "test_it_teaches", "its terms go from"),
    ],
)
def test_a_broken_method_is_found(broken: Callable[[], Method], test: str, message: str) -> None:
    class Broken(MethodContract):
        def make(self) -> Method:
            return broken()

    with pytest.raises(AssertionError, match=message):
        getattr(Broken(), test)()


def test_a_contract_without_a_factory_says_what_to_override() -> None:
    for contract in (DetectorContract(), MethodContract()):
        with pytest.raises(NotImplementedError, match="override make"):
            contract.made()
