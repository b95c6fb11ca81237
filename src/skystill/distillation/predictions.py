"""A teacher that is no network: what somebody's detector found in the training images, read with the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skystill.errors import ConfigError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Knowledge, Targets


class PredictionsTeacher:
    """Answers with `Targets.told`, the detections that were moved with the truth into the pixels of each view.

    name: of the file, for messages. classes: in label order. kind: "hbb" or "obb".
    """

    def __init__(self, name: str, classes: Sequence[str], kind: BoxKind = "hbb") -> None:
        self.name, self.classes, self.kind = name, tuple(classes), kind

    def ask(self, images: Tensor, targets: Sequence[Targets]) -> Knowledge:
        """Knowledge of detections alone, for images (B, C, H, W). Without targets nothing was found: a probe.

        Errors: ConfigError for an image of which the file was not asked.
        """
        if not targets:
            nothing = torch.zeros(0, 5 if self.kind == "obb" else 4, device=images.device)
            none = Detections(nothing, nothing[:, 0], nothing[:, 0].long())
            return Knowledge((), (), detections=[none] * len(images))
        found = [target.told for target in targets if target.told is not None]
        if len(found) < len(targets):
            lone = next(target.name for target in targets if target.told is None)
            raise ConfigError(
                f"{self.name} says nothing of image {lone!r}: its targets carry no `told`. Call tell(file) of the "
                "data module, or give Targets(told=...)."
            )
        return Knowledge((), (), detections=found)
