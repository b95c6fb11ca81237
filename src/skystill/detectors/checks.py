"""What a detector refuses, in one line: images, truth and detections that would give nonsense and no error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from skystill.errors import ConfigError, DataError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Targets

_FORMS = {"hbb": "(x1, y1, x2, y2) in pixels", "obb": "(cx, cy, w, h, theta) in pixels and radians"}


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple. Raises ConfigError for none, a name that stands twice, or one string."""
    if isinstance(classes, Mapping):
        raise ConfigError(f"classes is a {type(classes).__name__}. Give its names alone, in label order: a list.")
    names = [] if isinstance(classes, str) or not isinstance(classes, Iterable) else list(classes)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"classes is {classes!r:.80}. Give a list of names in label order, without background.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"classes names {twice[0]!r} twice. Give each name once; outputs that stand for nothing need names too, "
            f"such as {twice[0]} 1 and {twice[0]} 2."
        )
    return tuple(classes)


def check_images(images: Tensor, bands: int) -> None:
    """Raises ConfigError for what is no batch (B, C, H, W) of floats with that many bands."""
    if not isinstance(images, Tensor):
        raise ConfigError(
            f"the images are a {type(images).__name__}; give a tensor (B, C, H, W) of floats in 0..1, e.g. "
            "torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255."
        )
    if images.ndim != 4 or images.shape[0] == 0:
        raise ConfigError(f"the images are {tuple(images.shape)}; give (B, C, H, W) with at least one image.")
    if not images.is_floating_point():
        raise ConfigError(f"the images are {images.dtype}; give floats in 0..1, e.g. images / 255.")
    if images.shape[1] != bands:
        raise ConfigError(
            f"the images have {images.shape[1]} bands but the detector takes {bands}; set data.bands or in_chans."
        )


def check_weights(images: Tensor, detector: nn.Module) -> None:
    """Raises ConfigError for images of another type or place than the weights, which torch would refuse less clearly.

    Autocast brings types together.
    """
    weight = next((p for p in detector.parameters() if p.is_floating_point()), None)
    if weight is None:
        return
    if weight.device != images.device:
        raise ConfigError(f"the images are on {images.device}, the detector on {weight.device}; move one of them.")
    if weight.dtype != images.dtype and not torch.is_autocast_enabled(images.device.type):
        raise ConfigError(
            f"the images are {images.dtype} and the detector's weights {weight.dtype}; give images.to({weight.dtype})."
        )


def check_sides(images: Tensor, multiple: int) -> None:
    """Raises ConfigError for images whose maps of several strides would not meet, for detectors that cannot bear it."""
    height, width = images.shape[2:]
    if height % multiple or width % multiple:
        raise ConfigError(
            f"the images are {width} x {height} px and the detector takes multiples of {multiple}; "
            "pad them at the right and bottom."
        )


def check_range(images: Tensor) -> None:
    """Raises ConfigError for values far from 0..1; what a photometric change adds passes."""
    least, most = (float(value) for value in images.detach().aminmax())
    if not (least >= -0.5 and most <= 2):
        mend = "images / 255" if least >= 0 else "without mean and std, which the detector takes off itself"
        raise ConfigError(f"the images have values of {least:.3g} to {most:.3g}; give them in 0..1, {mend}.")


def check_pixels(targets: Sequence[Targets]) -> None:
    """Raises DataError for truth whose boxes all lie within the first pixel, as shares of the image would."""
    boxes = torch.cat([target.boxes[:, :4] for target in targets if len(target)] or [torch.zeros(0, 4)])
    if len(boxes) > 1 and float(boxes.max()) <= 1:
        raise DataError(
            f"all {len(boxes)} boxes lie within one pixel, so they are shares of the image. Give them in pixels: "
            "boxes * torch.tensor([width, height, width, height])."
        )


def check_targets(targets: Sequence[Targets], count: int, classes: Sequence[str], kind: BoxKind) -> None:
    """Raises DataError for truth that does not fit `count` images, with the image's name or number."""
    if len(targets) != count or not all(isinstance(target, Targets) for target in targets):
        kinds = ", ".join(sorted({type(target).__name__ for target in targets})) or "nothing"
        raise DataError(f"{count} image(s) came with {len(targets)} of {kinds}; give one skystill.Targets an image.")
    sizes = [len(target) for target in targets]
    for n, target in enumerate(targets):
        if len(target) and target.boxes.shape[1] != (4 if kind == "hbb" else 5):
            one, other = ("upright", "oriented") if kind == "hbb" else ("oriented", "upright")
            raise DataError(
                f"the detector predicts {one} boxes, but the truth of {_name(target, n)} is {other}. "
                f"Give data.kind {kind}, or boxes {_FORMS[kind]}."
            )
    full = [target for target in targets if len(target)]
    if not full:
        return
    boxes, labels = torch.cat([target.boxes for target in full]), torch.cat([target.labels for target in full])
    # One answer for all, so that a GPU is waited for once.
    wrong = torch.stack([~_whole(boxes, kind), (labels < 0) | (labels >= len(classes))])
    if not wrong.any():
        return
    of, row = (int(i) for i in wrong.nonzero()[0])
    n = next(n for n in range(count) if row < sum(sizes[: n + 1]))
    what = (
        f"box {[round(float(v), 2) for v in boxes[row]]} is none; give {_FORMS[kind]}"
        if of == 0
        else f"label {int(labels[row])} is none of the {len(classes)} classes, which count from 0"
    )
    raise DataError(f"{_name(targets[n], n)}, object {row - sum(sizes[:n])}: {what}.")


def check_found(found: Sequence[Detections], count: int, classes: Sequence[str], kind: BoxKind, who: str) -> None:
    """Raises ConfigError for an answer to `count` images that is none. who: the function that gave it, in words."""
    if not isinstance(found, list | tuple) or not all(isinstance(one, Detections) for one in found):
        what = f"a {type(found).__name__}"
        if isinstance(found, list | tuple):
            what += f" of {', '.join(sorted({type(one).__name__ for one in found}))}"
        raise ConfigError(f"{who} gave {what}; give a list of skystill.Detections, one for each image.")
    if len(found) != count:
        raise ConfigError(f"{who} gave {len(found)} answers to {count} images; give one skystill.Detections each.")
    for one in found:
        _check_one(one, classes, kind, who)


def _check_one(one: Detections, classes: Sequence[str], kind: BoxKind, who: str) -> None:
    for what, part in (("boxes", one.boxes), ("scores", one.scores), ("labels", one.labels)):
        if not isinstance(part, Tensor):
            raise ConfigError(f"{who} gave {what} as a {type(part).__name__}; give a tensor.")
    columns, d = (4 if kind == "hbb" else 5), len(one.boxes)
    if one.boxes.shape[1:] != (columns,):
        raise ConfigError(f"{who} gave boxes {tuple(one.boxes.shape)}; {kind} ones are {_FORMS[kind]}.")
    if one.scores.shape != (d,) or one.labels.shape != (d,) or one.labels.is_floating_point():
        raise ConfigError(
            f"{who} gave {d} boxes, scores {tuple(one.scores.shape)} and labels {tuple(one.labels.shape)} of "
            f"{one.labels.dtype}; give a score and a whole label for each box."
        )
    if not d:
        return
    if not 0 <= int(one.labels.min()) <= int(one.labels.max()) < len(classes):
        raise ConfigError(f"{who} gave a label beyond its {len(classes)} classes, which count from 0.")
    least, most = (float(value) for value in one.scores.detach().aminmax())
    if not (least >= 0 and most <= 1):
        raise ConfigError(f"{who} gave scores of {least:.3g} to {most:.3g}; give them in 0..1.")
    if not (good := _whole(one.boxes, kind)).all():
        box = [round(float(v), 2) for v in one.boxes[~good][0]]
        raise ConfigError(f"{who} gave the box {box}; give {_FORMS[kind]}.")


def _whole(boxes: Tensor, kind: BoxKind) -> Tensor:
    """(M,) which boxes are finite and do not end before they begin."""
    boxes = boxes.detach()
    sides = boxes[:, 2:4] - boxes[:, :2] if kind == "hbb" else boxes[:, 2:4]
    return boxes.isfinite().all(1) & (sides >= 0).all(1)


def _name(target: Targets, n: int) -> str:
    return f"image {target.name or n}"
