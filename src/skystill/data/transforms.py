"""What happens to an image and its truth before a detector sees them. torchvision's v2 moves pixels and boxes.

A transform is a function (image (C, H, W) uint8 or float32 in 0..1, Targets) -> the same pair. All chance comes from
torch's global generator, which the data set seeds for each view. Pixels stay uint8 throughout and are cropped first.

v2 lacks, and this file adds, crops that look for objects, a rule for the objects that a crop cuts,
and colour for any number of bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import BoundingBoxes

from skystill.boxes.hbb import area, clip
from skystill.boxes.obb import hbb_to_obb, le90, obb_to_hbb, rotated_intersection
from skystill.data.config import DataConfig
from skystill.structures import Detections, Targets

Transform = Callable[[Tensor, Targets], tuple[Tensor, Targets]]

MIN_VISIBLE = 0.4  # an object counts when at least this share of its area is inside the crop
MIN_TRACE = 0.01  # below MIN_VISIBLE it is ignored, and below this share forgotten


def train_transform(config: DataConfig) -> Transform:
    """Random zoom and crop, flips, quarter turns and colour, as far as the config asks for each."""
    return TrainTransform(
        config.crop, config.size, config.scale_jitter, config.flip, config.turn, config.colour, config.p_object
    )


def eval_transform(config: DataConfig) -> Transform:
    """The whole image, resized to the config's longer side where it gives one."""
    return EvalTransform(config.size)


@dataclass(frozen=True)
class EvalTransform:
    """The whole image; size: longer side in pixels, 0 keeps it."""

    size: int = 0

    def __call__(self, image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """Image (C, H, W) and its truth, resized."""
        return zoom(image, targets, _fit(image, self.size))


@dataclass(frozen=True)
class TrainTransform:
    """Random views; the fields are those of DataConfig. A crop gives (C, crop, crop), zeros where the image ends."""

    crop: int = 0
    size: int = 0
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    turn: bool = False
    colour: float = 0.0
    p_object: float = 0.0

    def __call__(self, image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """A random view of image (C, H, W) and its truth."""
        scale = _fit(image, self.size) * _uniform(*self.scale_jitter)
        if self.crop:
            side = max(round(self.crop / scale), 1)
            image, targets = crop(image, targets, *random_window(image, targets, side, self.p_object))
            scale = self.crop / side
        image, targets = zoom(image, targets, scale)
        if self.flip:
            image, targets = _random_flips(image, targets)
        if self.turn:
            image, targets = turn(image, targets, _integer(0, 3))
        if self.colour:
            image = colour_jitter(image, self.colour)
        return (pad_to(image, self.crop, self.crop) if self.crop else image), targets


def crop(image: Tensor, targets: Targets, top: int, left: int, height: int, width: int) -> tuple[Tensor, Targets]:
    """The window, which may reach beyond the image (zeros there) but must meet it, and what it shows of the truth.

    An object counts with at least 40% of its area inside, is ignored down to 1% and forgotten below. Horizontal boxes
    are cut at the window; oriented ones stay whole, because a cut one would no longer be a rectangle along the object.
    What a predictions file told is cut alike.
    """
    image, targets = _move(partial(F.crop, top=top, left=left, height=height, width=width), image, targets)
    share = visible_share(targets.boxes, height, width)
    boxes = clip(targets.boxes, height, width) if targets.boxes.shape[1] == 4 else targets.boxes
    keep = share >= MIN_TRACE
    ignore = targets.ignore | (share < MIN_VISIBLE)
    told = None if targets.told is None else _cropped(targets.told, height, width)
    return image, replace(targets, boxes=boxes[keep], labels=targets.labels[keep], ignore=ignore[keep], told=told)


def _cropped(told: Detections, height: int, width: int) -> Detections:
    """What a window shows of detections. Where truth would be ignored, a detection loses score with what it shows: a
    teacher that saw no more than that would not be sure either."""
    share = visible_share(told.boxes, height, width)
    boxes = clip(told.boxes, height, width) if told.boxes.shape[1] == 4 else told.boxes
    scores = told.scores * (share / MIN_VISIBLE).clamp(max=1).to(told.scores.dtype)
    order = scores.argsort(descending=True, stable=True)
    order = order[share[order] >= MIN_TRACE]
    return Detections(boxes[order], scores[order], told.labels[order])


def zoom(image: Tensor, targets: Targets, scale: float) -> tuple[Tensor, Targets]:
    """Image and boxes resized by a factor, each side rounded to whole pixels."""
    height, width = (max(round(side * scale), 1) for side in image.shape[-2:])
    if (height, width) == tuple(image.shape[-2:]):
        return image, targets
    return _move(partial(F.resize, size=[height, width], antialias=True), image, targets)


def mirror(image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    """Left to right."""
    return _move(F.horizontal_flip, image, targets)


def upend(image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    """Top to bottom."""
    return _move(F.vertical_flip, image, targets)


def turn(image: Tensor, targets: Targets, quarters: int) -> tuple[Tensor, Targets]:
    """Quarter turns against the clock; an odd number swaps height and width."""
    if quarters % 4 == 0:
        return image, targets
    return _move(partial(F.rotate, angle=90.0 * quarters, expand=True), image, targets)


def colour_jitter(image: Tensor, strength: float) -> Tensor:
    """Random brightness and contrast, each a factor in 1 - strength .. 1 + strength, for any number of bands.

    v2's own takes one or three bands alone. Both steps are one affine map: contrast stretches values about their mean.
    """
    brightness, contrast = _uniform(1 - strength, 1 + strength), _uniform(1 - strength, 1 + strength)
    values = image.to(torch.float32, copy=True)  # the one copy: fresh memory costs more than the sums do
    shift = float(values.mean()) * brightness * (1 - contrast)
    values.mul_(brightness * contrast).add_(shift)
    if image.dtype == torch.uint8:
        return values.round_().clamp_(0, 255).to(torch.uint8)
    return values.clamp_(0, 1)


def pad_to(image: Tensor, height: int, width: int) -> Tensor:
    """Image (C, H, W) with zeros at the right and bottom up to height x width."""
    below, right = height - image.shape[-2], width - image.shape[-1]
    return torch.nn.functional.pad(image, (0, right, 0, below)) if below or right else image


def visible_share(boxes: Tensor, height: int, width: int) -> Tensor:
    """(M,) share of each box's area inside the window 0..width x 0..height; 0 for boxes (M, 4|5) without area."""
    if boxes.shape[1] == 4:
        return area(clip(boxes, height, width)) / area(boxes).clamp(min=1e-6)
    outer = obb_to_hbb(boxes)
    cut = ((outer[:, :2] < 0) | (outer[:, 2:] > outer.new_tensor([width, height]))).any(-1)
    share = torch.ones(len(boxes), dtype=boxes.dtype)
    window = hbb_to_obb(boxes.new_tensor([[0, 0, width, height]]))
    share[cut] = rotated_intersection(boxes[cut], window)[:, 0] / boxes[cut, 2:4].prod(-1).clamp(min=1e-6)
    return share


def random_window(image: Tensor, targets: Targets, side: int, p_object: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a square of `side`, cut to the image, with p_object around an object that counts.

    The object lies inside wholly where it fits, and with its centre where it does not.
    """
    height, width = image.shape[-2:]
    window_h, window_w = min(side, height), min(side, width)
    wanted = targets.boxes[~targets.ignore]
    if len(wanted) == 0 or _uniform(0, 1) >= p_object:
        return _integer(0, height - window_h), _integer(0, width - window_w), window_h, window_w
    chosen = wanted[_integer(0, len(wanted) - 1)][None]
    x1, y1, x2, y2 = (chosen if chosen.shape[1] == 4 else obb_to_hbb(chosen))[0].tolist()
    return _start_around(y1, y2, height, window_h), _start_around(x1, x2, width, window_w), window_h, window_w


def _start_around(low: float, high: float, length: int, window: int) -> int:
    """A random start of a window in 0..length that holds low..high, or its middle when the window is too small."""
    for a, b in ((low, high), ((low + high) / 2, (low + high) / 2)):
        first, last = max(math.ceil(b - window), 0), min(math.floor(a), length - window)
        if first <= last:
            return _integer(first, last)
    return 0 if (low + high) / 2 < 0 else length - window  # an object that hangs out of the image


def _random_flips(image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    if _integer(0, 1):
        image, targets = mirror(image, targets)
    if _integer(0, 1):
        image, targets = upend(image, targets)
    return image, targets


def _move(op: Callable[[Any], Any], image: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    """Runs a v2 function on pixels and boxes alike."""

    def moved(boxes: Tensor) -> Tensor:
        return _from_v2(op(_to_v2(boxes, image.shape[-2], image.shape[-1])).as_subclass(Tensor))

    told = None if targets.told is None else replace(targets.told, boxes=moved(targets.told.boxes))
    return op(image), replace(targets, boxes=moved(targets.boxes), told=told)


def _to_v2(boxes: Tensor, height: int, width: int) -> Any:
    """float64, because v2 turns boxes by matrices and angles in degrees; no clamping, because `crop` judges first."""
    data = boxes.double()
    if boxes.shape[1] == 5:
        # v2 counts degrees against the clock, we count radians with it.
        data = torch.cat([data[:, :4], -torch.rad2deg(data[:, 4:])], 1)
    kind = "XYXY" if boxes.shape[1] == 4 else "CXCYWHR"
    return BoundingBoxes(data, format=kind, canvas_size=(height, width), clamping_mode=None)


def _from_v2(data: Tensor) -> Tensor:
    """float32 boxes; oriented ones in le90 again."""
    if data.shape[1] == 5:
        data = le90(torch.cat([data[:, :4], -torch.deg2rad(data[:, 4:])], 1))
        data = le90(data.float())  # rounding may bring the angle to the open end of its range
    return data.float()


def _fit(image: Tensor, longer: int) -> float:
    """The factor that brings the longer side to `longer` pixels, 1 where that is 0."""
    return longer / max(image.shape[-2:]) if longer else 1.0


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    """Both ends included."""
    return int(torch.randint(low, high + 1, ()))
