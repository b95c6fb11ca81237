"""SemCKD: cross-layer distillation with semantic calibration (Chen et al., AAAI 2021,
https://arxiv.org/abs/2012.03236), its idea.

Every student level learns from all teacher levels, with weights from a learned attention between the levels:

    L = mean_b 1/L_s sum_i sum_j alpha_ij d_ij,   alpha_ij = softmax_j(gamma u_i . v_j)

B batch, L_s student and L_t teacher levels. It is LTD's explicit binding (ltd/bindings.py) alone, without a preference
for near levels, and shows what LTD's other parts add. weight 3: the paper's, for images of one label, does not carry
over, and at the 20 of LTD's CCD a learned binding alone harms (docs/results.md).
Differs from the paper: u and v come from the average and maximum of a level instead of the similarities of the images
in a batch, which say little in batches as small as detectors have; they have length 1, so that the logits are bounded
by gamma and the loss, which is linear in alpha, cannot collapse onto its easiest level; d is 1 - Pearson at the coarser
resolution of a pair, at `places` sampled cells, instead of a mean squared difference; one 1x1 convolution for each
student level instead of a projection for each pair.
"""

from __future__ import annotations

from torch import Tensor

from skystill.distillation.ltd.bindings import ExplicitBinding, bound
from skystill.distillation.method import Method
from skystill.distillation.settings import Count, Weight
from skystill.structures import Knowledge, Targets


class SemCKD(Method):
    """SemCKD between all levels. weight: factor of the loss. gamma, dim: bound of the logits and size of u and v.

    places: at most so many cells of a pair are compared at each step. Returns "semckd".
    """

    def __init__(self, weight: Weight = 3.0, gamma: Weight = 1.0, dim: Count = 128, places: Count = 1024) -> None:
        super().__init__()
        self.weight, self.gamma, self.dim, self.places = weight, gamma, dim, places
        self._alpha: Tensor | None = None

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Makes the binding."""
        self.binding = ExplicitBinding(student, teacher, self.places, self.dim, self.gamma, rho=0.0)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        alpha, distances = self.binding(student.pyramid, teacher.pyramid)
        self._alpha = alpha.detach()
        return {"semckd": self.weight * bound(alpha, distances)}

    def bindings(self) -> dict[str, Tensor]:
        """alpha (B, L_s, L_t): which teacher levels each student level learned from."""
        return {} if self._alpha is None else {"alpha": self._alpha}
