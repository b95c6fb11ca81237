"""The loaders that training and evaluation draw batches from."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from glob import escape
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from skystill.data.annotations import Annotations
from skystill.data.config import DataConfig
from skystill.data.darkness import dark
from skystill.data.dataset import DetectionDataset, Sample, SyntheticDataset
from skystill.data.images import find_images
from skystill.data.predictions import Vocabulary, read_predictions
from skystill.data.sampler import Key, MixedSampler, SeededSampler, ShareSampler
from skystill.data.transforms import eval_transform, pad_to, train_transform
from skystill.errors import ConfigError, DataError, SkystillError
from skystill.structures import Batch, Detections

log = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Fixed, so that the scenes to validate and test on stay the same whatever the number to train on.
FIRST_SCENE: dict[Split, int] = {"train": 0, "val": 1_000_000, "test": 2_000_000}
STAGES: dict[str | None, tuple[Split, ...]] = {"validate": ("val",), "test": ("test",), "predict": ("test",)}
MULTIPLE = 32  # batches are padded to multiples of it at least: the coarsest stride of most detectors


class DataModule(pl.LightningDataModule):
    """Train, val and test loaders of a DataConfig. Batches move to the device as bytes and become floats in 0..1 there.

    Outside a Trainer, pass each batch of a loader through `ready(batch, device)`.

    Args:
        config: the recipe's data section.
        seed: of order and augmentation.
    """

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed, self.multiple, self._scored = config, seed, MULTIPLE, MULTIPLE
        self.datasets: dict[Split, DetectionDataset | SyntheticDataset] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order; needs setup()."""
        if not self.datasets:
            raise ConfigError("the data module has not read its annotations yet. Call setup() first.")
        return next(iter(self.datasets.values())).classes

    @property
    def view_seed(self) -> int:
        """Seed of the augmentation."""
        return self.seed if self.config.view_seed is None else self.config.view_seed

    def pad_for(self, multiple: int, scored: int | None = None) -> None:
        """From now on the sides of batches are multiples of this, and of 32: what a detector takes. What they were
        padded for before is forgotten, so that a student is scored as it flies, and not as its teacher wanted it.

        scored: the same for val and test, where it is another.
        """
        self.multiple = math.lcm(MULTIPLE, multiple)
        self._scored = math.lcm(MULTIPLE, scored or multiple)

    def setup(self, stage: str | None = None) -> None:
        """Reads each split once: the one that `stage` (validate, test) needs, or all of them.

        Raises ConfigError when the splits name different classes or none is given, DataError when annotations are bad.
        """
        first = not self.datasets
        for split in STAGES.get(stage, SPLITS):
            if split not in self.datasets and self.config.has(split):
                self.datasets[split] = self._dataset(split)
        if not self.datasets:
            raise ConfigError(self._nothing(STAGES.get(stage, SPLITS)))
        self._check_classes()
        if first and self.config.white is None:
            _tell_once(dark(next(iter(self._files().values()), []), self.config.bands))
        train = self.datasets.get("train")
        if self.config.unlabelled is not None and isinstance(train, DetectionDataset) and len(train) == train.labelled:
            train.add_unlabelled(self._unlabelled())

    def _nothing(self, wanted: Sequence[Split]) -> str:
        """Says what lacks where none of the wanted splits is given."""
        if not any(self.config.has(split) for split in SPLITS):
            return "the recipe names no data. Give data.train, data.val or data.test."
        scored: tuple[Split, ...] = ("val", "test")
        other = "".join(f", or --split {split}" for split in scored if self.config.has(split))
        return f"the recipe names no {wanted[0]} data. Give data.{wanted[0]}{other}."

    def tell(self, path: str | Path, classes: Sequence[str], pass_over: bool = False) -> list[Detections]:
        """Reads a predictions file, see `read_predictions`, of which every training view's targets tell from now on.

        classes: what its labels count; pass_over: others are passed over instead of refused.
        Returns what was found in each training image. Errors: ConfigError for rendered scenes, DataError for the file.
        """
        train = self._ready_dataset("train")
        if not isinstance(train, DetectionDataset):
            raise ConfigError(f"{path}: predictions are of image files, and format synthetic renders scenes.")
        others = [image for split, images in self._files().items() if split != "train" for image in images]
        words = Vocabulary(train.images, classes, self.config.kind, others, *self._coco_ids(), pass_over)
        told = read_predictions(path, words)
        train.tell(told)
        return told

    def train_dataloader(self) -> Loader:
        """Shuffled, augmented batches; the last, smaller one drops out unless it is the only one."""
        dataset, config = self._ready_dataset("train"), self.config
        rank, world = self._place()
        labelled = SeededSampler(dataset.labelled, self.seed, rank, world, repeats=config.views, replay=config.replay)
        drop_last = len(labelled) > config.batch
        if not config.added:
            return self._loader(dataset, labelled, drop_last)
        sampler = MixedSampler(labelled, len(dataset) - dataset.labelled, config.batch, config.added)
        return self._loader(dataset, sampler, drop_last, config.batch + config.added)

    def views_loader(self, keys: Sequence[Key]) -> Loader:
        """These views (view, index) of the training images, in this order."""
        return self._loader(self._ready_dataset("train"), keys, drop_last=False)

    def few_views(self, keys: Sequence[Key]) -> HostBatch:
        """The same as one batch, read in this process: for a handful, starting workers takes longer than reading."""
        dataset = self._ready_dataset("train")
        return collate([dataset[key] for key in keys], self.multiple)

    def val_dataloader(self) -> Loader | list[Loader]:
        """Every validation image once, in order; no loader where the recipe has no such split."""
        return self._eval_loader("val") if self.config.has("val") else []

    def test_dataloader(self) -> Loader:
        """Every test image once, in order."""
        return self._eval_loader("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning's hook: moves the batch and makes floats of it there."""
        return ready(batch, device)

    def _eval_loader(self, split: Split) -> Loader:
        dataset = self._ready_dataset(split)
        rank, world = self._place()
        # Images of several sizes alone: beside a larger one, padding would change what is found in the smaller.
        batch = None if dataset.one_size else 1
        share = ShareSampler(len(dataset), rank, world)
        return self._loader(dataset, share, drop_last=False, batch=batch, multiple=self._scored)

    def _loader(
        self,
        dataset: DetectionDataset | SyntheticDataset,
        sampler: Iterable[Key],
        drop_last: bool,
        batch: int | None = None,
        multiple: int | None = None,
    ) -> Loader:
        workers = self.config.workers
        return Loader(
            dataset,
            batch or self.config.batch,
            sampler=sampler,
            num_workers=workers,
            collate_fn=partial(collate, multiple=multiple or self.multiple),
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            # The loader draws a seed for its workers; its own generator keeps that away from the model's chance.
            generator=torch.Generator().manual_seed(self.seed),
            persistent_workers=workers > 0,
        )

    def _place(self) -> tuple[int, int]:
        """(rank, world) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _ready_dataset(self, split: Split) -> DetectionDataset | SyntheticDataset:
        if split not in self.datasets:
            if not self.config.has(split):
                raise ConfigError(f"the recipe has no {split} data. Give data.{split}.")
            self.setup({"val": "validate"}.get(split, split))
        return self.datasets[split]

    def _dataset(self, split: Split) -> DetectionDataset | SyntheticDataset:
        c = self.config
        transform = train_transform(c) if split == "train" else eval_transform(c)
        if c.format == "synthetic":
            return SyntheticDataset(
                getattr(c, f"scenes_{split}"),
                c.scene_size,
                c.scene_seed,
                FIRST_SCENE[split],
                transform=transform,
                kind=c.kind,
                bands=c.bands,
                augment_seed=self.view_seed,
            )
        on_bad = c.on_bad_image if split == "train" else "raise"
        return DetectionDataset(
            self._annotations(split), transform, c.kind, c.bands, self.view_seed, on_bad, c.white, c.cache_mb * 2**20
        )

    def _annotations(self, split: Split) -> Annotations:
        from skystill.data.formats import read_annotations

        c, root = self.config, Path(self.config.root)
        images = getattr(c, f"images_{split}")
        annotations = read_annotations(
            root / getattr(c, split),
            format=c.format,
            images=None if images is None else root / images,
            classes=c.classes,
            kind=c.kind,
            fix=c.fix,
        )
        for note in annotations.notes:
            log.warning("%s: %s", split, note)
        if not annotations.records:
            raise DataError(f"data.{split}: {root / getattr(c, split)} lists no image. Give another file, or none.")
        return annotations

    def _unlabelled(self) -> list[Path]:
        """The images of data.unlabelled that no split holds: what is validated or tested on must not be learned."""
        pattern, root = str(self.config.unlabelled), Path(self.config.root)
        where = root / pattern
        try:
            found = find_images(where if where.exists() else Path(escape(str(root))) / pattern)
        except DataError as error:
            raise DataError(f"data.unlabelled: {error}") from None
        held = {image.resolve() for images in self._files().values() for image in images}
        free = [path for path in found if path.resolve() not in held]
        if not free:
            raise DataError(f"data.unlabelled: all {len(found)} images of {where} belong to the data's own splits.")
        if len(free) < len(found):
            log.warning("data.unlabelled: %d images of the data's own splits are left out", len(found) - len(free))
        return free

    def _files(self) -> dict[Split, list[Path]]:
        """The image files of each split."""
        return {split: data.images for split, data in self.datasets.items() if isinstance(data, DetectionDataset)}

    def _coco_ids(self) -> tuple[dict[Any, int], dict[Any, str]]:
        """Place of each training image and class name by COCO's ids; empty for other formats."""
        from skystill.data.formats import coco

        path = Path(self.config.root) / str(self.config.train)
        if path.suffix != ".json":
            return {}, {}
        content = coco.load(path)
        places = {image["id"]: place for place, image in enumerate(content["images"])}
        return places, {category["id"]: str(category["name"]) for category in content["categories"]}

    def _check_classes(self) -> None:
        (first, dataset), *others = self.datasets.items()
        for split, other in others:
            if other.classes != dataset.classes:
                raise ConfigError(_class_difference(first, dataset.classes, split, other.classes))


class Loader(DataLoader[Sample]):
    """A DataLoader whose workers' errors stay one line: torch wraps them in the worker's traceback."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches as `collate` makes them."""
        try:
            yield from super().__iter__()
        except SkystillError as error:
            kind = type(error)
            raise kind(str(error).split(f"{kind.__module__}.{kind.__qualname__}: ")[-1].strip()) from None


class HostBatch(Batch):
    """A batch as workers make it: its images may be uint8 still, and the loader can pin its memory."""

    __slots__ = ()

    def pin_memory(self) -> HostBatch:
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        return HostBatch(self.images.pin_memory(), self.targets, self.sizes)


def collate(samples: list[Sample], multiple: int = MULTIPLE) -> HostBatch:
    """Images (C, H, W) of any sizes as one batch, zeros at the right and bottom up to a common multiple.

    Images stay uint8 where all of them are, a quarter of the bytes to move; `ready` makes floats of them.
    """
    images, targets = [image for image, _ in samples], [truth for _, truth in samples]
    if len({image.dtype for image in images}) > 1:
        images = [_unit(image) for image in images]
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    return HostBatch(torch.stack([pad_to(image, height, width) for image in images]), targets, sizes)


def ready(batch: Batch, device: torch.device | str) -> Batch:
    """The batch as a detector takes it: on the device, images float32 in 0..1."""
    moved = batch.to(device)
    return replace(moved, images=_unit(moved.images))


@cache
def _tell_once(note: str) -> None:
    """A warning, if there is any, once a process: a distillation reads its data for the doctor, then to train."""
    if note:
        log.warning("data.white: %s", note)


def _unit(images: Tensor) -> Tensor:
    """float32 in 0..1 from uint8; floats pass."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _class_difference(one: str, classes: tuple[str, ...], two: str, others: tuple[str, ...]) -> str:
    """One line that says how two class lists differ, and the mend."""
    missing, extra = [c for c in classes if c not in others], [c for c in others if c not in classes]
    parts = [f"only {one} has {', '.join(missing)}"] if missing else []
    parts += [f"only {two} has {', '.join(extra)}"] if extra else []
    order = f"the same names in another order ({', '.join(classes)} against {', '.join(others)})"
    what = "; ".join(parts) or order
    return f"{one} and {two} disagree on the classes: {what}. Mend the annotations or give data.classes."
