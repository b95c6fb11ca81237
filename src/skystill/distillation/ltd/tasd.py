"""TASD, task-aware spatial disentangle distillation of LTD (IEEE TGRS 2023, DOI 10.1109/TGRS.2023.3241342).

Classification is distilled at objects' cores and where the teacher is sure, localization on positives and on the ring
around them (regions.py), each by its own loss (losses.py), wherever a detector predicts: at the places of a dense head,
at a second stage's proposals, by queries. B batch, N places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from skystill.distillation.items import items_of, on_queries
from skystill.distillation.ltd.losses import box_imitation_loss, check_bins, localization_loss, semantic_loss
from skystill.distillation.ltd.regions import Regions, find_regions, proposal_regions
from skystill.distillation.pairing import same_grid
from skystill.distillation.proposals import on_proposals
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets

RegionsOf = Literal["disentangled", "shared"]


@dataclass(frozen=True)
class TASD:
    """The terms "sem" and "loc", of a two-stage student "roi_sem" and "roi_loc" as well. Its settings are those of LTD.

    Errors: ConfigError for unknown regions.
    """

    sem: float
    loc: float
    core: float
    sure: float
    low: float
    background: float
    tau_loc: float
    regions: RegionsOf

    def __post_init__(self) -> None:
        if self.regions not in get_args(RegionsOf):
            raise ConfigError(f"regions {self.regions!r} are unknown; choose {' or '.join(get_args(RegionsOf))}.")

    def __bool__(self) -> bool:
        """Whether any term has a weight."""
        return bool(self.sem or self.loc)

    def check(self, student: Knowledge, teacher: Knowledge) -> None:
        """Errors: ConfigError where predictions of this pair cannot be compared."""
        if not self:
            return
        if student.queries is not None:
            items_of(teacher, student.queries.classes)
        else:
            check_bins(*same_grid(student, teacher))

    def __call__(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """Weighted terms by name; a weight of 0 leaves its term out."""
        if not self:
            return {}
        if student.queries is not None:
            level, stride = student.pyramid[0], student.strides[0]
            size = (level.shape[2] * stride, level.shape[3] * stride)
            found = items_of(teacher, student.queries.classes)
            return self._on_boxes(*on_queries(student.queries, found, size, teacher.scope), targets)
        terms = self._on_grid(*same_grid(student, teacher), targets)
        if student.stages is not None:
            second = self._on_boxes(*on_proposals(student, teacher), targets)
            terms |= {f"roi_{name}": value for name, value in second.items()}
        return terms

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """R_sem and R_loc, bool (B, N), of the terms that have a weight."""
        regions = self._find(dense_t, targets)
        return ({"R_sem": regions.sem} if self.sem else {}) | ({"R_loc": regions.loc} if self.loc else {})

    def _find(self, dense_t: Dense, targets: list[Targets]) -> Regions:
        regions = find_regions(dense_t, targets, self.core, self.sure, self.low)
        return regions.shared() if self.regions == "shared" else regions

    def _on_grid(self, dense_s: Dense, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """At the places of a dense head."""
        regions, terms = self._find(dense_t, targets), {}
        if self.sem:
            terms["sem"] = self.sem * semantic_loss(dense_s, dense_t, regions.sem, background=self.background)
        if self.loc:
            if dense_s.edges is not None and dense_t.edges is not None:
                terms["loc"] = self.loc * localization_loss(dense_s, dense_t, regions.loc, self.tau_loc)
            else:
                terms["loc"] = self.loc * box_imitation_loss(dense_s, dense_t, regions.loc)
        return terms

    def _on_boxes(
        self, boxes: list[Tensor], dense_s: Dense, dense_t: Dense, targets: list[Targets]
    ) -> dict[str, Tensor]:
        """Where places are boxes of their own in each image: proposals, or what the teacher found."""
        sem, loc = proposal_regions(boxes, dense_t, targets, self.sure, self.low)
        if self.regions == "shared":
            sem = loc = sem | loc
        terms = {}
        if self.sem:
            terms["sem"] = self.sem * semantic_loss(dense_s, dense_t, sem, background=self.background)
        if self.loc:
            terms["loc"] = self.loc * box_imitation_loss(dense_s, dense_t, loc)
        return terms
