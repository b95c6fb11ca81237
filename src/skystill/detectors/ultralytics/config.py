"""Everything that fixes the architecture of one of ultralytics' detectors, as plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from skystill.errors import ConfigError

# A name, never a path: what a path leads to could run code when ultralytics reads it.
NAME = re.compile(r"(yolov8|yolo11|yolo12|yolo26)([nsmlx])(-p2|-p6)?")


@dataclass(frozen=True)
class UltralyticsConfig:
    """Architecture of an ultralytics detect model.

    model: yolov8, yolo11, yolo12 or yolo26, a size (n, s, m, l, x) and, where ultralytics has it, -p2 or -p6 for a
    finer or a coarser level. in_chans: bands of an image. end2end: detections come from the one-to-one head, without
    NMS; YOLO26 has one.
    """

    model: str = "yolo11n"
    in_chans: int = 3
    end2end: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.model):
            raise ConfigError(
                f"model {self.model!r} is unknown; choose yolov8, yolo11, yolo12 or yolo26 with a size, e.g. yolo11n."
            )
        if self.end2end and not self.model.startswith("yolo26"):
            raise ConfigError(f"end2end: {self.model} has no one-to-one head. Leave end2end away, or take a yolo26.")

    @property
    def backbone(self) -> str:
        """What messages call the backbone; it has no name of its own."""
        return self.model


PRESETS: dict[str, UltralyticsConfig] = {
    "ul_yolo11n": UltralyticsConfig("yolo11n"),
    "ul_yolo11s": UltralyticsConfig("yolo11s"),
    "ul_yolo26n": UltralyticsConfig("yolo26n"),
}
