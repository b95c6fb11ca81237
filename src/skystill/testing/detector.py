"""What a detector owes to those who train it, distil it, measure it and keep it."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from skystill.boxes.nms import Selection
from skystill.detectors.base import Detector
from skystill.detectors.weights import FAMILIES, load, save
from skystill.distillation.distiller import Distiller
from skystill.distillation.ltd import LTD
from skystill.structures import Knowledge, Targets
from skystill.testing.scenes import check_terms, must_refuse, noise, objects, odd_truths, refusal, total
from skystill.testing.shapes import check_knowledge


class DetectorContract:
    """Inherit it in a class whose name begins with Test, and override `make`.

    make: a new detector each time, as small as it gets, from random weights; no seed of its own, for the contract asks
    for different ones. steps, rate: how long and how fast it learns one batch by heart (AdamW). unreached: beginnings
    of names of parameters that its own losses are not meant to reach.
    """

    steps: int = 8
    rate: float = 1e-3
    unreached: tuple[str, ...] = ()

    def make(self) -> Detector:
        """A new detector, small, from random weights."""
        raise NotImplementedError("override make(self) with one that returns your detector")

    def made(self, seed: int = 0) -> Detector:
        """What `make` gives after that seed."""
        torch.manual_seed(seed)
        detector = self.make()
        assert isinstance(detector, Detector), f"make gives a {type(detector).__name__}, not a skystill.Detector"
        return detector

    def size(self, detector: Detector) -> tuple[int, int]:
        """(height, width) of the smallest square from 64 px on that it takes."""
        side = -(-64 // detector.multiple) * detector.multiple
        return side, side

    def scene(self, detector: Detector) -> tuple[Tensor, list[Targets]]:
        """Two images, the second without objects."""
        classes, size = len(detector.classes), self.size(detector)
        nothing = odd_truths(classes, size, detector.kind)["nothing"]
        return noise(detector.in_chans, size), [objects(classes, size, detector.kind), nothing]

    def test_it_says_what_it_is(self) -> None:
        """Attributes that loaders and distillers go by."""
        detector = self.made()
        assert isinstance(detector.classes, tuple), "classes is a tuple of names in label order"
        assert detector.classes, "classes is empty"
        assert len(set(detector.classes)) == len(detector.classes), "classes holds a name twice"
        assert detector.kind in ("hbb", "obb"), f"kind is {detector.kind!r}"
        assert detector.in_chans >= 1, f"in_chans is {detector.in_chans}"
        assert detector.multiple >= 1, f"multiple is {detector.multiple}"
        assert isinstance(detector.family, str), "family is the name in FAMILIES, or any other"

    def test_losses_are_finite_for_any_truth(self) -> None:
        """Also for images without objects, which aerial data is full of, and for objects smaller than a cell."""
        detector = self.made().train()
        images, targets = self.scene(detector)
        odd = odd_truths(len(detector.classes), self.size(detector), detector.kind)
        for where, truths in {"objects": targets, **{name: [one, one] for name, one in odd.items()}}.items():
            losses = detector(images, truths).losses
            assert losses, f"{where}: no losses"
            check_terms(losses, where)
            loss = total(losses)
            assert loss.requires_grad, f"{where}: the losses carry no gradient"
            detector.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            bad = [n for n, p in detector.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            assert not bad, f"{where}: the gradient of {bad[0]} is not finite"

    def test_without_targets_there_are_no_losses(self) -> None:
        """Teachers and probes ask so."""
        detector = self.made().eval()
        assert not detector(self.scene(detector)[0]).losses, "losses without targets"

    def test_gradients_reach_every_parameter(self) -> None:
        """What no loss reaches does not learn, and stops a distributed training."""
        detector = self.made().train()
        total(detector(*self.scene(detector)).losses).backward()  # type: ignore[no-untyped-call]
        learned = {n: p.grad for n, p in detector.named_parameters() if p.requires_grad}
        lone = [n for n, grad in learned.items() if grad is None and not n.startswith(self.unreached)]
        assert not lone, f"no loss reaches {', '.join(lone[:5])}"
        assert any(grad is not None and grad.any() for grad in learned.values()), "every gradient is zero"

    def test_knowledge_is_what_it_promises(self) -> None:
        """Shapes, strides, places and pixels, of a wide image, as it learns and as it teaches."""
        detector = self.made()
        height, width = self.size(detector)
        size = height, width + detector.multiple
        images = noise(detector.in_chans, size)
        truth = [objects(len(detector.classes), size, detector.kind)] * 2
        check_knowledge(detector.train()(images, truth).knowledge, detector, images)
        with torch.no_grad():
            check_knowledge(detector.eval()(images).knowledge, detector, images)

    def test_an_image_is_seen_alike_in_any_batch(self) -> None:
        """Out of training, what is beside it does not count."""
        detector = self.made().eval()
        images = noise(detector.in_chans, self.size(detector), 3)
        with torch.no_grad():
            fewer, more = detector(images[:2]).knowledge.pyramid, detector(images).knowledge.pyramid
        for one, other in zip(fewer, more, strict=True):
            assert torch.allclose(one, other[:2], rtol=1e-3, atol=1e-4), "features depend on the batch's other images"

    def test_detections_are_among_raw_predictions(self) -> None:
        """`predict` chooses of what `raw` gives, as the selection says, best first."""
        detector = self.made().eval()
        images, _ = self.scene(detector)
        with torch.no_grad():
            scores, boxes = detector.raw(images)
        columns = 4 if detector.kind == "hbb" else 5
        assert scores.shape == (*boxes.shape[:2], len(detector.classes)), f"raw gives scores {tuple(scores.shape)}"
        assert boxes.shape[2] == columns, f"raw gives boxes {tuple(boxes.shape)}"
        assert scores.min() >= 0, "raw gives scores below 0"
        assert scores.max() <= 1, "raw gives scores above 1"
        found = detector.predict(images, Selection(score=0.0, keep=20))
        assert len(found) == len(images), f"predict gives {len(found)} answers to {len(images)} images"
        assert sum(map(len, found)), "predict finds nothing at a least score of 0"
        for one, score, box in zip(found, scores, boxes, strict=True):
            assert len(one) <= 20, "predict gives more detections than it should keep"
            assert (one.scores.diff() <= 0).all(), "detections are not best first"
            for at, value, label in zip(one.boxes, one.scores, one.labels, strict=True):
                same = ((box - at).abs().amax(1) < 0.01) & ((score[:, label] - value).abs() < 1e-3)
                assert same.any(), "predict gives a detection that raw does not give"
        assert not any(map(len, detector.predict(images, Selection(score=1.1)))), "predict passes over the least score"

    def test_predict_leaves_no_trace(self) -> None:
        """Modes stay, as do weights of a detector out of training, and detections carry no gradient."""
        detector = self.made()
        images, _ = self.scene(detector)
        for mode in (True, False):
            detector.train(mode)
            state = {k: v.clone() for k, v in detector.state_dict().items()}
            modes = {n: m.training for n, m in detector.named_modules()}
            found = detector.predict(images, Selection(score=0.0, keep=20))
            other = [n for n, m in detector.named_modules() if m.training != modes[n]]
            assert not other, f"predict changes the mode of {other[0] or 'the detector'}"
            assert not any(d.boxes.requires_grad or d.scores.requires_grad for d in found), "detections carry gradients"
            changed = [k for k, v in detector.state_dict().items() if not mode and not torch.equal(v, state[k])]
            assert not changed, f"predict changes {changed[0]}"

    def test_the_state_is_all_that_it_learned(self) -> None:
        """A state dict, and a copy, predict the same."""
        one, other = self.made(0).eval(), self.made(1).eval()
        other.load_state_dict(one.state_dict())
        self._same(one, other, "a detector with its state dict")
        self._same(one, deepcopy(one), "a copy")

    def test_a_file_brings_it_back(self) -> None:
        """config() is plain values. Of a family in FAMILIES, what `load` gives predicts the same, also when that is
        saved and loaded again."""
        detector = self.made().eval()
        config: dict[str, Any] = {}
        if refusal(lambda: config.update(detector.config()), "config()") is not None:
            return
        _check_plain(config)
        if detector.family not in FAMILIES:
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / "kept.safetensors"
            again = load(save(load(save(detector, path)), path))
        for what in ("classes", "kind", "in_chans", "multiple"):
            assert getattr(again, what) == getattr(detector, what), f"a file does not bring back {what}"
        self._same(detector, again, "what load gives")

    def test_it_learns(self) -> None:
        """Its own losses fall over a few steps on the same batch."""
        detector = self.made().train()
        images, targets = self.scene(detector)
        optimizer = torch.optim.AdamW([p for p in detector.parameters() if p.requires_grad], self.rate)
        history = []
        for step in range(self.steps):
            torch.manual_seed(0)  # what it draws
            detector.set_progress(step / self.steps)
            losses = detector(images, targets).losses
            check_terms(losses, f"step {step}")
            optimizer.zero_grad()
            total(losses).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            history.append(float(total(losses)))
        assert history[-1] < history[0], f"its losses go from {history[0]:.4g} to {history[-1]:.4g}"

    def test_it_learns_from_one_of_its_kind(self) -> None:
        """LTD's terms fall, of all that both show; the teacher stays as it is."""
        student, teacher = self.made(1), self.made(2)
        images, targets = self.scene(student)
        own = set(student.train()(images, targets).losses)
        shown = _predicts(student.eval()(images).knowledge)
        weight = 1.0 if shown else 0.0
        torch.manual_seed(0)
        # An untrained teacher is sure of nothing.
        distiller = Distiller(student.train(), teacher, LTD(sem=weight, loc=weight / 4, sure=0.0, low=0.0))
        before = {k: v.clone() for k, v in teacher.state_dict().items()}
        optimizer = torch.optim.AdamW(distiller.parameters(), self.rate)
        history = []
        for step in range(self.steps):
            torch.manual_seed(step % 2)  # the places and proposals that are drawn
            losses = distiller(images, targets)
            check_terms(losses, f"step {step}")
            terms = {name: value for name, value in losses.items() if name not in own}
            optimizer.zero_grad()
            (total(terms) + 0.1 * total(losses)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            history.append(float(total(terms)))
        assert {"ccd", *(("sem", "loc") if shown else ())} <= set(terms), f"the terms are {', '.join(terms)}"
        assert history[-2] < history[0], f"LTD's terms go from {history[0]:.4g} to {history[-2]:.4g}"
        assert all(p.grad is None for p in teacher.parameters()), "the teacher has gradients"
        assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()), "the teacher changed"

    def test_bfloat16_is_finite(self) -> None:
        """As mixed precision runs it, with and without targets."""
        detector = self.made().train()
        images, targets = self.scene(detector)
        with torch.autocast("cpu", torch.bfloat16):
            losses = detector(images, targets).losses
        check_terms(losses, "bfloat16")
        total(losses).backward()  # type: ignore[no-untyped-call]
        bad = [n for n, p in detector.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        assert not bad, f"the gradient of {bad[0]} is not finite"
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            found = detector.eval().predict(images, Selection(score=0.0, keep=20))
        assert all(d.boxes.isfinite().all() and d.scores.isfinite().all() for d in found), "detections are not finite"

    def test_other_bands_are_refused(self) -> None:
        """In one line that a user can act on, whichever way images come. `Detector.check` does it."""
        detector = self.made().eval()
        images = noise(detector.in_chans + 1, self.size(detector))
        for call in (detector.forward, detector.raw, detector.predict):
            must_refuse(partial(call, images), f"{call.__name__} with images of {detector.in_chans + 1} bands")

    def _same(self, one: Detector, other: Detector, what: str) -> None:
        images, _ = self.scene(one)
        with torch.no_grad():
            for a, b in zip(one.raw(images), other.raw(images), strict=True):
                assert a.shape == b.shape, f"{what} predicts at other places"
                assert torch.allclose(a, b, rtol=1e-4, atol=1e-4), f"{what} predicts otherwise"


def _check_plain(config: dict[str, Any]) -> None:
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"config() is not plain values: {error}") from error


def _predicts(knowledge: Knowledge) -> bool:
    """Whether skystill can read the head."""
    return any(part is not None for part in (knowledge.dense, knowledge.queries, knowledge.stages))
