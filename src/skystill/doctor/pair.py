"""Student and teachers side by side: what agrees, and how levels, classes and predictions are matched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skystill.distillation.pairing import meeting, nearest_levels
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
from skystill.structures import Knowledge


def examine_pair(patient: Patient) -> Iterator[Finding]:
    """What agrees, how levels and predictions are matched, and what each teacher may speak of."""
    seen, told = patient.shapes
    student = patient.student
    mute = patient.hearings[0].mute
    kind = "" if mute else f" {student.kind} boxes,"
    said = (
        f"{len(student.classes)} classes,{kind} {student.in_chans} bands agree{_heard(patient)}; {_levels(seen, told)}"
    )
    if mute:
        yield Finding("pair", "yellow", f"{said}; of its upright boxes nothing is taught, its features alone teach")
        return
    if met := meeting(seen, told):
        yield Finding("pair", "green", f"{said}; predictions: {met}")
    else:
        mend = "Use methods that compare features, or change the student's levels or teacher.scale."
        yield Finding("pair", "yellow", f"{said}; predictions cannot be compared. {mend}")


def _heard(patient: Patient) -> str:
    """Which classes the teachers call otherwise, and of what each says nothing."""
    parts = []
    for path, teacher, hearing in zip(patient.recipe.teacher.weights, patient.teachers, patient.hearings, strict=True):
        who = Path(path).name if len(patient.teachers) > 1 else "the teacher"
        ours, scope = patient.student.classes, hearing.scope
        sources = zip(ours, hearing.translation.sources, strict=True)
        pairs = [(teacher.classes[i], name) for name, them in sources for i in them]
        if renamed := [f"{theirs} is {name}" for theirs, name in pairs if theirs != name]:
            parts.append(f"of {who} {', '.join(renamed)}")
        if scope is not None and not all(scope.classes):
            silent = [name for name, heard in zip(ours, scope.classes, strict=True) if not heard]
            parts.append(f"{who} says nothing of {', '.join(silent)}")
        if scope is not None and scope.sides is not None:
            parts.append(f"{who} speaks of sides from {scope.sides[0]:g} to {scope.sides[1]:g} px")
    return "".join(f"; {part}" for part in parts)


def _levels(seen: Knowledge, told: Knowledge) -> str:
    if not told.pyramid:
        return "the teacher shows no features"
    near = nearest_levels(seen.strides, told.strides)
    levels = ", ".join(f"{_level(seen, i)} <- {_level(told, j)}" for i, j in enumerate(near))
    return f"levels as stride/width, student <- teacher: {levels}"


def _level(knowledge: Knowledge, level: int) -> str:
    return f"{knowledge.strides[level]}/{knowledge.pyramid[level].shape[1]}"
