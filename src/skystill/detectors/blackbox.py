"""A teacher of which nothing is known but what it finds: any function from images to detections.

teacher = skystill.wrap(lambda images: [skystill.Detections(...) for each image], classes=["ship", "plane"])
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.detectors.base import Detector
from skystill.detectors.checks import check_found, class_names
from skystill.errors import ConfigError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Knowledge, Output, Targets

Ask = Callable[[Tensor], list[Detections]]


class Finder(Detector):
    """A detector of which detections are known, by a function of the user's, and not what its head says everywhere."""

    asked: ClassVar[str]  # the user's function, in words

    @abstractmethod
    def _ask(self, images: Tensor) -> list[Detections]:
        """What the user's function gives for images (B, C, H, W)."""

    def found(self, images: Tensor) -> list[Detections]:
        """Detections of each image of (B, C, H, W), after the function's own NMS. Errors: ConfigError for an answer
        that is none."""
        self.check(images)
        found = self._ask(images)
        check_found(found, len(images), self.classes, self.kind, self.asked)
        return [one.to(images.device) for one in found]

    @torch.no_grad()
    def predict(self, images: Tensor, how: Selection | None = None) -> list[Detections]:
        """What it finds. how: its least score and longest list count; NMS is the function's."""
        return cut(self.found(images), how or Selection())

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `as_places`."""
        return as_places(self.found(images), len(self.classes))


class BlackBox(Finder):
    """A function of images (B, C, H, W) in 0..1 that gives each image's detections, after its own NMS.

    It can teach, by methods that compare predictions, and be measured. It cannot learn, and no file holds it.
    multiple: image sides that the function takes are multiples of it. size: the one (height, width) that it takes, to
    which smaller images are padded; None where it takes any.
    """

    family: ClassVar[str] = "blackbox"
    asked: ClassVar[str] = "the black box"
    unexportable: ClassVar[str] = "a black box has no network that skystill knows"

    def __init__(
        self,
        ask: Ask,
        classes: Sequence[str],
        kind: BoxKind = "hbb",
        in_chans: int = 3,
        multiple: int = 32,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.classes, self.kind, self.in_chans, self.multiple = class_names(classes), kind, in_chans, multiple
        self._function = ask

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """What it finds. Errors: ConfigError with targets, since it cannot learn, and for an answer of another form."""
        if targets is not None:
            raise ConfigError("a black box can only teach: skystill knows no network of it to train.")
        found = self.found(images)
        return Output({}, Knowledge((), (), detections=found), found)

    def config(self) -> dict[str, Any]:
        """Refused with ConfigError: no file can say how to build any function."""
        raise ConfigError("a black box cannot be built again from a file. Keep what it was made from.")

    def _ask(self, images: Tensor) -> list[Detections]:
        if self.size is None:
            return self._function(images)
        short = [wanted - side for wanted, side in zip(self.size, images.shape[2:], strict=True)]
        if min(short) < 0:
            raise ConfigError(
                f"the teacher takes images of {self.size[0]}x{self.size[1]} pixels at most, not "
                f"{images.shape[2]}x{images.shape[3]}. Set data.crop: {min(self.size)}, or export it without --size."
            )
        return self._function(F.pad(images, (0, short[1], 0, short[0])))


def cut(found: Sequence[Detections], how: Selection) -> list[Detections]:
    """The best of each image, as far as `how` lets them."""
    kept = [one.above(how.score) for one in found]
    best = [one.scores.argsort(descending=True, stable=True)[: how.keep] for one in kept]
    return [Detections(d.boxes[i], d.scores[i], d.labels[i]) for d, i in zip(kept, best, strict=True)]


def as_places(found: Sequence[Detections], classes: int) -> tuple[Tensor, Tensor]:
    """Scores (B, N, K) and boxes (B, N, 4|5) of what was found: a place for each, filled up with score 0."""
    scores = [d.scores[:, None] * torch.nn.functional.one_hot(d.labels, classes) for d in found]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(scores, batch_first=True), pad([d.boxes for d in found], batch_first=True)
