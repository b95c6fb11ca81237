"""The only types that pass between the rooms of skystill.

Letters: B batch, C channels, H W cells of a pyramid level, K classes, N places where a dense head predicts, Q queries,
M true objects, D detections, E edges of a box (4, or 2 sides and an angle), n+1 bins of an edge's distribution.

A box is (x1, y1, x2, y2) in pixels when it has 4 columns (horizontal, "hbb") and (cx, cy, w, h, theta) with theta in
radians in [-pi/2, pi/2) and w >= h when it has 5 (oriented, "obb", the le90 convention).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from skystill.errors import DataError

Activation = Literal["sigmoid", "softmax"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What is true of one image.

    boxes: (M, 4|5) float32. labels: (M,) int64 in 0..K-1. ignore: (M,) bool, crowds and difficult objects: training
    takes them neither as objects nor as background, and evaluation does not count them. name: the image, for messages.
    key: (view, index) of the data set that showed the image so, where there is one; a teacher cache goes by it.
    labelled: False for an image that nobody looked at; no boxes then says nothing. told: what a predictions file says
    was found in this image, moved with the truth; None where no such file teaches.
    Errors: DataError for other shapes or kinds.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    name: str = ""
    key: tuple[int, int] | None = None
    labelled: bool = True
    told: Detections | None = None

    def __post_init__(self) -> None:
        of = f" of image {self.name!r}" if self.name else ""
        for what, part in (("boxes", self.boxes), ("labels", self.labels), ("ignore flags", self.ignore)):
            if not isinstance(part, Tensor):
                raise DataError(
                    f"the {what}{of} are a {type(part).__name__}; give a tensor, e.g. torch.as_tensor(...)."
                )
        m = len(self.boxes)
        if self.boxes.ndim != 2 or self.boxes.shape[1] not in (4, 5):
            raise DataError(f"the boxes{of} are {tuple(self.boxes.shape)}; give (M, 4) or (M, 5).")
        if self.labels.is_floating_point() and len(self.labels):
            raise DataError(f"the labels{of} are {self.labels.dtype}; give whole numbers.")
        if len(self.labels) != m:
            raise DataError(f"{m} boxes but {len(self.labels)} labels{of}; give each box one.")
        if len(self.ignore) != m:
            if len(self.ignore):
                raise DataError(f"{m} boxes but {len(self.ignore)} ignore flags{of}; give each box one, or none.")
            object.__setattr__(self, "ignore", torch.zeros(m, dtype=torch.bool, device=self.boxes.device))

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: torch.device | str) -> Targets:
        """The same truth on another device."""
        told = None if self.told is None else self.told.to(device)
        boxes, labels, ignore = (part.to(device) for part in (self.boxes, self.labels, self.ignore))
        return replace(self, boxes=boxes, labels=labels, ignore=ignore, told=told)

    def rows(self, keep: Tensor) -> Targets:
        """Only the objects of the mask (M,)."""
        return replace(self, boxes=self.boxes[keep], labels=self.labels[keep], ignore=self.ignore[keep])

    def counted(self) -> Targets:
        """Only the objects that count: those without the ignore flag."""
        return self.rows(~self.ignore)

    @staticmethod
    def empty(name: str = "", columns: int = 4) -> Targets:
        """An image without objects."""
        return Targets(torch.zeros(0, columns), torch.zeros(0, dtype=torch.int64), name=name)


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector sees in one image: boxes (D, 4|5), scores (D,) in 0..1, labels (D,), best score first."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: torch.device | str) -> Detections:
        """The same detections on another device."""
        return Detections(self.boxes.to(device), self.scores.to(device), self.labels.to(device))

    def above(self, score: float) -> Detections:
        """Only those that score at least `score`."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])


def _scores(logits: Tensor, activation: Activation) -> Tensor:
    if activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float().softmax(-1)[..., :-1]


@dataclass(frozen=True, slots=True)
class Dense:
    """Predictions at N places.

    logits: (B, N, K). boxes: (B, N, 4|5), decoded, in pixels. edges: (B, N, E, n+1) logits of a distribution over
    each edge's distance, or None where the head has none. places: (N, 4) anchors as (x1, y1, x2, y2), the same for
    every image of the batch. levels: how many of the N places each pyramid level has, fine to coarse. activation:
    what turns logits into scores. muted: (B, N, K) where a teacher may not speak and its logits are the student's;
    placed: (B, N) where its boxes are its own all the same. None of both: everywhere.
    """

    logits: Tensor
    boxes: Tensor
    edges: Tensor | None
    places: Tensor
    levels: tuple[int, ...]
    activation: Activation = "sigmoid"
    muted: Tensor | None = None
    placed: Tensor | None = None

    def scores(self) -> Tensor:
        """(B, N, K) in 0..1, float32. A softmax head's last class is background and is left out."""
        return _scores(self.logits, self.activation)

    def best(self) -> Tensor:
        """(B, N) the best score of every place, 0 where the head may not speak."""
        scores = self.scores()
        return (scores if self.muted is None else scores.masked_fill(self.muted, 0)).amax(2)

    @property
    def classes(self) -> int:
        """K."""
        return self.logits.shape[2] - (self.activation == "softmax")

    def detach(self) -> Dense:
        """The same predictions without gradient."""
        edges = None if self.edges is None else self.edges.detach()
        return replace(self, logits=self.logits.detach(), boxes=self.boxes.detach(), edges=edges)


@dataclass(frozen=True, slots=True)
class Queries:
    """Predictions of a set predictor: logits (B, Q, K), of a softmax (B, Q, K+1), boxes (B, Q, 4|5) in pixels."""

    logits: Tensor
    boxes: Tensor
    activation: Activation = "sigmoid"

    def scores(self) -> Tensor:
        """(B, Q, K) in 0..1, float32. A softmax's last class is background and is left out."""
        return _scores(self.logits, self.activation)

    @property
    def classes(self) -> int:
        """K."""
        return self.logits.shape[2] - (self.activation == "softmax")


MapPair = tuple[Tensor, Tensor]  # of one level, for classes and for boxes
Finish = Callable[[Sequence[MapPair], Sequence[int]], Dense]


@dataclass(frozen=True, slots=True)
class HeadView:
    """A dense head of two towers, for classes and for boxes, opened before the last convolution of each.

    widths: C of the maps there, of both towers. finish: such maps, and the head's level that each pair is of, to
    predictions at these levels, by the head's own layers, whatever weights they have by then. maps: a pair of
    (B, C, H_l, W_l) for each level, fine to coarse; empty for a head that has not run. shared: whether the towers of
    all levels are the same.
    """

    widths: tuple[int, int]
    finish: Finish
    maps: tuple[MapPair, ...] = ()
    shared: bool = True


Judge = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class TwoStage:
    """A head of two stages: the first says where objects are, the second what is in a box, wherever that comes from.

    first: objectness (K = 1) and boxes at anchors. proposals: (R_i, 4) boxes of each image that the first stage hands
    to the second, best first, without gradient; empty unless the detector learns. judge: a pyramid and (R_i, 4) boxes
    of each image to logits (R, K+1), background last, and boxes (R, K, 4), one of each class, R = sum R_i; it runs the
    second stage's own layers.
    """

    first: Dense
    proposals: list[Tensor]
    judge: Judge


@dataclass(frozen=True, slots=True)
class Scope:
    """What a teacher may speak of: of each of the student's classes whether it is heard, and of boxes whose side, the
    root of their area, has at least the first and less than the second number of pixels; None of any."""

    classes: tuple[bool, ...]
    sides: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that distillation may see of a detector.

    pyramid: neck features, fine to coarse, each (B, C, H_l, W_l). strides: pixels per cell of each level.
    dense, queries, stages, detections: what the head predicts, where it has such a view. head: its middle, where it can
    be opened. scope: of a teacher, what it may speak of; None of everything.
    """

    pyramid: tuple[Tensor, ...]
    strides: tuple[int, ...]
    dense: Dense | None = None
    queries: Queries | None = None
    stages: TwoStage | None = None
    detections: list[Detections] | None = None
    head: HeadView | None = None
    scope: Scope | None = None

    def detach(self) -> Knowledge:
        """The same knowledge without gradient."""
        queries, stages, head = self.queries, self.stages, self.head
        if head is not None:
            head = replace(head, maps=tuple((c.detach(), b.detach()) for c, b in head.maps))
        if queries is not None:
            queries = replace(queries, logits=queries.logits.detach(), boxes=queries.boxes.detach())
        return replace(
            self,
            pyramid=tuple(p.detach() for p in self.pyramid),
            dense=None if self.dense is None else self.dense.detach(),
            queries=queries,
            stages=None if stages is None else replace(stages, first=stages.first.detach()),
            head=head,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """What a detector returns for a batch.

    losses: the detector's own terms, already weighted, empty without targets. knowledge: what distillation may see.
    detections: one per image where they were asked for, else None.
    """

    losses: dict[str, Tensor]
    knowledge: Knowledge
    detections: list[Detections] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a loader yields.

    images: (B, C, H, W) float32 in 0..1, padded with zeros at the right and bottom. targets: one per image.
    sizes: the (height, width) of each image before padding.
    """

    images: Tensor
    targets: list[Targets]
    sizes: list[tuple[int, int]]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(self.images.to(device, non_blocking=True), [t.to(device) for t in self.targets], self.sizes)
