"""LD: localization distillation (Zheng et al., CVPR 2022, https://arxiv.org/abs/2102.12252), section 3.

    L = main L_LD on R_main + vlr L_LD on R_VLR,   L_LD = sum_e T^2 KL( softmax(d_t / T) || softmax(d_s / T) )

R_main: the ATSS positives. R_VLR: the ring around them, gamma t_g <= DIoU < t_g (algorithm 1). d: logits (B, N, E, n+1)
of the distributions of a box's E edges at N places. T 10 and gamma (here `low`) 0.25: the paper's choices; both weights
0.25: the weight of GFL's DFL, which the authors' settings give both regions.
Differs from the paper: localization alone, without its classification term on R_main (`ld+bckd` adds one that suits
independent classes). Differs from the authors' code: each region's loss is a mean over its places, so that it means the
same for any batch, where theirs is a sum, on R_main by the student's score; and the KL is a sum over the bins, as the
formula has it, where theirs is a mean. So their weights pull otherwise here.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from skystill.distillation.ltd.regions import find_regions
from skystill.distillation.method import Method
from skystill.distillation.pairing import same_grid
from skystill.distillation.settings import Divisor, Share, Weight
from skystill.distributed import mean_over_workers
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets


def edge_divergence(edges_s: Tensor, edges_t: Tensor, tau: float) -> Tensor:
    """(..., E) T^2 KL from the teacher's to the student's distribution of each edge; both (..., E, n+1) logits."""
    log_s, log_t = (edges_s / tau).log_softmax(-1), (edges_t / tau).log_softmax(-1)
    return tau**2 * F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)


def ld_loss(dense_s: Dense, dense_t: Dense, region: Tensor, tau: float = 10.0) -> Tensor:
    """L_LD, summed over the edges, mean over the places of region (B, N) bool, a scalar; 0 for an empty region."""
    assert dense_s.edges is not None
    assert dense_t.edges is not None
    found = edge_divergence(dense_s.edges[region].float(), dense_t.edges[region].float(), tau)
    return found.sum() / mean_over_workers(found.new_tensor(float(len(found)))).clamp(min=1)


def check_edges(name: str, dense_s: Dense, dense_t: Dense, instead: str) -> None:
    """Refuses heads whose edge distributions cannot be compared bin by bin. instead: what works with them."""
    for whose, dense in (("student's", dense_s), ("teacher's", dense_t)):
        if dense.edges is None:
            raise ConfigError(f"{name} compares the distributions of edges, but the {whose} head has none. {instead}")
    bins = [dense.edges.shape[-1] for dense in (dense_s, dense_t) if dense.edges is not None]
    if bins[0] != bins[1]:
        raise ConfigError(
            f"{name} compares the distributions of edges bin by bin, but the student has {bins[0]} bins and the "
            f"teacher {bins[1]}. Give both the same reg_max. {instead}"
        )


class LD(Method):
    """LD. main, vlr: weights of the two regions, 0 leaves one out. tau: the paper's T. low: its gamma.

    Returns "ld" (main) and "ld_vlr".
    """

    def __init__(self, main: Weight = 0.25, vlr: Weight = 0.25, tau: Divisor = 10.0, low: Share = 0.25) -> None:
        super().__init__()
        self.main, self.vlr, self.tau, self.low = main, vlr, tau, low

    @property
    def features(self) -> bool:
        """It compares predictions alone."""
        return False

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Checks that both heads have edge distributions at the same places; there is nothing to learn."""
        check_edges("ld", *same_grid(student, teacher), "Methods that do without them: ltd, bckd, pkd.")

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        dense_s, dense_t = same_grid(student, teacher)
        regions = find_regions(dense_t, targets, low=self.low)
        terms: dict[str, Tensor] = {}
        if self.main:
            terms["ld"] = self.main * ld_loss(dense_s, dense_t, regions.positives, self.tau)
        if self.vlr:
            terms["ld_vlr"] = self.vlr * ld_loss(dense_s, dense_t, regions.ring, self.tau)
        return terms
