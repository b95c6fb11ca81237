"""A wrapped YOLO is ultralytics' own model: its losses, its detections, its state dict, its files."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import skystill
from skystill.boxes.nms import Selection, select_batch
from skystill.detectors.ultralytics import UltralyticsDetector
from skystill.structures import Targets

pytest.importorskip("ultralytics")

CLASSES = ("ship", "plane", "car")
NAMES = ("yolo11", "yolo26")
MakeModel = Callable[..., nn.Module]
Scene = tuple[Tensor, list[Targets]]


def wrapped(model: nn.Module) -> UltralyticsDetector:
    detector = skystill.wrap(model, CLASSES)
    assert isinstance(detector, UltralyticsDetector)
    return detector


def as_theirs(images: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
    """A batch as ultralytics' loader makes it, object by object."""
    rows = []
    for index, target in enumerate(targets):
        for (x1, y1, x2, y2), label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
            rows.append([index, label, (x1 + x2) / 2 / 64, (y1 + y2) / 2 / 64, (x2 - x1) / 64, (y2 - y1) / 64])
    table = torch.tensor(rows)
    return {"img": images, "batch_idx": table[:, 0], "cls": table[:, 1:2], "bboxes": table[:, 2:]}


def their_losses(model: nn.Module, images: Tensor, targets: list[Targets], epoch: int = 0) -> Tensor:
    """box, cls, dfl of ultralytics' own call after some epochs of five, as its trainer counts them."""
    from ultralytics.cfg import get_cfg

    model.args = get_cfg(overrides={"epochs": 5})  # type: ignore[assignment]
    model.criterion = model.init_criterion()  # type: ignore[operator]
    for _ in range(epoch):
        model.criterion.update()  # type: ignore[union-attr, operator]
    found: Tensor = model.train()(as_theirs(images, targets))[0]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_the_model_itself(make_model: MakeModel, scene: Scene, name: str) -> None:
    images, targets = scene
    found = wrapped(make_model(name)).train()(images, targets).losses
    wanted = their_losses(make_model(name), images, targets)
    assert list(found) == ["box_loss", "cls_loss", "dfl_loss" if name == "yolo11" else "l1_loss"]
    for value, theirs in zip(found.values(), wanted, strict=True):
        assert value.requires_grad
        assert value > 0
        assert torch.allclose(2 * value, theirs, rtol=1e-5)  # ultralytics sums over the two images


def test_the_one_to_one_head_counts_for_more_as_training_goes_on(make_model: MakeModel, scene: Scene) -> None:
    images, targets = scene
    model = make_model("yolo26")
    detector = wrapped(deepcopy(model)).train()
    for epoch in (1, 4):
        detector.set_progress(epoch / 4)
        found = torch.stack(list(detector(images, targets).losses.values()))
        wanted = their_losses(deepcopy(model), images, targets, epoch)
        assert torch.allclose(2 * found, wanted, rtol=1e-4)
        detector = wrapped(deepcopy(model)).train()


def test_the_models_own_weights_of_the_terms_count(make_model: MakeModel, scene: Scene) -> None:
    model = make_model("yolo11")
    model.args = {"box": 15.0, "cls": 0.5}  # type: ignore[assignment]
    found = wrapped(model).train()(*scene).losses
    usual = wrapped(make_model("yolo11")).train()(*scene).losses
    assert torch.allclose(found["box_loss"], 2 * usual["box_loss"])
    assert torch.allclose(found["cls_loss"], usual["cls_loss"])
    assert model.args == {"box": 15.0, "cls": 0.5}


@pytest.mark.parametrize("name", NAMES)
def test_boxes_and_scores_are_those_of_its_own_head(make_model: MakeModel, scene: Scene, name: str) -> None:
    images, _ = scene
    model = make_model(name).eval()
    with torch.no_grad():
        theirs = model(images)[0]  # (B, 4 + K, N), boxes as centre, width, height
        scores, boxes = wrapped(model).raw(images)
    centre, size = theirs[:, :2].transpose(1, 2), theirs[:, 2:4].transpose(1, 2)
    assert torch.allclose(boxes, torch.cat([centre - size / 2, centre + size / 2], -1), atol=1e-3)
    assert torch.allclose(scores, theirs[:, 4:].transpose(1, 2), atol=1e-6)
    assert scores.std() > 1e-4


def test_an_end_to_end_model_detects_by_its_other_head_and_without_nms(make_model: MakeModel, scene: Scene) -> None:
    images, _ = scene
    model = make_model("yolo26").eval()
    detector = wrapped(model)
    assert detector.nms
    dense = detector.raw(images)
    model.end2end = True  # type: ignore[assignment]
    assert not detector.nms
    assert not torch.equal(detector.raw(images)[0], dense[0])
    with torch.no_grad():
        theirs = model(images)[0]  # (B, places, 6): every place is kept, there are fewer than 300
    for found, wanted in zip(detector.predict(images, Selection(0.0, 84, 0.6, 84)), theirs, strict=True):
        assert len(found) == len(wanted) == 84
        rows = torch.cat([found.boxes, found.scores[:, None], found.labels[:, None].float()], 1)
        gap = (rows[:, None] - wanted[None]).abs().amax(2)
        assert gap.amin(0).max() < 1e-3
        assert gap.amin(1).max() < 1e-3


def test_a_forward_runs_the_model_once_and_leaves_its_modes(make_model: MakeModel, scene: Scene) -> None:
    images, targets = scene
    for name in NAMES:
        detector = wrapped(make_model(name))
        norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
        before = [int(m.num_batches_tracked) for m in norms]  # type: ignore[arg-type]
        detector.train()(images, targets)
        assert all(m.training for m in detector.modules())
        assert [int(m.num_batches_tracked) for m in norms] == [n + 1 for n in before]  # type: ignore[arg-type]
        kept = {k: v.clone() for k, v in detector.eval().state_dict().items()}
        detector(images, targets)
        assert not any(m.training for m in detector.modules())
        assert all(torch.equal(v, kept[k]) for k, v in detector.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_knowledge_is_a_place_for_each_cell(make_model: MakeModel, scene: Scene, name: str) -> None:
    knowledge = wrapped(make_model(name)).eval()(scene[0]).knowledge
    dense = knowledge.dense
    assert dense is not None
    assert knowledge.strides == (8, 16, 32)
    assert [p.shape[2] for p in knowledge.pyramid] == [8, 4, 2]
    assert dense.levels == (64, 16, 4)
    assert dense.logits.shape == (2, 84, 3)
    assert (None if dense.edges is None else dense.edges.shape) == ((2, 84, 4, 16) if name == "yolo11" else None)
    # The first place of the second level lies about the centre of its cell, eight strides wide.
    assert dense.places[64].tolist() == [8 - 64, 8 - 64, 8 + 64, 8 + 64]


def test_a_lesson_reaches_what_both_heads_predict_with(make_model: MakeModel, scene: Scene) -> None:
    student = wrapped(make_model("yolo26")).train()
    before = student.eval().raw(scene[0])[0].detach()
    student.model.end2end = True
    single = student.raw(scene[0])[0].detach()
    dense = student.train()(scene[0]).knowledge.dense
    assert dense is not None
    (dense.logits.sigmoid() ** 2).sum().backward()
    grads = {name: p.grad for name, p in student.model.named_parameters()}
    assert all(grads[n] is None for n in grads if ".one2one_" in n)
    assert all(grads[n] is not None for n in grads if n.startswith("model.0."))
    torch.optim.SGD(student.parameters(), 0.01).step()
    student.eval()
    assert not torch.allclose(student.raw(scene[0])[0], single, atol=1e-4)
    student.model.end2end = False
    assert not torch.allclose(student.raw(scene[0])[0], before, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_distilled_student_is_a_file_of_ultralytics_which_detects_the_same(
    make_model: MakeModel, make_gfl: MakeModel, scene: Scene, tmp_path: Path, name: str
) -> None:
    from ultralytics import YOLO
    from ultralytics.utils.nms import non_max_suppression

    yolo = YOLO(f"{name}n.yaml")
    yolo.model = make_model(name)
    student = wrapped(yolo)
    distiller = skystill.Distiller(student, make_gfl(1), skystill.LTD())
    optimizer = torch.optim.SGD(distiller.parameters(), 0.001)
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(distiller(*scene).values())).sum().backward()
        optimizer.step()
    student.half().float().eval()  # ultralytics' files hold 16 bits
    yolo.save(str(tmp_path / "student.pt"))
    plain = YOLO(str(tmp_path / "student.pt"))
    assert plain.names == dict(enumerate(CLASSES))
    assert plain.model.state_dict().keys() == student.model.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(plain.model(scene[0])[0], student.model(scene[0])[0])
    for found, wanted in zip(student.predict(scene[0]), skystill.wrap(plain, CLASSES).predict(scene[0]), strict=True):
        assert torch.equal(found.boxes, wanted.boxes)
        assert torch.equal(found.scores, wanted.scores)
    scores, boxes = student.raw(scene[0])
    # ultralytics predicts one class at a place, also where two score the same.
    best = scores * torch.nn.functional.one_hot(scores.argmax(2), scores.shape[2])
    ours = select_batch(best, boxes, Selection(0.001, 1000, 0.6, 300))
    with torch.no_grad():
        for found, wanted in zip(ours, non_max_suppression(plain.model(scene[0]), 0.001, 0.6), strict=True):
            assert len(found) == len(wanted) > 3
            assert torch.allclose(found.boxes, wanted[:, :4], atol=1e-2)
            assert torch.allclose(found.scores, wanted[:, 4], atol=1e-5)
    assert len(plain.predict(scene[0], imgsz=64, conf=0.001, verbose=False)[0].boxes) > 3


def test_a_checkpoints_frozen_weights_learn_again(make_model: MakeModel) -> None:
    detector = wrapped(make_model("yolo11").requires_grad_(False))
    assert {n for n, p in detector.named_parameters() if not p.requires_grad} == {"model.model.23.dfl.conv.weight"}
    partly = make_model("yolo11")
    partly.get_submodule("model.0").requires_grad_(False)
    assert not next(wrapped(partly).parameters()).requires_grad


def test_an_ignored_object_is_no_object(make_model: MakeModel, scene: Scene) -> None:
    images, (first, second) = scene
    ignored = Targets(first.boxes, first.labels, torch.tensor([True, True, True]))
    model = make_model("yolo11").eval()
    a = wrapped(model)(images, [ignored, second]).losses
    b = wrapped(model)(images, [Targets.empty(), second]).losses
    assert all(torch.equal(a[key], b[key]) for key in b)
    assert all(torch.isfinite(v) for v in b.values())


def test_small_boxes_keep_their_place_under_bfloat16(make_model: MakeModel, scene: Scene) -> None:
    for name in NAMES:
        detector = wrapped(make_model(name)).train()
        with torch.autocast("cpu", torch.bfloat16):
            output = detector(*scene)
        dense = output.knowledge.dense
        assert dense is not None
        assert dense.places.dtype == dense.boxes.dtype == torch.float32
        assert all(torch.isfinite(v) and v.dtype == torch.float32 for v in output.losses.values())


def test_backbone_and_neck_are_what_comes_before_the_head(make_model: MakeModel) -> None:
    detector = wrapped(make_model("yolo11"))
    assert len(detector.backbone) + len(detector.neck) + 1 == len(detector.model.model)  # type: ignore[arg-type]
    assert detector.get_submodule("backbone").get_submodule("0") is detector.model.model[0]
    assert type(detector.neck.get_submodule("0")).__name__ == "Upsample"
