"""Two tiny detectors, their weights, and one real export of each, made once for all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import skystill
from skystill.deployment.export import export_onnx
from skystill.detectors.gfl import GFL, GFLConfig

CLASSES = ("ship", "plane")


def tiny(seed: int, convs: str, norm: str) -> GFL:
    """An untrained detector whose scores are spread out, as a trained one's are."""
    torch.manual_seed(seed)
    config = GFLConfig(
        "mobilenetv3_small_050" if convs == "depthwise" else "test_resnet",
        levels=(3, 5),
        neck_channels=16,
        head_channels=16,
        head_depth=1,
        convs=convs,  # type: ignore[arg-type]
        norm=norm,  # type: ignore[arg-type]
    )
    detector = GFL(CLASSES, config).eval()
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = detector(noise).knowledge.dense
        assert seen is not None
        detector.head.cls.weight /= seen.logits.std()
        detector.head.cls.bias.fill_(-2.0)  # type: ignore[union-attr]
    return detector


def write_images(folder: Path, shapes: list[tuple[int, int]]) -> Path:
    """Noise with bright blocks, one PNG for each (height, width): 0.png, 1.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (height, width) in enumerate(shapes):
        rng = np.random.default_rng(i)
        pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        pixels[height // 4 : height // 2, width // 4 : width // 2] = rng.integers(150, 255, 3)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images, two of them of one shape, none of a multiple of 32 pixels."""
    return write_images(tmp_path_factory.mktemp("photos"), [(70, 100), (90, 90), (90, 90), (120, 60)])


@pytest.fixture(scope="session")
def depthwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a detector with depthwise convolutions and batch norm, as if they had been validated."""
    notes = {"val": {"ap": 1.0, "best_f1": {"score": 0.15}}}
    return skystill.save(tiny(0, "depthwise", "bn"), tmp_path_factory.mktemp("bn") / "tiny.safetensors", notes)


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a detector with dense convolutions and group norm."""
    return skystill.save(tiny(1, "dense", "gn"), tmp_path_factory.mktemp("gn") / "tiny.safetensors")


@pytest.fixture(scope="session")
def any_size(depthwise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The depthwise detector exported for any image size, proven on synthetic scenes."""
    return export_onnx(depthwise, tmp_path_factory.mktemp("onnx") / "any.onnx")


@pytest.fixture(scope="session")
def one_size(dense: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dense detector exported for 128 x 160 pixels, proven on the photos."""
    return export_onnx(dense, tmp_path_factory.mktemp("onnx") / "one.onnx", (128, 160), photos)


@pytest.fixture
def make_tiny() -> Callable[[int, str, str], GFL]:
    """tiny(seed, convs, norm)."""
    return tiny


@pytest.fixture
def make_images() -> Callable[[Path, list[tuple[int, int]]], Path]:
    """write_images(folder, shapes)."""
    return write_images
