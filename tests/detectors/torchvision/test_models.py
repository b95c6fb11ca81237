"""A wrapped torchvision model is torchvision's model: its losses, its detections, its state dict."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection

import skystill
from skystill.boxes.atss import atss
from skystill.boxes.nms import Selection
from skystill.detectors.torchvision import TorchvisionDetector
from skystill.errors import ConfigError
from skystill.structures import Targets

CLASSES = ("ship", "plane", "car")
NAMES = ("retinanet", "fcos", "fasterrcnn", "ssdlite")
ONE_STAGE = ("retinanet", "fcos", "ssdlite")
MakeModel = Callable[..., nn.Module]
Scene = tuple[Tensor, list[Targets]]


def without_limits(model: nn.Module) -> Selection:
    """The model's own thresholds, with room for every detection."""
    part = getattr(model, "roi_heads", model)
    part.detections_per_img = part.topk_candidates = 10_000
    return Selection(part.score_thresh, 10_000, part.nms_thresh, 10_000)


def dicts(targets: list[Targets]) -> list[dict[str, Tensor]]:
    return [{"boxes": t.boxes, "labels": t.labels + 1} for t in targets]


def speak_up(model: nn.Module, images: Tensor) -> None:
    """Class logits of deviation 1, so that scores differ from place to place and rounding orders no two of them."""

    def scale(layer: nn.Module, _: object, output: Tensor) -> None:
        layer.get_parameter("weight").data.div_(output.std())

    for name, module in model.named_modules():
        if re.search(r"cls_logits$|cls_score$|classification_head\.module_list\.\d\.1$", name):
            hook = module.register_forward_hook(scale)
            with torch.no_grad():
                model.eval()(list(images))
            hook.remove()


def rows(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """(D, 6) detections to be compared in any order, since equal scores have none."""
    return torch.cat([boxes, 100 * scores[:, None], 100 * labels[:, None]], 1)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_the_model_itself(make_model: MakeModel, scene: Scene, name: str) -> None:
    images, targets = scene
    model = make_model(name)
    torch.manual_seed(3)  # Faster R-CNN samples proposals
    wanted = model.train()(list(images), dicts(targets))
    torch.manual_seed(3)
    found = skystill.wrap(make_model(name), CLASSES).train()(images, targets).losses
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert value.requires_grad
        assert torch.allclose(found[key], value, rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_state_loads_into_the_plain_model_which_detects_the_same(
    make_model: MakeModel, scene: Scene, name: str
) -> None:
    images, targets = scene
    student = skystill.wrap(make_model(name), CLASSES).train()
    assert isinstance(student, TorchvisionDetector)
    optimizer = torch.optim.SGD(student.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(student(images, targets).losses.values())).sum().backward()
        optimizer.step()
    speak_up(student.model, images)
    plain = make_model(name, seed=9).eval()
    how = without_limits(plain)
    plain.load_state_dict(student.model.state_dict(), strict=True)
    found = student.eval().predict(images, how)
    with torch.no_grad():
        wanted = plain(list(images))
    assert sum(map(len, found)) > 20
    for ours, theirs in zip(found, wanted, strict=True):
        kept = theirs["labels"] > 0  # RetinaNet and FCOS may also report their unused output 0
        assert len(ours) == int(kept.sum())
        a, b = rows(ours.boxes, ours.scores, ours.labels + 1), rows(**{k: v[kept] for k, v in theirs.items()})
        gap = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        assert gap.amin(0).max() < 1e-3
        assert gap.amin(1).max() < 1e-3


@pytest.mark.parametrize("name", ONE_STAGE)
def test_dense_knowledge_is_a_place_for_each_anchor(make_model: MakeModel, scene: Scene, name: str) -> None:
    detector = skystill.wrap(make_model(name), CLASSES).eval()
    knowledge = detector(scene[0]).knowledge
    dense = knowledge.dense
    assert knowledge.strides == (8, 16, 32, 64)
    assert dense is not None
    anchors = {"retinanet": [4] * 4, "fcos": [1] * 4, "ssdlite": [4, 4, 6, 4]}[name]
    assert dense.levels == tuple(p.shape[2] * p.shape[3] * a for p, a in zip(knowledge.pyramid, anchors, strict=True))
    assert dense.places.shape == (sum(dense.levels), 4)
    assert dense.boxes.shape == (2, sum(dense.levels), 4)
    assert dense.scores().shape == (2, sum(dense.levels), 3)
    assert dense.activation == ("softmax" if name == "ssdlite" else "sigmoid")
    # The anchors of a cell lie side by side: their centres agree.
    centre = ((dense.places[:, :2] + dense.places[:, 2:]) / 2)[: dense.levels[0]].view(64, anchors[0], 2)
    assert torch.allclose(centre, centre[:, :1].expand_as(centre), atol=1.0)


def test_fcos_ranks_by_centerness_but_teaches_classes(make_model: MakeModel, scene: Scene) -> None:
    detector = skystill.wrap(make_model("fcos"), CLASSES).eval()
    with torch.no_grad():
        scores, _ = detector.raw(scene[0])
        dense = detector(scene[0]).knowledge.dense
        outputs = detector.model.head(list(detector.features(scene[0])[1].values()))  # type: ignore[union-attr,operator]
    assert dense is not None
    assert torch.allclose(dense.scores(), outputs["cls_logits"][..., 1:].sigmoid(), atol=1e-6)
    assert torch.allclose(scores, (dense.scores() * outputs["bbox_ctrness"].sigmoid()).sqrt(), atol=1e-6)


def test_ssd_tells_its_background_last(make_model: MakeModel, scene: Scene) -> None:
    detector = skystill.wrap(make_model("ssdlite"), CLASSES).eval()
    dense = detector(scene[0]).knowledge.dense
    maps = detector.features(scene[0])[1].values()  # type: ignore[operator]
    own = detector.model.head(list(maps))["cls_logits"].softmax(-1)  # type: ignore[union-attr,operator]
    assert dense is not None
    assert torch.allclose(dense.logits.softmax(-1)[..., -1], own[..., 0], atol=1e-6)
    assert torch.allclose(dense.scores(), own[..., 1:], atol=1e-6)


def test_both_stages_show_what_they_see(make_model: MakeModel, scene: Scene) -> None:
    images, targets = scene
    detector = skystill.wrap(make_model("fasterrcnn"), CLASSES)
    knowledge = detector.train()(images, targets).knowledge
    assert all(part.training for part in detector.modules())
    stages = knowledge.stages
    assert stages is not None
    assert stages.first.logits.shape == (2, 170, 1)
    assert stages.first.levels == (128, 32, 8, 2)
    assert all(0 < len(p) <= 50 and not p.requires_grad for p in stages.proposals)
    # The second stage says of proposals what the model itself says of them.
    detector.eval()
    with torch.no_grad():
        logits, boxes = stages.judge(knowledge.pyramid, stages.proposals)
        maps = dict(zip("0123", knowledge.pyramid, strict=True))
        roi = detector.model.roi_heads  # type: ignore[union-attr]
        found, _ = roi(maps, stages.proposals, [(64, 64)] * 2)  # type: ignore[operator]
    scores = logits.softmax(-1)[:, :-1].split([len(p) for p in stages.proposals])
    for seen, every, box in zip(found, scores, boxes.split([len(s) for s in scores]), strict=True):
        for b, s, label in zip(seen["boxes"], seen["scores"], seen["labels"], strict=True):
            same = (box[:, label - 1].clamp(0, 64) - b).abs().amax(1) < 1e-3
            assert (every[same, label - 1] - s).abs().min() < 1e-5


def test_an_ignored_object_is_no_object(make_model: MakeModel, scene: Scene) -> None:
    images, (first, second) = scene
    ignored = Targets(first.boxes, first.labels, torch.tensor([True, True, True]))
    detector = skystill.wrap(make_model("fcos"), CLASSES)
    a = detector(images, [ignored, second]).losses
    b = detector(images, [Targets.empty(), second]).losses
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_small_boxes_keep_their_place_under_bfloat16(make_model: MakeModel, scene: Scene) -> None:
    detector = skystill.wrap(make_model("retinanet"), CLASSES).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = detector(*scene)
    assert output.knowledge.dense is not None
    assert output.knowledge.dense.places.dtype == torch.float32
    assert all(torch.isfinite(v) for v in output.losses.values())


def test_without_background_every_output_is_a_class(make_model: MakeModel) -> None:
    four = ("a", "b", "c", "d")
    detector = skystill.wrap(make_model("fcos"), four).eval()
    assert detector.raw(torch.rand(2, 3, 64, 64))[0].shape[2] == 4


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("fcos", ("a", "b"), "2 classes do not fit a head of 4 outputs.*Give 3 or 4 classes.*num_classes=3"),
        ("ssdlite", ("a", "b", "c", "d"), "Give 3 classes"),
        ("fasterrcnn", ("a",), "Give 3 classes"),
    ],
)
def test_classes_that_do_not_fit_the_head_are_told(
    make_model: MakeModel, name: str, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        skystill.wrap(make_model(name), classes)
    assert "\n" not in str(caught.value)


def test_other_bands_and_other_tasks_are_told(make_model: MakeModel) -> None:
    with pytest.raises(ConfigError, match="4 bands but the detector takes 3"):
        skystill.wrap(make_model("fcos"), CLASSES)(torch.rand(1, 4, 64, 64))
    masks = make_model("fasterrcnn")
    masks.__class__ = detection.MaskRCNN
    with pytest.raises(ConfigError, match="torchvision's MaskRCNN is no detector that skystill knows"):
        skystill.wrap(masks, CLASSES)


def test_a_batch_too_small_for_batch_norm_is_told() -> None:
    detector = skystill.create("tv_ssdlite", ["ship"]).train()
    with pytest.raises(ConfigError, match=r"1 image of 96 x 96 px\. Give a batch of 2 or more") as caught:
        detector(torch.rand(1, 3, 96, 96))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_the_head_opens_before_the_last_convolution_of_its_towers(
    make_model: MakeModel, scene: Scene, name: str
) -> None:
    images, _ = scene
    model = make_model(name)
    detector = skystill.wrap(model, CLASSES).eval()
    seen: dict[str, list[Tensor]] = {"classification": [], "regression": []}
    for task, calls in seen.items():
        convs = [m for m in model.get_submodule(f"head.{task}_head.conv").modules() if isinstance(m, nn.Conv2d)]
        convs[-1].register_forward_pre_hook(lambda _, given, calls=calls: calls.append(given[0]))
    with torch.no_grad():
        known = detector(images).knowledge
    head, dense = known.head, known.dense
    assert head is not None
    assert dense is not None
    for number, calls in enumerate(seen.values()):
        assert len(head.maps) == len(calls) == len(known.strides)
        assert all(torch.equal(pair[number], given) for pair, given in zip(head.maps, calls, strict=True))
    with torch.no_grad():
        some = head.finish([head.maps[2], head.maps[0]], [2, 0])
        scores, _ = detector.raw(images)
    parts = torch.split(dense.logits, list(dense.levels), 1)
    torch.testing.assert_close(some.logits, torch.cat([parts[2], parts[0]], 1))
    assert some.levels == (dense.levels[2], dense.levels[0])
    boxes = torch.split(dense.boxes, list(dense.levels), 1)
    torch.testing.assert_close(some.boxes, torch.cat([boxes[2], boxes[0]], 1))
    assert scores.shape == dense.logits.shape


def test_opening_a_head_adds_no_weights(make_model: MakeModel, scene: Scene) -> None:
    images, targets = scene
    detector = skystill.wrap(make_model("fcos"), CLASSES).train()
    before = list(detector.state_dict())
    losses = detector(images, targets).losses
    sum(losses.values(), torch.zeros(())).backward()
    assert list(detector.state_dict()) == before
    assert all(p.grad is not None for n, p in detector.named_parameters() if ".head." in n)


@pytest.mark.parametrize("side", [20, 40, 60])
def test_places_of_fcos_are_of_the_size_that_regions_expect(make_model: MakeModel, side: int) -> None:
    """What ATSS takes for an object's places is where FCOS's own assignment has it: on the same level, at least."""
    detector = skystill.wrap(make_model("fcos"), CLASSES).eval()
    dense = detector(torch.rand(1, 3, 128, 128)).knowledge.dense
    assert dense is not None
    middle, half = 62.0, side / 2
    box = torch.tensor([[middle - half, middle - half, middle + half, middle + half]])
    found = (atss(dense.places, dense.levels, box).object >= 0).nonzero().flatten()
    assert len(found)
    assert found.max() < dense.levels[0] + dense.levels[1]
    strides = (dense.places[:, 2] - dense.places[:, 0]) / 8
    assert strides.unique().tolist() == list(map(float, detector(torch.rand(1, 3, 128, 128)).knowledge.strides))
