"""Tiny models of every family, each built as a user of that library would build it."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import MultiScaleRoIAlign

import skystill
from skystill.detectors.gfl import GFL
from skystill.structures import Detections, Targets

CLASSES = ("ship", "plane", "car")
SIDE = 64


def body() -> nn.Sequential:
    """Layers at strides 8, 16 and 32."""

    def layer(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())

    return nn.Sequential(
        OrderedDict(stem=layer(3, 8, 4), layer1=layer(8, 16, 2), layer2=layer(16, 16, 2), layer3=layer(16, 16, 2))
    )


def pyramid() -> BackboneWithFPN:
    """32 channels at strides 8, 16, 32 and 64."""
    return BackboneWithFPN(body(), {"layer1": "0", "layer2": "1", "layer3": "2"}, [16, 16, 16], 32)


def retinanet() -> nn.Module:
    anchors = AnchorGenerator(((16, 24), (32, 48), (64, 96), (128, 192)), ((1.0, 2.0),) * 4)
    return detection.RetinaNet(pyramid(), 4, min_size=SIDE, max_size=SIDE, anchor_generator=anchors, score_thresh=1e-4)


def fcos() -> nn.Module:
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
    return detection.FCOS(pyramid(), 4, min_size=SIDE, max_size=SIDE, anchor_generator=anchors, score_thresh=1e-4)


def fasterrcnn() -> nn.Module:
    return detection.FasterRCNN(
        pyramid(),
        min_size=SIDE,
        max_size=SIDE,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,), (128,)), ((1.0, 2.0),) * 4),
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=20,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 3, 2),
        box_head=TwoMLPHead(32 * 9, 16),
        box_predictor=FastRCNNPredictor(16, 4),
        box_score_thresh=1e-4,
    )


class Maps(nn.Module):
    """The layers of `body` as SSD takes them: one map each, of its own width."""

    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.coarse = nn.Conv2d(16, 24, 3, 2, 1)
        self.out_channels = [16, 16, 16, 24]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x, maps = self.body.stem(images), OrderedDict()
        for name in ("layer1", "layer2", "layer3"):
            x = self.body.get_submodule(name)(x)
            maps[name] = x
        maps["coarse"] = self.coarse(x)
        return maps


def ssdlite() -> nn.Module:
    backbone, anchors = Maps(), DefaultBoxGenerator([[2], [2], [2, 3], [2]])
    head = SSDLiteHead(backbone.out_channels, anchors.num_anchors_per_location(), 4, nn.BatchNorm2d)
    return detection.ssd.SSD(backbone, anchors, (SIDE, SIDE), 4, head=head, score_thresh=1e-4)


def set_predictor(name: str) -> nn.Module:
    """A tiny model of transformers': RT-DETRv2 with three levels, or DETR with one and a softmax."""
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 24], "layer_type": "basic"}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    labels = {"num_labels": len(CLASSES), "num_queries": 12, "d_model": 32, "decoder_layers": 2, **heads}
    if name == "detr":
        backbone = transformers.ResNetConfig(**sizes, out_features=["stage4"])
        own = {"use_timm_backbone": False, "use_pretrained_backbone": False, "encoder_layers": 1, "dropout": 0.0}
        config = transformers.DetrConfig(backbone_config=backbone, **own, **labels)
        return transformers.DetrForObjectDetection(config)
    backbone = transformers.RTDetrResNetConfig(**sizes, out_features=["stage2", "stage3", "stage4"])
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=[16, 16, 24],
        encoder_hidden_dim=32,
        decoder_in_channels=[32, 32, 32],
        num_denoising=4,
        freeze_backbone_batch_norms=False,
        **labels,
    )
    return transformers.RTDetrV2ForObjectDetection(config)


def yolo(name: str) -> nn.Module:
    """ultralytics' own plan at a sixteenth of its width, built as its users build: by a plan, and that many classes."""
    pytest.importorskip("ultralytics")
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    plan = yaml_model_load(f"{name}.yaml") | {"scale": "n", "scales": {"n": [0.5, 1 / 16, 256]}, "nc": len(CLASSES)}
    return settled(DetectionModel(plan, nc=len(CLASSES), verbose=False))


def settled(model: nn.Module) -> nn.Module:
    """A YOLO as if it had seen images: by the norms of a fresh one they fade out on the way to the head.

    Its last layers give numbers of deviation 1/2, and those of a second head, copies when fresh, say the opposite.
    """
    images = torch.rand(4, 3, SIDE, SIDE)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    for norm in norms:
        norm.momentum = 0.03

    def scale(layer: nn.Module, _: object, output: Tensor) -> None:
        layer.get_parameter("weight").data.div_(2 * output.std())

    ends = {n: m for n, m in model.named_modules() if type(m) is nn.Conv2d and m.bias is not None}
    hooks = [end.register_forward_hook(scale) for end in ends.values()]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    for name, end in ends.items():
        end.weight.data.mul_(-1 if ".one2one_" in name else 1)
    return model.train()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "rtdetr": lambda: set_predictor("rtdetr"),
    "detr": lambda: set_predictor("detr"),
    "retinanet": retinanet,
    "fcos": fcos,
    "fasterrcnn": fasterrcnn,
    "ssdlite": ssdlite,
    "yolo11": partial(yolo, "yolo11"),
    "yolo26": partial(yolo, "yolo26"),
}


class Counter(nn.Module):
    """A detector of no family: it says for each image how much of each class it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.head = nn.Linear(16, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(images).mean((2, 3)))
        return scores


def count_loss(model: Counter, images: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
    wanted = torch.stack([torch.bincount(t.labels, minlength=len(CLASSES)).float() for t in targets])
    return {"count": nn.functional.mse_loss(model(images), wanted)}


def count_predict(model: Counter, images: Tensor) -> list[Detections]:
    box = torch.tensor([[0.0, 0.0, float(images.shape[3]), float(images.shape[2])]])
    best = model(images).sigmoid().max(1)
    return [Detections(box, s[None], k[None]) for s, k in zip(best.values, best.indices, strict=True)]


def generic() -> skystill.Detector:
    layers = {"body.layer1": 8, "body.layer2": 16, "body.layer3": 32}
    return skystill.wrap(Counter(), CLASSES, features=layers, predict=count_predict, loss=count_loss)


@pytest.fixture
def make_model() -> Callable[..., nn.Module]:
    """make_model(name, seed=0): a library's own model, tiny, for three classes and images of 64 px."""

    def make(name: str, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return MODELS[name]()

    return make


@pytest.fixture
def settle() -> Callable[[nn.Module], nn.Module]:
    """`settled`, for a YOLO by another plan."""
    return settled


@pytest.fixture
def make_detector(make_gfl: Callable[..., GFL]) -> Callable[..., skystill.Detector]:
    """make_detector(family, seed=0): a tiny detector of any family in training mode."""

    def make(family: str, seed: int = 0) -> skystill.Detector:
        torch.manual_seed(seed)
        if family == "gfl":
            return make_gfl(seed).train()
        return generic() if family == "generic" else skystill.wrap(MODELS[family](), CLASSES).train()

    return make


@pytest.fixture
def scene() -> tuple[Tensor, list[Targets]]:
    """Two images of 64 px, the second without objects."""
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 37.0], [30.0, 28.0, 61.0, 63.0], [50.0, 3.0, 58.0, 12.0]])
    return images, [Targets(boxes, torch.tensor([0, 1, 2]), name="first"), Targets.empty("second")]
