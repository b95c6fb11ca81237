"""What a run will take: seconds, memory, disk; and how large the method's terms are beside the student's own."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skystill.distillation.cache import Layout, gib, layout_of
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient
from skystill.errors import ConfigError, SkystillError
from skystill.memory import peak_memory, restart_peak
from skystill.training.lessons import missing_views

PATIENCE = 5.0  # seconds that a step may take and still be timed again
HEAVY = 100.0  # a term so many times the student's loss drowns it


@dataclass(frozen=True)
class Toll:
    """Seconds of a step: the student alone, the teachers' forward passes, everything. terms: values of the first step.
    own: names of the student's. peak: bytes, of the GPU or of this process."""

    student: float
    teachers: float
    step: float
    terms: dict[str, float]
    own: set[str]
    peak: float


def measure(patient: Patient) -> Toll:
    """One training batch through student and distiller, with gradients; no weight moves.

    Errors: ConfigError when memory does not suffice.
    """
    batch, distiller = patient.batch, patient.distiller
    labelled = sum(target.labelled for target in batch.targets)
    terms: dict[str, float] = {}
    own: set[str] = set()

    def step() -> None:
        with patient.amp():
            found = distiller(batch.images, batch.targets)
        _backward(found)
        terms.update({name: float(value.detach()) for name, value in found.items()})

    def alone() -> None:
        with patient.amp():
            found = patient.student(batch.images[:labelled], batch.targets[:labelled]).losses
        _backward(found)
        own.update(found)

    def ask() -> None:
        with patient.amp():
            for teacher in patient.teachers:
                distiller.ask(teacher, batch.images, batch.targets)

    state = {name: value.clone() for name, value in patient.student.state_dict().items()}  # norms count steps
    restart_peak(patient.device)
    try:
        whole, student, teachers = (_seconds(patient.device, what) for what in (step, alone, ask))
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            f"a batch of {len(batch.targets)} does not fit into the GPU. Lower data.batch (and raise "
            "trainer.accumulate), lower data.crop, or set trainer.precision bf16-mixed."
        ) from error
    finally:
        patient.student.load_state_dict(state)
        distiller.zero_grad(set_to_none=True)
    return Toll(student, teachers, whole, terms, own, peak_memory(patient.device))


def losses(toll: Toll) -> Finding:
    """The first step's terms."""
    text = ", ".join(f"{name} {value:.3g}" for name, value in toll.terms.items())
    if bad := [name for name, value in toll.terms.items() if not math.isfinite(value)]:
        mend = "Look at the pair's weights and at the images with `skystill data inspect`."
        return Finding("losses", "red", f"{', '.join(bad)} not finite at the first step ({text}). {mend}")
    taught = [value for name, value in toll.terms.items() if name not in toll.own]
    if not any(taught):
        mend = "Unless it warms up, give a term a weight above 0, or train the student alone with `skystill train`."
        return Finding(
            "losses", "yellow" if taught else "red", f"the method adds nothing at the first step: {text}. {mend}"
        )
    base = sum(value for name, value in toll.terms.items() if name in toll.own)
    heavy = [name for name, value in toll.terms.items() if name not in toll.own and value > HEAVY * max(base, 1e-6)]
    if heavy:
        mend = f"Lower the weight of {', '.join(heavy)}."
        return Finding("losses", "yellow", f"{text}: more than {HEAVY:.0f} times the student's own loss. {mend}")
    return Finding("losses", "green", text)


def duration(patient: Patient, toll: Toll) -> Finding:
    """Time of a step, an epoch and the training; what a teacher cache would save."""
    recipe = patient.recipe
    cached = recipe.teacher.cache is not None
    step = toll.step - toll.teachers if cached else toll.step
    together = recipe.data.batch * patient.workers
    steps = max(1, patient.data.datasets["train"].labelled * recipe.data.views // together)
    epoch = steps * step
    said = (
        f"{step:.2f} s a step{' from the cache' if cached else ''} (student alone {toll.student:.2f}, teachers "
        f"{toll.teachers:.2f}), {steps} steps an epoch of {clock(epoch)}, {recipe.trainer.epochs} epochs in "
        f"{clock(epoch * recipe.trainer.epochs)} and what validation takes"
    )
    if not cached and toll.teachers > 0.3 * toll.step and _cacheable(patient):
        said += f"; a teacher cache would save {toll.teachers / toll.step:.0%} (--data.replay 8 --teacher.cache DIR)"
    return Finding("time", "green", said)


def _cacheable(patient: Patient) -> bool:
    """Whether a cache can hold what the teachers say."""
    try:
        _layouts(patient)
    except ConfigError:
        return False
    return True


def _layouts(patient: Patient) -> list[Layout]:
    """What a cache would hold of each teacher. Errors: ConfigError where it can hold none."""
    distiller, first = patient.distiller, patient.batch.images[:1]
    return [layout_of(distiller.ask_to_keep(network, first)) for network in distiller.networks]


def memory(patient: Patient, toll: Toll) -> Finding:
    """Peak of the step against what there is."""
    if patient.device.type == "cuda":
        there, where = float(torch.cuda.get_device_properties(patient.device).total_memory), "on the GPU"
    else:
        there, where = _installed(), "in this process"
    said = f"{gib(toll.peak)} at most {where}"
    if math.isnan(there):
        return Finding("memory", "green", said)
    if toll.peak > 0.9 * there:
        return Finding("memory", "yellow", f"{said}, of {gib(there)}: nearly all. Lower data.batch or data.crop.")
    return Finding("memory", "green", f"{said}, of {gib(there)}")


def disk(patient: Patient) -> Finding:
    """What a teacher cache takes, or would take."""
    recipe, images = patient.recipe, patient.data.datasets["train"]
    row = sum(layout.row_bytes for layout in _layouts(patient))
    rows = len(images) * recipe.data.replay
    size, limit = row * rows, recipe.teacher.cache_gb * 2**30
    said = f"{gib(size)} for {rows} views in {recipe.teacher.cache}"
    folder = Path(str(recipe.teacher.cache))
    try:
        missing = missing_views(patient.distiller, recipe.teacher, patient.data, patient.device)
    except SkystillError as error:
        return Finding("cache", "red", str(error), error)
    if missing is not None:
        state = f"{missing} of them to be filled" if missing else "filled already, and as the teacher says it"
        return Finding("cache", "green", f"{said}, {state}")
    if not recipe.data.crop and (lack := _many_sizes(patient)):
        said = f"data.crop is 0 and {lack}, but a cache holds views of one size. Give data.crop."
        return Finding("cache", "red", said)
    if not recipe.data.crop:
        return Finding("cache", "yellow", f"{said}, if all images have the first one's size. Give data.crop.")
    if size > limit:
        mend = "Lower data.replay or data.crop, or raise it."
        return Finding("cache", "red", f"{said}, more than teacher.cache_gb {recipe.teacher.cache_gb:g}. {mend}")
    if size > (free := _free(folder)):
        return Finding("cache", "red", f"{said}, and {gib(free)} are free. Lower data.replay or give another disk.")
    return Finding("cache", "green", said)


def _many_sizes(patient: Patient) -> str:
    """Why whole images come out in several sizes, where the recipe alone tells."""
    low, high = patient.recipe.data.scale_jitter
    if low != high:
        return f"data.scale_jitter is [{low:g}, {high:g}]"
    height, width = patient.data.datasets["train"][0][0].shape[-2:]
    return "data.turn turns images, which are not square" if patient.recipe.data.turn and height != width else ""


def clock(seconds: float) -> str:
    """43 s, 12 min or 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _backward(terms: dict[str, Tensor]) -> None:
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]


def _seconds(device: torch.device, what: Callable[[], None]) -> float:
    """The better of two runs after one that warms up; of a slow one, the first."""
    found = [_once(device, what)]
    if found[0] < PATIENCE:
        found = [_once(device, what) for _ in range(2)]
    return min(found)


def _once(device: torch.device, what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _installed() -> float:
    """Bytes of the machine's memory, nan where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.nan


def _free(folder: Path) -> float:
    """Bytes free where the folder is or will be."""
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return float(shutil.disk_usage(there).free)
