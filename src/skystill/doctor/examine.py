"""The examination: one look after the other, until something is missing that the rest needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import torch

from skystill.data.dataset import DetectionDataset
from skystill.detectors.blackbox import BlackBox
from skystill.detectors.weights import read_header
from skystill.distillation.methods import METHODS, make_method
from skystill.distillation.predictions import PredictionsTeacher
from skystill.doctor import eyes, pair, predictions, toll
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
from skystill.errors import ConfigError, SkystillError
from skystill.evaluation.cost import count_parameters
from skystill.training.loop import check_machine
from skystill.training.recipe import MethodConfig, Recipe

SIMILAR = 1.25  # sides that differ by less than this factor are of a size, as zoom in training makes them
FEW = 10  # objects of a class below which it will hardly be learned


def examine(recipe: Recipe) -> Iterator[Finding]:
    """Findings one by one, as they are made; nothing is written and no weight is trained.

    After a red finding on data, weights, pair or method the rest is left out, for it needs them.
    """
    patient = Patient(recipe)
    parts: tuple[tuple[str, Callable[[Patient], Iterator[Finding]]], ...] = (
        ("recipe", _recipe),
        ("data", _data),
        ("student", _student),
        ("teacher", _teacher),
        ("pair", pair.examine_pair),
        ("method", _method),
        ("accuracy", _eyes),
        ("step", _step),
    )
    for name, part in parts:
        try:
            yield from part(patient)
        except SkystillError as error:
            yield Finding(name, "red", str(error), error)
            return


def _recipe(patient: Patient) -> Iterator[Finding]:
    patient.recipe.check()
    check_machine(patient.recipe.trainer)
    yield from ()


def _data(patient: Patient) -> Iterator[Finding]:
    data = patient.data
    counts = [f"{images.labelled} {split}" for split, images in data.datasets.items()]
    said = f"{', '.join(counts)} images{_unlabelled(patient)}; {len(data.classes)} classes: {', '.join(data.classes)}"
    images = data.datasets["train"]
    if isinstance(images, DetectionDataset) and len(images) == images.labelled and not any(images.objects().values()):
        yield Finding("data", "red", f"{said}. No training image holds an object. Correct data.train or its labels.")
        return
    if "val" not in data.datasets:
        yield Finding(
            "data", "yellow", f"{said}. Without data.val nothing is validated, and settings cannot be chosen."
        )
        return
    if rare := _rare(patient):
        yield Finding("data", "yellow", f"{said}. Hardly any objects to learn from: {rare}.")
        return
    yield Finding("data", "green", said)


def _unlabelled(patient: Patient) -> str:
    """How many images without truth there are, and in a batch."""
    images, config = patient.data.datasets["train"], patient.recipe.data
    count = len(images) - images.labelled
    return f", and {count} unlabelled, {config.added} of them beside each {config.batch} labelled" if count else ""


def _rare(patient: Patient) -> str:
    """Classes with few objects in the training images; scenes are drawn with all."""
    images = patient.data.datasets["train"]
    if not isinstance(images, DetectionDataset):
        return ""
    return ", ".join(f"{name} {count}" for name, count in images.objects().items() if count < FEW)


def _student(patient: Patient) -> Iterator[Finding]:
    config = patient.recipe.detector
    said = f"{config.weights or config.preset}, {count_parameters(patient.student) / 1e6:.2f} M weights"
    if not patient.student.free_size and (sizes := _unlike_sizes(patient)):
        yield Finding("student", "yellow", f"{said}. {sizes}")
        return
    yield Finding("student", "green", said)


def _unlike_sizes(patient: Patient) -> str:
    """What a student whose boxes are shares of the image would be scored on beside what it is trained on; empty where
    the two are of a size."""
    split, images = patient.judge
    learned, judged = patient.data.datasets["train"][0][0].shape[-2:], images[0][0].shape[-2:]
    if all(1 / SIMILAR < a / b < SIMILAR for a, b in zip(learned, judged, strict=True)):
        return ""
    (height, width), (rows, columns) = learned, judged
    return (
        f"Its boxes are shares of the image: trained on {width} x {height} px, it misjudges {split} images of "
        f"{columns} x {rows}. Cut those by `skystill data tile`, or train on whole images (data.crop: 0)."
    )


def _teacher(patient: Patient) -> Iterator[Finding]:
    size = count_parameters(patient.student)
    for path, teacher in zip(patient.recipe.teacher.weights, patient.teachers, strict=True):
        if isinstance(teacher, PredictionsTeacher):
            yield predictions.coverage(patient, teacher)
            continue
        if isinstance(teacher, BlackBox):
            yield Finding("teacher", "green", f"{path}: an exported detector; its predictions teach")
            continue
        theirs = count_parameters(teacher)
        said = f"{path}: {read_header(path)['family']}, {theirs / 1e6:.2f} M weights, all loaded"
        if theirs < size:
            yield Finding("teacher", "yellow", f"{said}. It is smaller than the student; is it the right file?")
        else:
            yield Finding("teacher", "green", said)


def _method(patient: Patient) -> Iterator[Finding]:
    check_methods(patient, {"": patient.recipe.method})
    fit = ", ".join(fitting(patient))
    yield Finding("method", "green", f"{patient.recipe.method.name}; this pair can learn by {fit}")


def check_methods(patient: Patient, methods: Mapping[str, MethodConfig]) -> None:
    """Whether every one can serve the pair. Errors: ConfigError that names the first that cannot, why, and what can."""
    for label, wanted in methods.items():
        try:
            _try_on(patient, wanted)
        except ConfigError as error:
            name, fit = f"{label}: " if label else "", ", ".join(fitting(patient))
            raise ConfigError(f"{name}{error} Methods that fit this pair: {fit or 'none'}.") from error


def fitting(patient: Patient) -> list[str]:
    """Names of all methods that can serve the pair, the recipe's own with its settings."""
    own = patient.recipe.method
    found = []
    for name in METHODS:
        with suppress(ConfigError):
            _try_on(patient, own if name == own.name else MethodConfig(name))
            found.append(name)
    return found


def _try_on(patient: Patient, wanted: MethodConfig) -> None:
    """Errors: ConfigError where the method cannot serve the student with every teacher, or compares features that are
    all coarser, or all finer, than those of the other."""
    for path, (seen, told) in zip(patient.recipe.teacher.weights, patient.shapes, strict=True):
        method = make_method(wanted.name, wanted.settings, wanted.weights)
        try:
            method.prepare(seen, told)
            if method.features and (min(seen.strides) > max(told.strides) or max(seen.strides) < min(told.strides)):
                raise ConfigError(
                    f"the student's features have strides {seen.strides}, the teacher's {told.strides}: no range in "
                    "common. Change `levels` of the student or teacher.scale."
                )
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}" if len(patient.shapes) > 1 else str(error)) from error


def _eyes(patient: Patient) -> Iterator[Finding]:
    for number, teacher in enumerate(patient.teachers):
        if isinstance(teacher, PredictionsTeacher):
            yield predictions.accuracy(patient, number, teacher)
            continue
        if patient.hearings[number].mute:
            continue
        few = eyes.sample(patient, number)
        sight = eyes.see(patient, number, few)
        if sight.objects:  # first, for a teacher that finds nothing may want another form of the images
            yield eyes.taste(patient, number, sight, few)
        yield eyes.accuracy(patient, number, sight, len(few))
        if sight.objects and (better := eyes.rival(patient, number, sight, few)):
            yield better


def _step(patient: Patient) -> Iterator[Finding]:
    with torch.random.fork_rng(devices=[]):
        found = toll.measure(patient)
    yield toll.losses(found)
    yield toll.duration(patient, found)
    yield toll.memory(patient, found)
    if patient.recipe.teacher.cache is not None:
        yield toll.disk(patient)
