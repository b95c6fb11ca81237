"""What a method owes to the Distiller and to those who compare methods."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from skystill.detectors.base import Detector
from skystill.detectors.blackbox import BlackBox
from skystill.detectors.gfl import GFL, GFLConfig
from skystill.distillation.cache import layout_of, pack, unpack
from skystill.distillation.distiller import Distiller, Teacher, in_float32
from skystill.distillation.method import Method
from skystill.distillation.roles import Role
from skystill.structures import Detections, Targets
from skystill.testing.scenes import check_terms, must_refuse, noise, objects, odd_truths, refusal, total

_CLASSES = ("ship", "plane", "car")
# Pairs of GFLs: the student's first and last level, the teacher's, the teacher's width.
_PAIRS = {
    "as wide": ((3, 5), (3, 5), 16),
    "a wider teacher of more levels": ((3, 4), (3, 6), 24),
    "a teacher of one level": ((3, 5), (4, 4), 16),
    "no stride in common": ((3, 4), (5, 6), 16),
}


class Trial:
    """A Distiller in training mode, a scene to try it on, and which of its losses are the method's."""

    def __init__(
        self, student: Detector, teachers: Teacher | list[Teacher], method: Method, roles: Sequence[Role] = ()
    ) -> None:
        self.distiller = Distiller(student, teachers, method, roles=roles)
        side = -(-64 // student.multiple) * student.multiple
        self.kinds = len(student.classes), (side, side), student.kind
        self.images = noise(student.in_chans, (side, side))
        self.odd = odd_truths(*self.kinds)
        self.targets = [objects(*self.kinds), self.odd["nothing"]]
        with torch.no_grad():
            self.own = set(student.eval()(self.images, self.targets).losses)
        self.distiller.train()

    @property
    def adapters(self) -> dict[str, nn.Parameter]:
        """The parameters of the first teacher's method."""
        return dict(self.distiller.methods[0].named_parameters())

    def terms(self, targets: list[Targets] | None = None) -> dict[str, Tensor]:
        """What the method adds to the student's own losses. It draws the same at each call."""
        torch.manual_seed(0)
        losses = self.distiller(self.images, targets or self.targets)
        terms = {name: value for name, value in losses.items() if name not in self.own}
        assert terms, "the method gives no terms"
        return terms

    def check_rest(self, what: str) -> None:
        """Every term is zero, or has no gradient on the student."""
        learned = [p for p in self.distiller.student.parameters() if p.requires_grad]
        for name, value in self.terms().items():
            if abs(value.item()) < 1e-4:
                continue
            found = torch.autograd.grad(value, learned, retain_graph=True, allow_unused=True)
            pull = max((float(g.abs().max()) for g in found if g is not None), default=0.0)
            assert pull < 1e-4, f"{name} is {value.item():.3g} and pulls at {what}"

    def backward(self, terms: dict[str, Tensor], where: str) -> None:
        """Gradients of the terms alone, which must be finite."""
        self.distiller.zero_grad()
        total(terms).backward()  # type: ignore[no-untyped-call]
        named = self.distiller.named_parameters()
        bad = [n for n, p in named if p.grad is not None and not p.grad.isfinite().all()]
        assert not bad, f"{where}: the gradient of {bad[0]} is not finite"


class MethodContract:
    """Inherit it in a class whose name begins with Test, and override `make`.

    make: a new method, not yet built. student, teacher: the pair on which it is tried, small, of one kind; by default
    two GFLs of other widths and levels. zero_when_equal: whether every term is zero, or has no gradient on the student,
    when the teacher is a copy of the student; set it to False where random adapters or masks stand between. unreached:
    beginnings of names of the method's parameters that no term is meant to reach. steps, rate: how long and how fast
    the student learns one batch (AdamW).
    """

    zero_when_equal: bool = True
    unreached: tuple[str, ...] = ()
    steps: int = 6
    rate: float = 1e-3

    def make(self) -> Method:
        """A new method."""
        raise NotImplementedError("override make(self) with one that returns your method")

    def student(self) -> Detector:
        """The one that learns."""
        return tiny((3, 5), 16)

    def teacher(self) -> Detector:
        """The one that teaches, of the student's classes and kind of boxes."""
        return tiny((3, 6), 24)

    def made(self, seed: int = 0) -> Method:
        """What `make` gives after that seed, from which `build` then draws too."""
        torch.manual_seed(seed)
        method = self.make()
        assert isinstance(method, Method), f"make gives a {type(method).__name__}, not a Method"
        return method

    def trial(
        self, teachers: Teacher | list[Teacher] | None = None, student: Detector | None = None, seed: int = 0
    ) -> Trial:
        """The pair joined by the method, ready to train."""
        if student is None:
            torch.manual_seed(1)
            student = self.student()
        if teachers is None:
            torch.manual_seed(2)
            teachers = self.teacher()
        return Trial(student, teachers, self.made(seed))

    def test_terms_are_finite_for_any_truth(self) -> None:
        """Scalars, also where there is no object, at any time of the training."""
        trial = self.trial()
        for where, truths in {"objects": trial.targets, **{k: [one, one] for k, one in trial.odd.items()}}.items():
            terms = trial.terms(truths)
            check_terms(terms, where)
            trial.backward(terms, where)
        for t in (0.0, 0.5, 1.0):
            trial.distiller.set_progress(t)
            check_terms(trial.terms(), f"progress {t}")

    def test_gradients_go_to_student_and_adapters_alone(self) -> None:
        """The student feels it, every adapter learns, the teacher does not."""
        trial = self.trial()
        (teacher,) = trial.distiller.networks
        before = {k: v.clone() for k, v in teacher.state_dict().items()}
        trial.backward(trial.terms(), "objects")
        felt = [p.grad for p in trial.distiller.student.parameters() if p.grad is not None]
        assert any(grad.any() for grad in felt), "no gradient reaches the student"
        lone = [n for n, p in trial.adapters.items() if p.grad is None and not n.startswith(self.unreached)]
        assert not lone, f"no term reaches the method's {', '.join(lone[:5])}"
        assert all(p.grad is None for p in teacher.parameters()), "gradients reach the teacher"
        assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()), "the teacher changed"

    def test_neither_network_is_part_of_it(self) -> None:
        """Optimizers and checkpoints hold the student once, and the teacher never."""
        trial = self.trial()
        owned = {id(p) for p in trial.adapters.values()}
        for whose, network in (("teacher", trial.distiller.networks[0]), ("student", trial.distiller.student)):
            shared = [n for n, p in network.named_parameters() if id(p) in owned]
            assert not shared, f"the method registers the {whose}'s {shared[0]} as its own"

    def test_a_perfect_student_has_nothing_to_learn(self) -> None:
        """Where `zero_when_equal`: each term is zero, or at its least, when the teacher is the student."""
        if not self.zero_when_equal:
            return
        torch.manual_seed(1)
        student = self.student()
        trial = self.trial(deepcopy(student), student)
        trial.distiller.eval()
        trial.check_rest("a student that equals its teacher")

    def test_it_teaches(self) -> None:
        """Its terms fall over a few steps on the same batch."""
        trial = self.trial()
        optimizer = torch.optim.AdamW(trial.distiller.parameters(), self.rate)
        history = []
        for step in range(self.steps):
            terms = trial.terms()
            check_terms(terms, f"step {step}")
            trial.backward(terms, f"step {step}")
            optimizer.step()
            history.append(total(terms).item())
        assert history[-1] < history[0], f"its terms go from {history[0]:.4g} to {history[-1]:.4g}"

    def test_bfloat16_terms_are_finite_and_float32(self) -> None:
        """As mixed precision runs it."""
        trial = self.trial()
        with torch.autocast("cpu", torch.bfloat16):
            terms = trial.terms()
        check_terms(terms, "bfloat16")
        rough = [name for name, value in terms.items() if value.dtype != torch.float32]
        assert not rough, f"{', '.join(rough)}: not float32; convert what the heads say with .float()"
        trial.backward(terms, "bfloat16")

    def test_a_black_box_is_served_or_refused(self) -> None:
        """A teacher that shows nothing but what it finds. Methods that compare features refuse it."""
        torch.manual_seed(1)
        student = self.student()
        side = -(-64 // student.multiple) * student.multiple
        truth = objects(len(student.classes), (side, side), student.kind)
        found = Detections(truth.boxes, torch.tensor([0.9, 0.7, 0.6]), truth.labels)
        box = BlackBox(lambda images: [found] * len(images), student.classes, student.kind, student.in_chans)
        if self.made().features:
            must_refuse(lambda: self.trial(box, student), "a black box as teacher, while `features` says yes")
        else:
            self._served_or_refused(box, student, "a black box as teacher")

    def test_a_cached_lesson_teaches_the_same(self) -> None:
        """What a teacher cache keeps of an answer says what the answer says, but for its rounding."""
        trial = self.trial()
        distiller = trial.distiller.eval()
        live, told = (ask(distiller.networks[0], trial.images) for ask in (distiller.ask, distiller.ask_to_keep))
        if told.stages is not None or told.detections is not None:  # no cache holds these
            return
        seen, found = distiller.student(trial.images).knowledge, []
        for lesson in (live, unpack(pack(told), layout_of(told))):
            torch.manual_seed(0)
            found.append(distiller.methods[0](in_float32(seen), in_float32(lesson), trial.targets))
        self._same(found[0], found[1], "a lesson from a cache", 0.02, 2e-4)

    def test_any_pair_is_served_or_refused(self) -> None:
        """Other widths, levels and strides: finite terms, or one line before anything is trained."""
        for name, (levels_s, levels_t, width) in _PAIRS.items():
            torch.manual_seed(4)
            self._served_or_refused(tiny(levels_t, width), tiny(levels_s, 16), name)

    def test_a_role_is_kept_or_refused(self) -> None:
        """A teacher that may speak of no object here. Predictions then teach nothing; features are for everywhere."""
        made: list[Trial] = []
        torch.manual_seed(1)
        student, teacher = self.student(), self.teacher()
        silent = [Role(sides=(5000, 6000))]
        if refusal(lambda: made.append(Trial(student, teacher, self.made(), silent)), "a teacher's role") is not None:
            return
        check_terms(made[0].terms(), "a silent teacher")
        if not made[0].distiller.methods[0].features:
            made[0].check_rest("a student whose teacher may not speak")

    def test_adapters_are_kept(self) -> None:
        """Their state, loaded into a method built for the same pair, gives the same terms: so runs are resumed."""
        one, other = self.trial(), self.trial(seed=7)
        for trial in (one, other):
            trial.distiller.eval()
        other.distiller.methods.load_state_dict(one.distiller.methods.state_dict())
        self._same(one.terms(), other.terms(), "a method with its state loaded")

    def test_it_is_copied_for_each_teacher(self) -> None:
        """Several teachers have adapters of their own; a copy after a step says the same."""
        torch.manual_seed(2)
        trial = self.trial([self.teacher(), self.teacher()])
        trial.distiller.eval()
        terms = trial.terms()
        check_terms(terms, "two teachers")
        first, second = ({id(p) for p in m.parameters()} for m in trial.distiller.methods)
        assert not first & second, "two teachers share an adapter"
        trial.distiller.methods = deepcopy(trial.distiller.methods)
        self._same(terms, trial.terms(), "a copied method")

    def test_what_it_tells_of_itself(self) -> None:
        """Bindings of each image, for logs, and the places where it teaches, for pictures."""
        trial = self.trial()
        trial.terms()
        for name, binding in trial.distiller.bindings().items():
            assert binding.ndim == 3, f"binding {name} is {tuple(binding.shape)}, not (B, levels, levels)"
            assert len(binding) == len(trial.images), f"binding {name} is of {len(binding)} images"
            assert not binding.requires_grad, f"binding {name} carries a gradient"
        dense = trial.distiller.ask(trial.distiller.teachers[0], trial.images).dense
        if dense is None:
            return
        for name, where in trial.distiller.taught(dense, trial.targets).items():
            assert where.dtype == torch.bool, f"region {name} is {where.dtype}"
            assert where.shape == dense.logits.shape[:2], f"region {name} is {tuple(where.shape)}, not (B, N)"

    def _served_or_refused(self, teacher: Teacher, student: Detector, what: str) -> None:
        made: list[Trial] = []
        if refusal(lambda: made.append(self.trial(teacher, student)), what) is None:
            check_terms(made[0].terms(), what)

    @staticmethod
    def _same(
        one: dict[str, Tensor], other: dict[str, Tensor], what: str, rtol: float = 1e-3, atol: float = 1e-6
    ) -> None:
        assert one.keys() == other.keys(), f"{what} gives other terms"
        for name, value in one.items():
            assert torch.allclose(value, other[name], rtol=rtol, atol=atol), f"{what}: {name} differs"


def tiny(levels: tuple[int, int], width: int, **fields: Any) -> GFL:
    """A GFL of the smallest backbone, surer of what it sees than a new one is."""
    detector = GFL(
        _CLASSES, GFLConfig("test_efficientnet", 3, levels, width, width, 1, convs="depthwise", norm="bn", **fields)
    )
    for parameter in detector.head.parameters():
        parameter.data.clamp_(min=-1)
    return detector
