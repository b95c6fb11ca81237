"""Student and teachers side by side: what agrees, and how levels, classes and predictions are matched."""

from __future__ import annotations

from collections.abc import Iterator

from skystill.distillation.pairing import meeting, nearest_levels
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
from skystill.structures import Knowledge


def examine_pair(patient: Patient) -> Iterator[Finding]:
    """Of each teacher what agrees, how levels and predictions are matched, and what it may speak of."""
    several = len(patient.teachers) > 1
    for number, (seen, told) in enumerate(patient.shapes):
        who = f"{patient.recipe.teacher.weights[number]}: " if several else ""
        yield _look(patient, number, f"{who}{_agreed(patient, number)}; {_levels(seen, told)}", seen, told)


def _look(patient: Patient, number: int, said: str, seen: Knowledge, told: Knowledge) -> Finding:
    if patient.hearings[number].mute:
        return Finding("pair", "yellow", f"{said}; of its upright boxes nothing is taught, its features alone teach")
    if met := meeting(seen, told):
        return Finding("pair", "green", f"{said}; predictions: {met}")
    mend = "Use methods that compare features, or change the student's levels or teacher.scale."
    return Finding("pair", "yellow", f"{said}; predictions cannot be compared. {mend}")


def _agreed(patient: Patient, number: int) -> str:
    """Which classes, boxes and bands agree, what a teacher calls otherwise, and of what it says nothing."""
    student, hearing = patient.student, patient.hearings[number]
    kind = "" if hearing.mute else f" {student.kind} boxes,"
    parts = [f"{len(student.classes)} classes,{kind} {student.in_chans} bands agree"]
    theirs, scope = patient.teachers[number].classes, hearing.scope
    sources = zip(student.classes, hearing.translation.sources, strict=True)
    pairs = [(theirs[i], name) for name, them in sources for i in them]
    if renamed := [f"its {one} is {name}" for one, name in pairs if one != name]:
        parts.append(", ".join(renamed))
    if scope is not None and not all(scope.classes):
        silent = [name for name, heard in zip(student.classes, scope.classes, strict=True) if not heard]
        parts.append(f"it says nothing of {', '.join(silent)}")
    if scope is not None and scope.sides is not None:
        parts.append(f"it speaks of sides from {scope.sides[0]:g} to {scope.sides[1]:g} px")
    return "; ".join(parts)


def _levels(seen: Knowledge, told: Knowledge) -> str:
    if not told.pyramid:
        return "the teacher shows no features"
    near = nearest_levels(seen.strides, told.strides)
    levels = ", ".join(f"{_level(seen, i)} <- {_level(told, j)}" for i, j in enumerate(near))
    return f"levels as stride/width, student <- teacher: {levels}"


def _level(knowledge: Knowledge, level: int) -> str:
    return f"{knowledge.strides[level]}/{knowledge.pyramid[level].shape[1]}"
