"""CWD's eq. 5 over numbers: every channel a distribution over its cells."""

import math
from collections.abc import Callable

import pytest

from skystill.distillation.peers.cwd import CWD, cwd_loss
from skystill.structures import Knowledge, Targets

MakeKnowledge = Callable[..., Knowledge]


def distribution(values: list[float], tau: float) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_the_loss_over_numbers(make_knowledge: MakeKnowledge, tau: float) -> None:
    s, t = make_knowledge(1, channels=3).pyramid[1], make_knowledge(2, channels=3).pyramid[1]
    total = 0.0
    for b in range(2):
        for c in range(3):
            p_s = distribution(s[b, c].flatten().tolist(), tau)
            p_t = distribution(t[b, c].flatten().tolist(), tau)
            total += sum(y * math.log(y / x) for x, y in zip(p_s, p_t, strict=True))
    assert cwd_loss(s, t, tau).item() == pytest.approx(tau**2 * total / 6, rel=1e-4)
    assert cwd_loss(t, t, tau) == 0
    # A channel may be louder everywhere: only where it is strong counts.
    assert cwd_loss(t + 5, t, tau).item() == pytest.approx(0, abs=1e-5)


def test_a_temperature_near_zero_stays_finite(make_knowledge: MakeKnowledge) -> None:
    s, t = make_knowledge(1).pyramid[0], make_knowledge(2).pyramid[0]
    assert cwd_loss(1e3 * s, 1e3 * t, 0.1).isfinite()


def test_the_term_is_the_weighted_sum_over_levels(make_knowledge: MakeKnowledge, two_images: list[Targets]) -> None:
    student, teacher = make_knowledge(1), make_knowledge(2)
    method = CWD(weight=6.0, tau=2.0)
    method.build(student, teacher)
    levels = [cwd_loss(s, t, 2.0).item() for s, t in zip(student.pyramid, teacher.pyramid, strict=True)]
    assert method(student, teacher, two_images)["cwd"].item() == pytest.approx(6.0 * sum(levels), rel=1e-5)
