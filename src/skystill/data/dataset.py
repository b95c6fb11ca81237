"""Data sets: an image and its truth, augmented as a pure function of (seed, view, index)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from skystill.boxes.obb import corners_to_hbb, corners_to_obb
from skystill.data.annotations import Annotations, Record, without_objects
from skystill.data.cache import SharedCache
from skystill.data.config import OnBadImage
from skystill.data.images import read_image, to_bands
from skystill.data.transforms import Transform
from skystill.errors import ConfigError, DataError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Targets

Sample = tuple[Tensor, Targets]


class DetectionDataset(Dataset[Sample]):
    """Images on disk and what `read_annotations` says of them.

    `dataset[view, index]` gives image (C, H, W), uint8 or float32 in 0..1, and its Targets, named by the file; a plain
    index means view 0. Truth read as OBB and asked for as hbb becomes the box around each object.

    Args:
        annotations: images, objects and class names.
        transform: what each view does to an image.
        kind: the boxes that the detector learns.
        bands: the bands that the detector takes.
        seed: of the augmentation.
        on_bad_image: "raise" a DataError, or "skip" to the next good image; `skipped` lists those seen so far.
        white: value of a white pixel in images deeper than 8 bits.
        cache: bytes of memory for decoded images; the workers of a loader share them.

    Raises:
        ConfigError: obb asked of HBB truth. DataError: no image at all.
    """

    def __init__(
        self,
        annotations: Annotations,
        transform: Transform,
        kind: BoxKind = "hbb",
        bands: int = 3,
        seed: int = 0,
        on_bad_image: OnBadImage = "raise",
        white: float | None = None,
        cache: int = 0,
    ) -> None:
        if kind == "obb" and annotations.kind == "hbb":
            raise ConfigError(
                "kind: obb needs oriented truth, and these annotations hold horizontal boxes. "
                "Set kind: hbb or give DOTA or oriented YOLO annotations."
            )
        if not annotations.records:
            raise DataError("the annotations list no image. Check the annotation path and the folder of images.")
        self.classes = annotations.classes
        self.transform, self.bands, self.seed = transform, bands, seed
        self.on_bad_image, self.white = on_bad_image, white
        self._records = list(annotations.records)
        self._targets = [_targets(record, annotations.kind, kind) for record in annotations.records]
        self.labelled = len(self._records)
        self._reserve(cache)

    def _reserve(self, cache: int) -> None:
        self._cache = SharedCache[Tensor](len(self), cache)
        # Shared memory, so that the main process learns what its workers skipped.
        self._bad: Tensor = torch.zeros(len(self), dtype=torch.bool)
        self._bad.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def images(self) -> list[Path]:
        """The image files, the unlabelled ones last."""
        return [record.image for record in self._records]

    @property
    def one_size(self) -> bool:
        """Whether all images are of one size, as far as the annotations tell."""
        return len({(record.width, record.height) for record in self._records}) <= 1

    @property
    def truths(self) -> list[Targets]:
        """What is known of each image, in the file's pixels."""
        return list(self._targets)

    def add_unlabelled(self, images: Sequence[Path]) -> None:
        """Images that nobody looked at, behind the `labelled` ones; before any loader runs."""
        columns = self._targets[0].boxes.shape[1]
        self._records += [without_objects(path) for path in images]
        self._targets += [replace(Targets.empty(path.name, columns), labelled=False) for path in images]
        self._reserve(self._cache.budget)

    def tell(self, told: Sequence[Detections]) -> None:
        """What was found in each image, in the file's pixels: from now on every view's targets tell it."""
        self._targets = [replace(truth, told=found) for truth, found in zip(self._targets, told, strict=True)]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        view, index = _key(key, len(self))
        index, image = self._image(index)
        image, targets = augment(self.transform, image, self._targets[index], self.seed, view, index)
        # One band becomes three only now, so that the work above is done once.
        return to_bands(image, self.bands, targets.name), targets

    def identity(self) -> str:
        """A short digest of which images and objects these are; it changes with any name, box or label."""
        digest = hashlib.blake2b(digest_size=8)
        for truth in self._targets:
            digest.update(truth.name.encode())
            for part in (truth.boxes, truth.labels, truth.ignore):
                digest.update(part.numpy().tobytes())
        return digest.hexdigest()

    def objects(self) -> dict[str, int]:
        """How many objects that count each class has."""
        labels = torch.cat([truth.labels[~truth.ignore] for truth in self._targets])
        counts = torch.bincount(labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @property
    def skipped(self) -> list[str]:
        """Names of the bad images met so far, in every worker."""
        return [self._targets[index].name for index in self._bad.nonzero()[:, 0].tolist()]

    def _image(self, index: int) -> tuple[int, Tensor]:
        """The image, or with on_bad_image="skip" the next good one, and its index."""
        if self.on_bad_image == "raise":
            return index, self._cache.get(index, self._read)
        # Among its own kind, so that truth stays as frequent as it was.
        first, count = (0, self.labelled) if index < self.labelled else (self.labelled, len(self) - self.labelled)
        for step in range(count):
            candidate = first + (index - first + step) % count
            if self._bad[candidate]:
                continue
            try:
                return candidate, self._cache.get(candidate, self._read)
            except DataError:
                self._bad[candidate] = True
        raise DataError(f"none of the {count} images can be read. Set data.on_bad_image: raise to see why.")

    def _read(self, index: int) -> Tensor:
        record = self._records[index]
        image = read_image(record.image, self.white, self.bands)
        record.check_size(width=image.shape[-1], height=image.shape[-2])
        # Fewer bands mean less to augment; more of them wait until the end.
        return to_bands(image, self.bands, record.image.name) if image.shape[0] > self.bands else image


class SyntheticDataset(Dataset[Sample]):
    """Rendered scenes, so that everything runs without data. Keys and samples are those of DetectionDataset.

    Args:
        scenes: how many.
        size: side in pixels.
        seed: of the scenes.
        first: index of the first scene; splits that do not overlap render different scenes.
        transform: what each view does to a scene.
        kind: the boxes that the detector learns.
        bands: the bands that the detector takes.
        augment_seed: of the augmentation.
        cache: bytes of memory for rendered scenes; the workers of a loader share them.

    Raises:
        DataError: no scene at all.
    """

    def __init__(
        self,
        scenes: int,
        size: int,
        seed: int,
        first: int = 0,
        *,
        transform: Transform,
        kind: BoxKind = "hbb",
        bands: int = 3,
        augment_seed: int = 0,
        cache: int = 2**30,
    ) -> None:
        from skystill.data.synthetic import CLASSES

        if scenes < 1:
            raise DataError("0 synthetic scenes are asked for. Set data.scenes_train, scenes_val or scenes_test.")
        self.classes = tuple(CLASSES)
        self.scenes, self.size, self.seed, self.first = scenes, size, seed, first
        self.labelled = scenes
        self.transform, self.kind, self.bands, self.augment_seed = transform, kind, bands, augment_seed
        # A scene and its truth take at most this; a larger store would only worry who reads the process table.
        self._cache = SharedCache[Sample](scenes, min(cache, scenes * (3 * size * size + 2**16)))

    one_size = True

    def __len__(self) -> int:
        return self.scenes

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        view, index = _key(key, len(self))
        image, targets = self._cache.get(index, self._render)
        image, targets = augment(self.transform, image, targets, self.augment_seed, view, index)
        return to_bands(image, self.bands, targets.name), targets

    def identity(self) -> str:
        """Which scenes these are, in words."""
        return f"{self.scenes} scenes from {self.first}, {self.size} px, seed {self.seed}, {self.kind}"

    def _render(self, index: int) -> Sample:
        from skystill.data.synthetic import render

        scene = render(self.first + index, seed=self.seed, size=self.size)
        # The renderer's own horizontal boxes hug the visible outline, tighter than those around the corners.
        boxes = _boxes(scene.boxes, "hbb", "hbb") if self.kind == "hbb" else _boxes(scene.corners, "obb", "obb")
        labels = torch.as_tensor(scene.labels, dtype=torch.int64)
        name = f"scene_{self.first + index:06d}"
        return torch.from_numpy(scene.image).permute(2, 0, 1).contiguous(), Targets(boxes, labels, name=name)


def augment(transform: Transform, image: Tensor, targets: Targets, seed: int, view: int, index: int) -> Sample:
    """Runs a transform whose chance depends on (seed, view, index) alone and leaves torch's generators as they were."""
    digest = hashlib.blake2b(f"{seed},{view},{index}".encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would reseed the GPU too, in the middle of training.
        torch.default_generator.manual_seed(int.from_bytes(digest, "big") >> 1)
        return transform(image, replace(targets, key=(view, index)))


def _key(key: tuple[int, int] | int, n: int) -> tuple[int, int]:
    """(view, index) of a key."""
    view, index = key if isinstance(key, tuple) else (0, key)
    if not 0 <= index < n:
        raise IndexError(f"image {index} of {n}")
    return view, index


def _targets(record: Record, have: BoxKind, want: BoxKind) -> Targets:
    return Targets(
        _boxes(record.boxes, have, want),
        torch.as_tensor(record.labels, dtype=torch.int64),
        torch.as_tensor(record.ignore),
        record.image.name,
    )


def _boxes(corners: Any, have: BoxKind, want: BoxKind) -> Tensor:
    """(M, 4|5) float32 from corners (M, 4|8) as they stand on disk."""
    values = torch.as_tensor(corners, dtype=torch.float64)
    if have == "hbb":
        return values.float()
    return (corners_to_obb(values) if want == "obb" else corners_to_hbb(values)).float()
