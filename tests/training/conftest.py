"""A recipe that trains in a second, and a teacher for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from skystill.data.config import DataConfig
from skystill.data.synthetic import CLASSES
from skystill.detectors.weights import create, save
from skystill.training.recipe import DetectorConfig, OptimConfig, Recipe, TeacherConfig, TrainerConfig

SMALL = {"neck_channels": 16, "head_channels": 16, "head_depth": 1}


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained detector, wider than the student, that is sure of what it sees."""
    torch.manual_seed(11)
    teacher = create("gfl_mnv3s_050", CLASSES, neck_channels=24, head_channels=24, head_depth=1)
    torch.nn.init.zeros_(teacher.head.cls.bias)
    return save(teacher, tmp_path_factory.mktemp("teacher") / "teacher.safetensors")


@pytest.fixture
def make_recipe(tmp_path: Path, teacher_file: Path) -> Callable[..., Recipe]:
    """make_recipe("folder", any key of trainer, optim, detector or data=...): a recipe of four 96 px scenes."""

    def make(out: str = "run", **changes: Any) -> Recipe:
        data = {
            "format": "synthetic",
            "scene_size": 96,
            "scenes_train": 4,
            "scenes_val": 2,
            "scenes_test": 2,
            "batch": 2,
            "workers": 0,
        }
        detector = {"preset": "gfl_mnv3s_050", "settings": SMALL}
        optim: dict[str, Any] = {"warmup": 1, "lr": 2e-3}
        trainer = {"epochs": 2, "accelerator": "cpu"}
        kinds = {TrainerConfig: trainer, OptimConfig: optim, DetectorConfig: detector, DataConfig: data}
        for kind, values in kinds.items():
            values |= {k: changes.pop(k) for k in list(changes) if k in kind.__dataclass_fields__}
        assert not changes, f"no such keys: {changes}"
        return Recipe(
            DataConfig(**data),
            DetectorConfig(**detector),  # type: ignore[arg-type]
            TeacherConfig([str(teacher_file)]),
            optim=OptimConfig(**optim),
            trainer=TrainerConfig(**trainer),  # type: ignore[arg-type]
            out=str(tmp_path / out),
        )

    return make
