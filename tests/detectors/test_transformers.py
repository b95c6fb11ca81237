"""Set predictors of the transformers library: their own losses, their own files, their queries, their refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skystill
from skystill.boxes.nms import Selection
from skystill.detectors.weights import PRESETS, create, load, save
from skystill.errors import ConfigError
from skystill.structures import Targets

transformers = pytest.importorskip("transformers")

MakeDetector = Callable[..., skystill.Detector]
Scene = tuple[Tensor, list[Targets]]
SMALL: dict[str, dict[str, Any]] = {
    "hf_rtdetrv2_r18": {"num_queries": 20, "num_denoising": 4, "decoder_layers": 2},
    "hf_rtdetrv2_lite0": {"num_queries": 20, "num_denoising": 4, "decoder_layers": 2},
    "hf_dfine_s": {"num_queries": 20, "num_denoising": 4, "decoder_layers": 2},
    "hf_detr_r50": {"num_queries": 20, "encoder_layers": 1, "decoder_layers": 1},
    "hf_deformable_detr_r50": {"num_queries": 20, "encoder_layers": 1, "decoder_layers": 2, "auxiliary_loss": True},
}


def labels_of(targets: list[Targets], side: int) -> list[dict[str, Tensor]]:
    """Truth in the library's form, written out."""
    rows = []
    for target in targets:
        boxes = [
            [(a + c) / 2 / side, (b + d) / 2 / side, (c - a) / side, (d - b) / side] for a, b, c, d in target.boxes
        ]
        rows.append({"class_labels": target.labels, "boxes": torch.tensor(boxes).view(-1, 4)})
    return rows


@pytest.mark.parametrize("preset", SMALL)
def test_a_preset_trains_predicts_and_is_kept_whole(preset: str, scene: Scene, tmp_path: Path) -> None:
    images, targets = scene
    detector = create(preset, ("ship", "plane", "car"), config=SMALL[preset])
    assert detector.family == "transformers"
    output = detector.train()(images, targets)
    assert all(torch.isfinite(v) for v in output.losses.values())
    knowledge = output.knowledge
    assert knowledge.queries is not None
    assert knowledge.queries.logits.shape[:2] == (2, 20)  # none of those for denoising
    assert knowledge.queries.classes == 3
    for level, stride in zip(knowledge.pyramid, knowledge.strides, strict=True):
        assert level.shape[2:] == (64 // stride, 64 // stride)
    again = load(save(detector, tmp_path / "kept.safetensors"))
    for one, other in zip(detector.eval().raw(images), again.raw(images), strict=True):
        assert torch.equal(one, other)
    assert len(detector.predict(images, Selection(score=0.0, keep=7))[0]) == 7


@pytest.mark.parametrize("preset", ["hf_rtdetrv2_r18", "hf_rtdetrv2_lite0", "hf_dfine_s", "hf_deformable_detr_r50"])
def test_from_random_weights_the_encoders_maps_are_not_lost(preset: str, scene: Scene) -> None:
    """The library starts RT-DETR's batch norms near 0, and its maps at a thousandth."""
    torch.manual_seed(0)
    detector = create(preset, ("ship",), config=SMALL[preset]).train()
    with torch.no_grad():
        pyramid = detector(scene[0]).knowledge.pyramid
    assert all(level.std() > 0.05 for level in pyramid), [float(level.std()) for level in pyramid]


def test_pretrained_norms_stay(make_model: Callable[..., nn.Module], tmp_path: Path) -> None:
    model = make_model("rtdetr")
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    nn.init.constant_(norm.weight, 0.25)
    model.save_pretrained(tmp_path)
    detector = create("hf_rtdetrv2_r18", ("ship", "plane", "car"), base="", pretrained=str(tmp_path))
    kept = next(m for m in detector.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.equal(kept.weight, norm.weight)


def test_a_timm_backbone_is_found_by_its_name_and_takes_timms_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(state, tmp_path / "timm.pth")
    detector = create("hf_rtdetrv2_lite0", ("ship",), str(tmp_path / "timm.pth"))
    assert PRESETS["hf_rtdetrv2_lite0"].backbone == "tf_efficientnet_lite0"
    backbone = detector.get_submodule("backbone")
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["rtdetr", "detr"])
def test_terms_add_up_to_the_librarys_own_loss(make_model: Callable[..., nn.Module], scene: Scene, name: str) -> None:
    images, targets = scene
    model: Any = make_model(name).train()
    detector = skystill.wrap(model, ["ship", "plane", "car"])
    torch.manual_seed(3)
    losses = detector(images, targets).losses
    torch.manual_seed(3)
    seen = (images - detector.mean) / detector.std
    assert float(sum(losses.values())) == pytest.approx(
        float(model(pixel_values=seen, labels=labels_of(targets, 64)).loss), rel=1e-4
    )
    assert {"bbox", "giou"} < set(losses)


@pytest.mark.parametrize("name", ["rtdetr", "detr"])
def test_boxes_and_scores_are_the_librarys_own(make_model: Callable[..., nn.Module], scene: Scene, name: str) -> None:
    images = scene[0]
    model: Any = make_model(name).eval()
    detector = skystill.wrap(model, ["ship", "plane", "car"]).eval()
    scores, boxes = detector.raw(images)
    told = model(pixel_values=(images - detector.mean) / detector.std)
    if name == "rtdetr":
        expected = told.logits.sigmoid()
    else:
        expected = told.logits.softmax(-1)[..., :-1]
    assert torch.allclose(scores, expected)
    cx, cy, w, h = (told.pred_boxes * 64).unbind(-1)
    assert torch.allclose(boxes, torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1), atol=1e-4)


def test_a_distilled_student_is_the_librarys_again(make_detector: MakeDetector, scene: Scene, tmp_path: Path) -> None:
    images, targets = scene
    student = make_detector("rtdetr", seed=1)
    distiller = skystill.Distiller(student, make_detector("gfl", seed=2), skystill.LTD())
    optimizer = torch.optim.SGD(distiller.parameters(), 1e-3)
    sum(distiller(images, targets).values()).backward()
    optimizer.step()
    model: Any = student.model
    model.eval().save_pretrained(tmp_path)
    plain = transformers.AutoModelForObjectDetection.from_pretrained(tmp_path).eval()
    assert plain.config.id2label == {0: "ship", 1: "plane", 2: "car"}
    assert torch.equal(plain(images).pred_boxes, model(images).pred_boxes)
    # And from that folder to a detector of other classes: the head starts anew, the rest is kept.
    other = create("hf_rtdetrv2_r18", ("a", "b"), pretrained=str(tmp_path), base="")
    assert torch.equal(next(iter(other.backbone.parameters())), next(iter(student.backbone.parameters())))
    assert len(other.classes) == other(images).knowledge.queries.classes == 2  # type: ignore[union-attr]


def test_overlapping_queries_are_all_kept(make_detector: MakeDetector) -> None:
    """NMS is for heads that tell an object several times."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9.5]]])
    scores = torch.tensor([[[0.9, 0, 0], [0.8, 0, 0]]])
    assert len(make_detector("rtdetr").select(scores, boxes)[0]) == 2
    assert len(make_detector("gfl").select(scores, boxes)[0]) == 1


def test_other_bands(scene: Scene) -> None:
    for preset in ("hf_rtdetrv2_r18", "hf_dfine_s"):
        detector = create(preset, ("ship",), in_chans=5, config=SMALL[preset])
        assert detector.in_chans == 5
        assert detector.eval().raw(torch.rand(1, 5, 64, 64))[0].shape == (1, 20, 1)
        with pytest.raises(ConfigError, match="3 bands but the detector takes 5"):
            detector(scene[0])


def test_refusals_are_one_line(make_model: Callable[..., nn.Module], tmp_path: Path) -> None:
    model = make_model("rtdetr")
    own = make_model("rtdetr")
    own.config.id2label = {0: "plane", 1: "ship", 2: "car"}  # type: ignore[union-attr]
    yolos = transformers.YolosForObjectDetection(
        transformers.YolosConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    for call, word in (
        (lambda: skystill.wrap(model, ["ship"]), "num_labels=1"),
        (lambda: skystill.wrap(own, ["ship", "plane", "car"]), "another order: plane, ship, car"),
        (lambda: skystill.wrap(own, ["boat", "jet", "car"]), "labels are others: plane, ship, car. Give these"),
        (lambda: skystill.wrap(yolos, ["ship"]), "none of the detectors"),
        (lambda: skystill.wrap(model, ["a", "b", "c"], kind="obb"), "upright"),
        (lambda: create("hf_detr_r50", ("a",), base="huge"), "huge"),
        (lambda: create("hf_detr_r50", ("a",), base="", model="yolos"), "yolos"),
        (lambda: create("hf_detr_r50", ("a",), base="", pretrained=str(tmp_path / "none")), "no folder"),
        (lambda: create("hf_detr_r50", ("a",), config={"num_queriess": 5}), "DetrConfig. Did you mean num_queries"),
        (lambda: skystill.wrap(model, ["a", "b", "c"]).predict(torch.rand(1, 3, 97, 96)), "multiples of 32"),
        (lambda: create("hf_rtdetrv2_r18", ("a",), config={"d_model": 30}), "cannot build"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_presets_do_not_load_the_library() -> None:
    import subprocess
    import sys

    code = "import sys, skystill.detectors.weights as w; print(len(w.PRESETS), 'transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [str(len(PRESETS)), "False"]
