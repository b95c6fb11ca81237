"""Everything that fixes the architecture of one of transformers' detectors, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from skystill.errors import ConfigError

# What is normalised how: the image processors of these models say so, their own configs do not.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MODELS: dict[str, tuple[tuple[float, ...], tuple[float, ...]] | None] = {
    "rt_detr": None,
    "rt_detr_v2": None,
    "d_fine": None,
    "detr": IMAGENET,
    "conditional_detr": IMAGENET,
    "deformable_detr": IMAGENET,
}

_R18 = {"depths": [2, 2, 2, 2], "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}
_R50 = {"depths": [3, 4, 6, 3], "layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048]}
_FINE = {"out_features": ["stage2", "stage3", "stage4"]}
_RESNET50 = {"model_type": "resnet", **_R50}
_PLAIN = {"use_timm_backbone": False, "use_pretrained_backbone": False}
# HGNetV2-B0, as D-FINE's smallest published model of three levels has it.
_B0 = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "hidden_sizes": [64, 256, 512, 1024],
    "use_learnable_affine_block": True,
}
# EfficientNet-lite0 of timm, whose ImageNet weights a package ships.
_LITE0 = {"model_type": "timm_backbone", "backbone": "tf_efficientnet_lite0", "out_indices": [2, 3, 4]}
# Sizes as their authors published them. Batch norms learn in the small ones, which are trained further as a whole.
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rtdetrv2_r18": (
        "rt_detr_v2",
        {
            "backbone_config": {"model_type": "rt_detr_resnet", **_R18, **_FINE},
            "encoder_in_channels": [128, 256, 512],
            "hidden_expansion": 0.5,
            "decoder_layers": 3,
            "freeze_backbone_batch_norms": False,
        },
    ),
    "rtdetrv2_r50": ("rt_detr_v2", {}),
    # Ours: half as wide, for training on a CPU.
    "rtdetrv2_lite0": (
        "rt_detr_v2",
        {
            "backbone_config": _LITE0,
            "encoder_in_channels": [40, 112, 320],
            "encoder_hidden_dim": 128,
            "encoder_ffn_dim": 512,
            "hidden_expansion": 0.5,
            "d_model": 128,
            "decoder_in_channels": [128, 128, 128],
            "decoder_ffn_dim": 512,
            "decoder_layers": 3,
            "num_queries": 100,
            "num_denoising": 50,
            "freeze_backbone_batch_norms": False,
        },
    ),
    "dfine_s": (
        "d_fine",
        {
            "backbone_config": {**_B0, **_FINE},
            "encoder_in_channels": [256, 512, 1024],
            "hidden_expansion": 0.5,
            "depth_mult": 0.34,
            "decoder_layers": 3,
            "freeze_backbone_batch_norms": False,
        },
    ),
    "detr_r50": ("detr", {"backbone_config": {**_RESNET50, "out_features": ["stage4"]}, **_PLAIN}),
    "deformable_detr_r50": ("deformable_detr", {"backbone_config": {**_RESNET50, **_FINE}, **_PLAIN}),
}


@dataclass(frozen=True)
class TransformersConfig:
    """Architecture of one of transformers' detectors.

    base: a name in BASES that gives the model and its size. model: without a base, one of MODELS. config: fields of
    transformers' own configuration of that model, which come on top, e.g. {num_queries: 100}. in_chans: bands of an
    image. pretrained: a folder that `save_pretrained` wrote, or a name on the library's hub, whose weights and
    configuration are taken instead; parts of other shapes, such as a head of other classes, start anew.
    """

    base: str = ""
    model: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    in_chans: int = 3
    pretrained: str = ""

    def __post_init__(self) -> None:
        if self.base and self.base not in BASES:
            raise ConfigError(f"base {self.base!r} is unknown; choose {', '.join(BASES)}.")
        if not self.base and not self.pretrained and self.model not in MODELS:
            raise ConfigError(f"model {self.model!r} is unknown; choose {', '.join(MODELS)}, or give a base.")

    @property
    def backbone(self) -> str:
        """A timm backbone's name, by which its weights are found; else one for messages about them."""
        under = {**BASES.get(self.base, ("", {}))[1], **self.config}.get("backbone_config")
        if isinstance(under, dict) and under.get("model_type") == "timm_backbone":
            return str(under.get("backbone"))
        return self.base or self.model or self.pretrained


PRESETS: dict[str, TransformersConfig] = {f"hf_{name}": TransformersConfig(name) for name in BASES}
