"""What skystill needs of a YOLO beside the model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skystill.detectors.base import Detector
from skystill.detectors.checks import check_sides, class_names
from skystill.detectors.gfl.head import anchors, decode, from_distances
from skystill.detectors.modes import norms_told, training, watched
from skystill.detectors.ultralytics.config import UltralyticsConfig
from skystill.structures import Dense, HeadView, Knowledge, MapPair, Output, Targets

Branch = dict[str, Any]  # of a head: "boxes" (B, 4 R, N), "scores" (B, K, N), "feats", the maps that it saw

_SCALE = 8.0  # side of a place in strides, as ATSS has it; a YOLO knows no anchors


class UltralyticsDetector(Detector):
    """A YOLO detect model of ultralytics.

    model: ultralytics' own DetectionModel; its state_dict is as ultralytics writes it. architecture: gives the values
    that build the model again.

    A model with two heads, such as YOLO26, trains both by its own loss. Its one-to-many head is the one that teaches
    and is taught: it says something at every place of an object. Its one-to-one head is silent at all of them but one,
    and learns to be, so a dense lesson would bring back the doubles. It reads the same pyramid, though apart from the
    gradient, so it gains by what the lessons make of that. Detections come from the head that ultralytics itself would
    ask: one-to-many with NMS, or, if `model.end2end` is set, one-to-one without.
    """

    family: ClassVar[str] = "ultralytics"

    def __init__(self, model: Any, classes: Sequence[str], architecture: Callable[[], UltralyticsConfig]) -> None:
        super().__init__()
        self.model: Any = model
        self.classes, self.kind = class_names(classes), "hbb"
        self._architecture = architecture
        self.in_chans = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels
        self.strides = tuple(int(s) for s in self.head.stride)
        self.multiple = max(32, self.strides[-1])
        self._progress = 0.0
        self._criterion: Any = None
        self._device = torch.device("meta")

    @property
    def head(self) -> Any:
        """ultralytics' Detect."""
        return self.model.model[-1]

    @property
    def backbone(self) -> nn.Module:
        """The layers under the neck: what may be frozen."""
        return nn.Sequential(*self._layers[: self._depth])

    @property
    def neck(self) -> nn.Module:
        """The layers between backbone and head."""
        return nn.Sequential(*self._layers[self._depth : -1])

    @property
    def _layers(self) -> list[nn.Module]:
        return list(self.model.model)

    @property
    def _depth(self) -> int:
        return len(self.model.yaml["backbone"])

    @property
    def nms(self) -> bool:
        """Whether detections need it; those of a one-to-one head do not."""
        return not self.head.end2end

    def config(self) -> dict[str, Any]:
        """The architecture as plain values. Errors: ConfigError for a model that ultralytics does not ship."""
        return asdict(replace(self._architecture(), end2end=not self.nms))

    def set_progress(self, t: float) -> None:
        """Of two heads the one-to-one counts for more and more, as in ultralytics' training."""
        self._progress = t

    def check(self, images: Tensor, targets: Sequence[Targets] | None = None) -> None:
        """See Detector. The neck joins maps of several strides, which must meet."""
        super().check(images, targets)
        check_sides(images, self.multiple)

    def forward(self, images: Tensor, targets: list[Targets] | None = None) -> Output:
        """ultralytics' own losses, a mean over the images, when targets are given, and the knowledge; see `Output`."""
        self.check(images, targets)
        with watched([tower[0] for tower in (*self.head.cv3, *self.head.cv2)]) as seen:
            branches = self._run(images)
        many, inside = branches["one2many"], [runs[0] for runs in seen]
        head = replace(self.head_view(), maps=tuple(zip(inside[: self.head.nl], inside[self.head.nl :], strict=True)))
        knowledge = Knowledge(tuple(many["feats"]), self.strides, self._dense(many), head=head)
        if targets is None:
            return Output({}, knowledge)
        with torch.autocast(images.device.type, enabled=False):
            return Output(self._own_losses(branches, targets, images), knowledge)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N, K) and boxes (B, N, 4) at every place, of the head that detections come from."""
        dense = self._dense(self._run(images)["one2many" if self.nms else "one2one"])
        return dense.scores(), dense.boxes

    def head_view(self) -> HeadView:
        """The middle of the one-to-many head: each level has towers of its own, cut after their first layer of two."""
        widths = (self.head.cv3[0][-1].in_channels, self.head.cv2[0][-1].in_channels)
        return HeadView(widths, self._finish, shared=False)

    def _finish(self, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
        pairs = list(zip(maps, levels, strict=True))
        scores = torch.cat([self.head.cv3[level][1:](of_cls).flatten(2) for (of_cls, _), level in pairs], 2)
        boxes = torch.cat([self.head.cv2[level][1:](of_reg).flatten(2) for (_, of_reg), level in pairs], 2)
        return self._dense({"boxes": boxes, "scores": scores, "feats": [c for c, _ in maps]}, levels)

    def _run(self, images: Tensor) -> dict[str, Branch]:
        """What the heads say, by the names that ultralytics gives them."""
        self.check(images)
        # Its predictions as they are in training, not yet decoded and cut.
        with norms_told(images), training([self.head], True):
            found: Branch = self.model(images)
        return found if "one2many" in found else {"one2many": found}

    def _dense(self, branch: Branch, levels_said: Sequence[int] | None = None) -> Dense:
        """A head's predictions in skystill's form, at all levels or some; its distributions, where it has them, are
        GFL's."""
        sides, device = [level.shape[2:] for level in branch["feats"]], branch["scores"].device
        of = self.strides if levels_said is None else [self.strides[level] for level in levels_said]
        grids = [anchors(h, w, s, _SCALE, device) for (h, w), s in zip(sides, of, strict=True)]
        levels, places = tuple(h * w for h, w in sides), torch.cat(grids)
        strides = (places[:, 2] - places[:, 0]) / _SCALE
        edges = branch["boxes"].unflatten(1, (4, self.head.reg_max)).permute(0, 3, 1, 2)
        logits = branch["scores"].transpose(1, 2)
        if self.head.reg_max > 1:
            return Dense(logits, decode(edges, places, strides), edges, places, levels)
        return Dense(logits, from_distances(edges[..., 0].float() * strides[:, None], places), None, places, levels)

    def _own_losses(self, branches: dict[str, Branch], targets: list[Targets], images: Tensor) -> dict[str, Tensor]:
        """box_loss, cls_loss and dfl_loss (l1_loss without distributions), of both heads together.

        Divided by the batch size, with which ultralytics multiplies them: terms of distillation are means too.
        """
        if self._criterion is None or self._device != images.device:
            self._criterion, self._device = self._make_criterion(), images.device
        criterion = self._criterion
        plain = {name: _in_float32(branch) for name, branch in branches.items()}
        names = getattr(criterion, "one2many", criterion).loss_names
        if len(plain) > 1:
            criterion.o2m = criterion.o2m_copy + self._progress * (criterion.final_o2m - criterion.o2m_copy)
            criterion.o2o = criterion.total - criterion.o2m
        predicted = plain if len(plain) > 1 else plain["one2many"]
        found: Tensor = criterion(predicted, self._truth(targets, images))[0] / len(images)
        return dict(zip(names, found.unbind(), strict=True))

    def _make_criterion(self) -> Any:
        """The model's own, with its own weights of the terms. It reads them by attribute, and a model that YOLO made
        keeps them in a dict."""
        from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace

        missing = object()
        kept = getattr(self.model, "args", missing)
        own = {} if kept is missing else kept if isinstance(kept, dict) else vars(kept)
        self.model.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **own})
        try:
            return self.model.init_criterion()
        finally:
            if kept is missing:
                del self.model.args
            else:
                self.model.args = kept

    def _truth(self, targets: list[Targets], images: Tensor) -> dict[str, Tensor]:
        """Targets as ultralytics' losses take them: centre, width and height as shares of the image. Ignored objects
        are left out, so they count as background."""
        counted = [t.counted().to(images.device) for t in targets]
        boxes = torch.cat([t.boxes.float() for t in counted])
        height, width = images.shape[2:]
        share = boxes.new_tensor([width, height, width, height])
        centred = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
        index = torch.arange(len(counted), device=images.device)
        counts = torch.tensor([len(t) for t in counted], device=images.device)
        return {
            "batch_idx": index.repeat_interleave(counts).float(),
            "cls": torch.cat([t.labels for t in counted]).float(),
            "bboxes": centred / share,
        }


def _in_float32(branch: Branch) -> Branch:
    """A head's predictions for the loss. It makes anchors in the maps' type, and bfloat16 knows no cell 301; of the
    maps it needs nothing but their sides."""
    one = torch.zeros((), device=branch["scores"].device)
    stubs = [one.expand(1, 1, *level.shape[2:]) for level in branch["feats"]]
    return {"boxes": branch["boxes"].float(), "scores": branch["scores"].float(), "feats": stubs}
