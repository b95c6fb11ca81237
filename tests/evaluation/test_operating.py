"""The operating point against every threshold tried in turn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skystill.evaluation.confusion import confusion_matrix
from skystill.evaluation.operating import best_f1
from skystill.structures import Detections, Targets

BOX = torch.tensor([[10.0, 10, 30, 30], [50, 10, 70, 30], [10, 50, 30, 70], [50, 50, 70, 70]])
CLASSES = ("ship", "plane")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_threshold_is_better(data: st.DataObject) -> None:
    """Detections lie on objects or far from all, so that each class alone decides, and a matrix of confusion counts."""
    seen, truth = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        here = data.draw(st.lists(st.integers(0, 3), max_size=4, unique=True))
        labels = data.draw(st.lists(st.integers(0, 1), min_size=len(here), max_size=len(here)))
        truth.append(Targets(BOX[here], torch.tensor(labels, dtype=torch.long)))
        there = data.draw(st.lists(st.integers(0, 3), max_size=4, unique=True))
        guesses = data.draw(st.lists(st.integers(0, 1), min_size=len(there), max_size=len(there)))
        scores = data.draw(
            st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=len(there), max_size=len(there))
        )
        seen.append(Detections(BOX[there], torch.tensor(scores), torch.tensor(guesses, dtype=torch.long)))

    def f1(threshold: float) -> float:
        matrix = confusion_matrix(seen, truth, CLASSES, score=threshold)
        right = int(matrix[:2, :2].trace())
        return 2 * right / max(int(matrix[:, :2].sum()) + int(matrix[:2].sum()), 1)

    best = max(f1(threshold) for threshold in (0.0, 0.2, 0.4, 0.6, 0.8))
    point = best_f1(seen, truth, CLASSES)
    if best == 0:
        assert point is None
        return
    assert point is not None
    assert point.f1 == pytest.approx(best)
    assert f1(round(point.score, 4)) == pytest.approx(best)
    assert point.f1 == pytest.approx(2 * point.precision * point.recall / (point.precision + point.recall))


def test_by_hand_and_what_is_ignored_counts_for_nothing() -> None:
    truth = Targets(BOX, torch.zeros(4, dtype=torch.long), torch.tensor([False, False, False, True]))
    seen = Detections(
        torch.cat([BOX, BOX[:1] + 200]), torch.tensor([0.9, 0.8, 0.2, 0.6, 0.4]), torch.zeros(5, dtype=torch.long)
    )
    # From 0.8 on 2 of 2 are right and 2 of 3 found, F1 0.8; from 0.2 on 3 of 4 and 3 of 3, F1 6/7.
    point = best_f1([seen], [truth], CLASSES)
    assert point is not None
    assert point.as_dict() == {"score": 0.125, "precision": 0.75, "recall": 1.0, "f1": 0.8571}
    assert best_f1([], [], CLASSES) is None
    assert best_f1([seen], [Targets(BOX[:0], torch.zeros(0, dtype=torch.long))], CLASSES) is None
