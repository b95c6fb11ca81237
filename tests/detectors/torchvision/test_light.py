"""The light forms over timm backbones: torchvision's own classes, small, kept and taught as any other."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.models import detection

import skystill
from skystill.detectors.weights import create, load, save
from skystill.distillation.cache import layout_of, pack, unpack
from skystill.distillation.distiller import in_float32
from skystill.distillation.methods import make_method
from skystill.errors import ConfigError
from skystill.structures import Targets

CLASSES = ("ship", "plane", "car")
KINDS = {"fcos_light": detection.FCOS, "fasterrcnn_light": detection.FasterRCNN}


def make(model: str, **settings: Any) -> skystill.Detector:
    torch.manual_seed(0)
    return create("tv_fcos_mnv3s", CLASSES, model=model, backbone="mobilenetv3_small_050", width=32, **settings)


def scene() -> tuple[torch.Tensor, list[Targets]]:
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    return images, [
        Targets(torch.tensor([[10.0, 12, 30, 40], [50, 50, 80, 90]]), torch.tensor([0, 2])),
        Targets.empty(),
    ]


@pytest.mark.parametrize("model", KINDS)
def test_every_part_learns_by_torchvisions_own_losses(model: str) -> None:
    detector = make(model).train()
    assert type(detector.model) is KINDS[model]
    images, targets = scene()
    output = detector(images, targets)
    assert output.knowledge.strides == (8, 16, 32)
    assert [level.shape[1:] for level in output.knowledge.pyramid] == [(32, 12, 12), (32, 6, 6), (32, 3, 3)]
    torch.stack(list(output.losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("model", KINDS)
def test_what_is_loaded_is_what_was_saved(model: str, tmp_path: Path) -> None:
    detector = make(model, in_chans=1, mean=[0.5], std=[0.5]).eval()
    again = load(save(detector, tmp_path / "light.safetensors"))
    assert again.config() == detector.config()
    image = scene()[0][:, :1]
    with torch.no_grad():
        for one, other in zip(detector.raw(image), again.raw(image), strict=True):
            assert torch.equal(one, other)


def test_the_backbone_takes_timms_weights(tmp_path: Path) -> None:
    state = timm.create_model("mobilenetv3_small_050").state_dict()
    torch.save(state, tmp_path / "timm.pth")
    detector = create("tv_fcos_mnv3s", CLASSES, str(tmp_path / "timm.pth"), backbone="mobilenetv3_small_050")
    assert all(torch.equal(v, state[name]) for name, v in detector.get_submodule("backbone").state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 40}, "width is 40. Give a multiple of 32"),
        ({"frozen_norms": 0.0}, r"Set detector\.freeze_norms"),
        ({"backbone": "no_such_net"}, r"backbone 'no_such_net'.*List names"),
        ({"backbone": "vit_tiny_patch16_224"}, "backbone 'vit_tiny_patch16_224'"),
    ],
)
def test_what_makes_no_detector_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        create("tv_fcos_mnv3s", CLASSES, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "settings"), [("ltd", {"places": 4096}), ("ltd_plus", {}), ("sl2", {}), ("bckd", {})])
def test_a_two_stage_teacher_that_was_kept_teaches_a_one_stage_student_as_the_live_one(
    name: str, settings: dict[str, Any]
) -> None:
    images, targets = scene()
    student = skystill.create("gfl_mnv3s_050", CLASSES, neck_channels=32, head_channels=32)
    teacher = make("fasterrcnn_light")
    for layer in ("model.rpn.head.cls_logits", "model.roi_heads.box_predictor.cls_score"):  # scores that differ
        torch.nn.init.normal_(teacher.get_parameter(f"{layer}.weight"), std=9.0)
    distiller = skystill.Distiller(student, teacher, make_method(name, settings)).eval()
    kept = distiller.ask_to_keep(teacher, images)
    assert kept.stages is None
    told = in_float32(unpack(pack(kept), layout_of(kept)))
    seen = student(images).knowledge
    method = distiller.methods[0]
    torch.manual_seed(0)
    live = method(seen, distiller.ask(teacher, images), targets)
    torch.manual_seed(0)
    read = method(seen, told, targets)
    assert live.keys() == read.keys()
    for name, value in live.items():
        torch.testing.assert_close(read[name], value, rtol=1e-2, atol=1e-4)


def test_the_second_stage_of_a_two_stage_student_needs_the_live_teacher() -> None:
    teacher = make("fasterrcnn_light")
    distiller = skystill.Distiller(make("fasterrcnn_light"), teacher, skystill.LTD())
    with pytest.raises(ConfigError, match="holds no second stages and no black boxes; leave it away for this pair"):
        layout_of(distiller.ask_to_keep(teacher, scene()[0]))
