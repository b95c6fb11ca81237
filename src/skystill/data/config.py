"""What a recipe says about data: one typed, documented dataclass, read from YAML or the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skystill.errors import ConfigError
from skystill.kinds import BoxKind

Format = Literal["coco", "dota", "yolo", "voc", "synthetic"]
OnBadImage = Literal["raise", "skip"]


@dataclass
class DataConfig:
    """Where images and truth lie and how they are shown to a detector.

    Paths are relative to `root`. A split that is None does not exist.

    Args:
        root: folder of the data set.
        format: annotation format; None lets the reader guess from the path. synthetic renders scenes and reads nothing.
        train: annotations to learn from.
        val: annotations to validate on.
        test: annotations to test on.
        images_train: folder of the training images; None takes the format's own place.
        images_val: folder of the validation images.
        images_test: folder of the test images.
        classes: class names in label order; None takes the annotations' own.
        fix: drop boxes that cannot be (no area, outside the image) and say so, instead of stopping.
        kind: hbb for horizontal boxes, obb for oriented ones.
        bands: bands of the images that the detector takes; one band repeats to three.
        crop: side in pixels of the square shown in training; 0 shows whole images.
        size: longer side in pixels that every image is resized to, in training before jitter and crop; 0 keeps images.
        scale_jitter: smallest and largest random zoom in training; (1, 1) is none.
        flip: random mirroring in training, left to right and top to bottom.
        turn: random quarter turns in training.
        colour: strength of random brightness and contrast in training: factors lie in 1 - colour .. 1 + colour.
        p_object: share of the crops that are placed to hold an object, where the image has one.
        views: differently augmented views of each image in one epoch.
        replay: different views of each image in the whole training; after these they come again. 0 draws ever new
            ones. A finite number is what a teacher cache can hold.
        view_seed: seed of the augmentation; None takes the run's. One number for all runs shows them the same views.
        batch: images in a batch, per device.
        unlabelled: folder (with its subfolders) or glob pattern of images without truth, in which the teacher's sure
            detections take the place of truth. None uses none.
        unlabelled_share: share of each batch that is unlabelled. Such images come on top of `batch`: 0.5 adds as many
            again, 0.2 a quarter. So steps and labelled images stay those of a run without.
        workers: processes that load images; 0 loads in the training process.
        on_bad_image: raise stops at an unreadable training image; skip takes the next one and lists it. Evaluation
            always stops, because a replaced image would change the score.
        group: regular expression whose first group, searched in an image's file name, names its flight, e.g.
            '(.*)_'. Frames of one flight are alike, so `benchmark` draws whole flights for its interval over images.
        white: value of a white pixel in images deeper than 8 bits; None takes the file type's largest value.
        cache_mb: MiB of memory for decoded images of each split, shared by its workers; 0 decodes every time.
        scenes_train: synthetic scenes to learn from.
        scenes_val: synthetic scenes to validate on.
        scenes_test: synthetic scenes to test on.
        scene_size: side of a synthetic scene in pixels.
        scene_seed: seed of the synthetic scenes; the same seed renders the same scenes.

    Raises:
        ConfigError: a value lies outside its range.
    """

    root: str = "."
    format: Format | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    images_train: str | None = None
    images_val: str | None = None
    images_test: str | None = None
    classes: list[str] | None = None
    fix: bool = False
    kind: BoxKind = "hbb"
    bands: int = 3
    crop: int = 0
    size: int = 0
    scale_jitter: tuple[float, float] = (0.8, 1.25)
    flip: bool = True
    turn: bool = True
    colour: float = 0.2
    p_object: float = 0.7
    views: int = 1
    replay: int = 0
    view_seed: int | None = None
    batch: int = 8
    unlabelled: str | None = None
    unlabelled_share: float = 0.5
    workers: int = 2
    on_bad_image: OnBadImage = "raise"
    group: str | None = None
    white: float | None = None
    cache_mb: int = 0
    scenes_train: int = 256
    scenes_val: int = 64
    scenes_test: int = 64
    scene_size: int = 256
    scene_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bands", "views", "batch", "scene_size"):
            self._at_least(name, 1)
        for name in ("crop", "size", "workers", "cache_mb", "replay", "scenes_train", "scenes_val", "scenes_test"):
            self._at_least(name, 0)
        low, high = self.scale_jitter
        if not 0 < low <= high:
            raise ConfigError(f"data.scale_jitter is ({low}, {high}). Give two zooms, 0 < smallest <= largest.")
        if not 0 <= self.colour < 1:
            raise ConfigError(f"data.colour is {self.colour}. Give a strength from 0 (none) to below 1.")
        if not 0 <= self.p_object <= 1:
            raise ConfigError(f"data.p_object is {self.p_object}. Give a share from 0 to 1.")
        if not 0 < self.unlabelled_share < 1:
            raise ConfigError(
                f"data.unlabelled_share is {self.unlabelled_share}. Give a share above 0 and below 1, because truth is "
                "needed too; to use no unlabelled images, leave data.unlabelled away."
            )
        if self.unlabelled is not None and self.format == "synthetic":
            raise ConfigError("data.unlabelled takes image files, and format synthetic renders scenes. Leave one away.")

    def has(self, split: Literal["train", "val", "test"]) -> bool:
        """Whether there is such a split."""
        if self.format == "synthetic":
            return int(getattr(self, f"scenes_{split}")) > 0
        return getattr(self, split) is not None

    @property
    def added(self) -> int:
        """How many unlabelled images join a batch of `batch` labelled ones, at least 1 where there are any."""
        if self.unlabelled is None:
            return 0
        return max(1, round(self.batch * self.unlabelled_share / (1 - self.unlabelled_share)))

    def _at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise ConfigError(f"data.{name} is {getattr(self, name)}. Give at least {least}.")
