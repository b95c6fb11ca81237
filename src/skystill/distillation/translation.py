"""From a teacher's classes to the student's, by their names. K the student's classes, K_t the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial

import torch
from torch import Tensor

from skystill.distillation.views import NOTHING
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Finish, HeadView, Knowledge, MapPair, TwoStage


@dataclass(frozen=True)
class Translation:
    """From a teacher's classes to the student's.

    sources: for each of the student's classes the teacher's that mean it, none where the teacher does not know it.
    theirs: how many classes the teacher has.
    """

    sources: tuple[tuple[int, ...], ...]
    theirs: int

    @property
    def needless(self) -> bool:
        """Whether both count alike."""
        return self.sources == tuple((i,) for i in range(self.theirs))

    def of_logits(self, logits: Tensor, softmax: bool) -> Tensor:
        """(..., K) or with a background (..., K+1) from (..., K_t) or (..., K_t+1).

        Several classes that mean one are joined: the surest of independent scores, the sum of a softmax's. What a
        softmax gives to classes that the student has not is background.
        """
        logits = logits.float().log_softmax(-1) if softmax else logits.float()
        join = torch.logsumexp if softmax else torch.amax
        unknown = logits.new_full(logits.shape[:-1], NOTHING)
        columns = [join(logits[..., list(found)], -1) if found else unknown for found in self.sources]
        if softmax:
            used = {i for found in self.sources for i in found}
            rest = [i for i in range(self.theirs + 1) if i not in used]
            columns.append(torch.logsumexp(logits[..., rest], -1))
        return torch.stack(columns, -1)

    def of_dense(self, dense: Dense) -> Dense:
        """The same predictions in the student's classes."""
        return replace(dense, logits=self.of_logits(dense.logits, dense.activation == "softmax"))

    def of_detections(self, found: Detections) -> Detections:
        """The same, without what the student has no class for."""
        target = torch.full((self.theirs,), -1, dtype=torch.int64, device=found.labels.device)
        for ours, sources in enumerate(self.sources):
            target[list(sources)] = ours
        labels = target[found.labels]
        keep = labels >= 0
        return Detections(found.boxes[keep], found.scores[keep], labels[keep])

    def of_stages(self, stages: TwoStage) -> TwoStage:
        """Its second stage in the student's classes; of several that mean one the surest gives the box."""

        def judge(pyramid: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            logits, by_class = stages.judge(pyramid, boxes)
            row = torch.arange(len(logits), device=logits.device)
            columns = []
            for sources in self.sources:
                best = logits[:, list(sources)].argmax(1) if sources else row * 0
                columns.append(by_class[row, torch.tensor(sources or (0,), device=row.device)[best]])
            return self.of_logits(logits, softmax=True), torch.stack(columns, 1)

        return replace(stages, judge=judge)

    def of_head(self, head: HeadView) -> HeadView:
        """Its end in the student's classes."""
        return replace(head, finish=partial(self._finish, head.finish))

    def _finish(self, finish: Finish, maps: Sequence[MapPair], levels: Sequence[int]) -> Dense:
        return self.of_dense(finish(maps, levels))

    def __call__(self, knowledge: Knowledge) -> Knowledge:
        """All that a teacher said, in the student's classes."""
        if self.needless:
            return knowledge
        told = knowledge
        queries = told.queries
        if queries is not None:
            queries = replace(queries, logits=self.of_logits(queries.logits, queries.activation == "softmax"))
        return replace(
            told,
            dense=None if told.dense is None else self.of_dense(told.dense),
            queries=queries,
            stages=None if told.stages is None else self.of_stages(told.stages),
            detections=None if told.detections is None else [self.of_detections(d) for d in told.detections],
            head=None if told.head is None else self.of_head(told.head),
        )


def translations(
    student: Sequence[str], teachers: Sequence[Sequence[str]], names: Mapping[str, str] | None
) -> list[Translation]:
    """One for each teacher: by equal names, and by `names`, from a teacher's to the student's, where they differ.

    With `names`, even empty, classes that only one side has are passed over; without, both must have the same, in any
    order. Errors: ConfigError for sets that differ without names, for names that nobody has, for nothing in common.
    """
    every = [name for teacher in teachers for name in teacher]
    for theirs, ours in (names or {}).items():
        if ours not in student:
            raise ConfigError(f"teacher.classes: the student has no class {ours!r}{near(ours, student)}.")
        if theirs not in every:
            raise ConfigError(f"teacher.classes: no teacher has a class {theirs!r}{near(theirs, every)}.")
    return [_translation(student, teacher, names) for teacher in teachers]


def _translation(student: Sequence[str], teacher: Sequence[str], names: Mapping[str, str] | None) -> Translation:
    if names is None and set(student) != set(teacher):
        raise ConfigError(_difference(student, teacher))
    meant = [(names or {}).get(name, name) for name in teacher]
    sources = tuple(tuple(i for i, name in enumerate(meant) if name == ours) for ours in student)
    if not any(sources):
        raise ConfigError(
            f"student and teacher have no class in common: {', '.join(student)} and {', '.join(teacher)}. Map the "
            "teacher's to the student's by teacher.classes, e.g. {theirs: ours}."
        )
    return Translation(sources, len(teacher))


def _difference(student: Sequence[str], teacher: Sequence[str]) -> str:
    only = (
        ("student", [n for n in student if n not in teacher]),
        ("teacher", [n for n in teacher if n not in student]),
    )
    parts = [f"only the {who} has {', '.join(names)}" for who, names in only if names]
    return (
        f"student and teacher have other classes: {'; '.join(parts)}. Map the teacher's to the student's by "
        "teacher.classes, e.g. {theirs: ours}; {} passes over what only one of them has."
    )


def near(name: str, names: Sequence[str]) -> str:
    """The end of a message about an unknown name: those that look like it, or all."""
    found = get_close_matches(name, names, 3, 0.5) or list(names)
    return f"; there is {', '.join(found[:8])}"
