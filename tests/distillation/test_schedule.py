import pytest

from skystill.distillation.schedule import fade_out, warm_up


@pytest.mark.parametrize(
    ("t", "share", "weight"), [(0, 0.5, 0), (0.25, 0.5, 0.5), (0.5, 0.5, 1), (1, 0.5, 1), (0, 0, 1), (0.3, -1, 1)]
)
def test_warm_up_rises_to_one_and_stays(t: float, share: float, weight: float) -> None:
    assert warm_up(t, share) == weight


@pytest.mark.parametrize(
    ("t", "start", "end", "weight"),
    [
        (0, 0.2, 0.6, 1),
        (0.2, 0.2, 0.6, 1),
        (0.4, 0.2, 0.6, 0.5),
        (0.6, 0.2, 0.6, 0),
        (1, 0.2, 0.6, 0),
        (0.7, 0.5, 0.5, 0),
        (0, 0, 0, 0),
    ],
)
def test_fade_out_falls_to_zero_and_stays(t: float, start: float, end: float, weight: float) -> None:
    assert fade_out(t, start, end) == pytest.approx(weight)
