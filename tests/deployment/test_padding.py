"""Constants for TensorFlow's "same" padding: timm's own numbers where they fit, one line where they do not."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor, nn

import skystill
from skystill.deployment.export import export_onnx, to_onnx
from skystill.deployment.padding import ConstantSame, with_constant_padding
from skystill.deployment.runtime import OnnxDetector
from skystill.detectors.gfl import GFL, GFLConfig
from skystill.errors import ConfigError

LITE0 = "tf_efficientnet_lite0"


def narrow(backbone: str) -> GFL:
    """A GFL over the backbone, with a neck and a head that cost little and scores that are spread out."""
    torch.manual_seed(0)
    config = GFLConfig(backbone, levels=(3, 5), neck_channels=16, head_channels=16, head_depth=1)
    detector = GFL(("ship", "plane"), config).eval()
    with torch.no_grad():
        seen = detector(torch.rand(1, 3, 96, 96)).knowledge.dense
        assert seen is not None
        detector.head.cls.weight /= seen.logits.std()
        detector.head.cls.bias.fill_(-2.0)  # type: ignore[union-attr]
    return detector


@pytest.fixture(scope="module")
def lite() -> GFL:
    return narrow(LITE0)


@given(
    kernel=st.tuples(*[st.sampled_from([1, 2, 3, 4, 5, 7])] * 2),
    stride=st.tuples(*[st.integers(1, 4)] * 2),
    dilation=st.integers(1, 2),
    times=st.tuples(*[st.integers(1, 5)] * 2),
    bias=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_a_layer_gives_timms_numbers(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: int, times: tuple[int, int], bias: bool
) -> None:
    same = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2, bias=bias)
    images = torch.rand(2, 4, stride[0] * times[0], stride[1] * times[1])
    ours = ConstantSame(same)
    assert torch.equal(ours(images), same(images))
    assert ours.state_dict().keys() == same.state_dict().keys()


def test_a_side_that_the_stride_does_not_divide_comes_out_otherwise() -> None:
    """So the test above can fail, and so can the search for such sides."""
    same = Conv2dSame(1, 1, 3, 2, bias=False)
    images = torch.rand(1, 1, 9, 9)
    assert not torch.equal(ConstantSame(same)(images), same(images))


@pytest.mark.parametrize("backbone", [LITE0, "tf_mobilenetv3_small_minimal_100"])
def test_a_backbone_gives_timms_numbers_under_timms_keys(backbone: str) -> None:
    detector = narrow(backbone)
    strided = [m for m in detector.modules() if isinstance(m, Conv2dSame)]
    kernels = {m.kernel_size[0] for m in strided}
    assert kernels == ({3, 5} if backbone == LITE0 else {3})
    ours = with_constant_padding(detector, torch.zeros(1, 3, 64, 96))
    assert sum(isinstance(m, ConstantSame) for m in ours.modules()) == len(strided)
    assert not [m for m in ours.modules() if isinstance(m, Conv2dSame)]
    assert [*ours.state_dict()] == [*detector.state_dict()]
    assert {*timm.create_model(backbone, features_only=True).state_dict()} == {*ours.backbone.state_dict()}  # type: ignore[operator,union-attr]
    for height, width in [(32, 32), (64, 160), (224, 96)]:
        images = torch.rand(2, 3, height, width)
        with torch.no_grad():
            for a, b in zip(ours.raw(images), detector.raw(images), strict=True):
                assert torch.equal(a, b), (height, width)


def test_the_detector_itself_stays_as_it_was(lite: GFL) -> None:
    before = copy.deepcopy(lite.state_dict())
    ours = with_constant_padding(lite, torch.zeros(1, 3, 64, 96))
    assert [m for m in lite.modules() if isinstance(m, Conv2dSame)]
    assert not [m for m in lite.modules() if isinstance(m, ConstantSame) or m._forward_pre_hooks]
    assert not [m for m in ours.modules() if m._forward_pre_hooks]
    assert all(torch.equal(v, before[k]) for k, v in lite.state_dict().items())
    plain = narrow("mobilenetv3_small_050")
    assert with_constant_padding(plain, torch.zeros(1, 3, 64, 96)) is plain


def test_lite_exports_for_any_size_and_detects_the_same(lite: GFL, photos: Path, tmp_path: Path) -> None:
    """Without the constants this did not finish."""
    weights = skystill.save(lite, tmp_path / "lite.safetensors")
    exported = OnnxDetector(export_onnx(weights, images=photos))
    assert exported.size is None
    for shape in [(1, 3, 64, 160), (2, 3, 192, 96)]:
        images = torch.rand(shape, generator=torch.Generator().manual_seed(7))
        for a, b in zip(lite.predict(images), exported.predict(images), strict=True):
            assert len(a) > 3
            torch.testing.assert_close(b.boxes, a.boxes, atol=1e-2, rtol=1e-4)
            torch.testing.assert_close(b.scores, a.scores, atol=1e-5, rtol=1e-4)
            assert torch.equal(a.labels, b.labels)


def odd_stem(detector: GFL) -> None:
    """Its first layer sees sides that are one too short, as in NASNet."""
    stem: nn.Module = detector.backbone.conv_stem  # type: ignore[union-attr,assignment]
    detector.backbone.conv_stem = nn.Sequential(nn.ZeroPad2d((0, -1, 0, -1)), stem)  # type: ignore[union-attr]


def windows(detector: GFL) -> None:
    """A layer that wants sides that are multiples of 7."""

    def refuse(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        raise AssertionError("height (64)\nmust be divisible by window (7)")

    detector.backbone.bn1.register_forward_pre_hook(refuse)  # type: ignore[union-attr,operator]


def experts(detector: GFL) -> None:
    """A convolution that mixes experts and pads by the size, as in tf_efficientnet_cc."""
    from timm.layers import CondConv2d

    detector.backbone.conv_stem = CondConv2d(3, 32, 3, 2, "same")  # type: ignore[union-attr]


def scaled(detector: GFL) -> None:
    """NFNet's convolution."""
    from timm.layers import ScaledStdConv2dSame

    detector.backbone.conv_stem = ScaledStdConv2dSame(3, 32, 3, 2, padding="same")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("bend", "line"),
    [
        (
            odd_stem,
            r"layer backbone\.conv_stem\.1 pads by the size of the image.* Give --size '\[HEIGHT, WIDTH\]', or take",
        ),
        (experts, r"layer backbone\.conv_stem pads by the size"),
        (scaled, r"layer backbone\.conv_stem pads by the size"),
        (windows, r"does not take 64x96 pixels \(height \(64\) must be divisible by window \(7\)\).* Give --size"),
    ],
)
def test_what_constants_do_not_fit_is_told_in_one_line(lite: GFL, bend: object, line: str) -> None:
    assert callable(bend)
    bent = copy.deepcopy(lite)
    bend(bent)
    with pytest.raises(ConfigError, match=line) as error:
        to_onnx(bent, None)
    assert "\n" not in str(error.value)
    assert bend is windows or not [m for m in bent.modules() if m._forward_pre_hooks]
