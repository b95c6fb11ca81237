"""The house has one-way doors: which room may see which, read from the source and not from what happens to run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import skystill

ROOT = Path(skystill.__file__).parent
# Small modules beside the rooms that every room may use.
COMMON = {"structures", "kinds", "errors", "distributed", "files", "fonts", "memory", "plugins", "contention"}
# Room -> rooms it may import. What is missing here is forbidden; a new room must say what it needs.
ALLOWED: dict[str, set[str]] = {
    "structures": set(),
    "kinds": set(),
    "errors": set(),
    "distributed": set(),
    "files": set(),
    "fonts": set(),
    "memory": set(),
    "contention": set(),
    "plugins": set(),
    "boxes": set(),
    "data": {"boxes"},
    "detectors": {"boxes"},
    "distillation": {"boxes", "detectors"},
    "evaluation": {"boxes", "detectors", "data"},
    # Parity overlaps detections as scores do, and predict draws as reports do.
    "deployment": {"boxes", "detectors", "data", "evaluation"},
    "scenes": {"boxes", "detectors", "deployment"},
    "tracking": {"boxes", "detectors", "deployment"},
    # Scoring takes a deployed detector too, so that a student is measured in the form in which it flies.
    "training": {"boxes", "data", "detectors", "distillation", "evaluation", "deployment"},
    # A benchmark trains by the command line and scores what came out.
    "benchmark": {"data", "detectors", "evaluation", "training"},
    # The doctor makes what a recipe makes, and looks at it.
    "doctor": {"boxes", "data", "detectors", "distillation", "evaluation", "training"},
    # What an author's own detector or method is tried by: as teacher, as student, in a file.
    "testing": {"boxes", "detectors", "distillation"},
    # The demo walks the path with the functions that the verbs call.
    "demo": {"data", "detectors", "evaluation", "training"},
    "cli": {
        "benchmark",
        "demo",
        "doctor",
        "boxes",
        "data",
        "detectors",
        "distillation",
        "evaluation",
        "deployment",
        "scenes",
        "tracking",
        "training",
    },
}
# Loaded only by those who asked for what they do.
OPTIONAL = {"onnx", "onnxscript", "onnxruntime", "transformers", "ultralytics", "openvino", "rasterio"}
HEAVY = {"matplotlib", "pytorch_lightning", "jsonargparse", "tensorboard", "faster_coco_eval", "shapely", "tifffile"}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Every module of a room; the package's own `__init__` and `__main__` are doors, not rooms."""
    return [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or not p.name.startswith("__")]


def imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Full names of the modules an import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        name = ".".join([*base, *([node.module] if node.module else [])])
        # `from skystill import data` names a room only together with what it imports.
        yield from (f"{name}.{alias.name}" for alias in node.names)


def all_imports(path: Path) -> Iterator[str]:
    package = ["skystill", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        yield from imported(node, package)


def top_level(path: Path) -> Iterator[str]:
    """Imports that run when the module is imported: not those in functions, nor those for type checkers."""
    package = ["skystill", *path.relative_to(ROOT).parent.parts]

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            yield from imported(node, package)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
                for part in ("body", "orelse", "finalbody"):
                    yield from walk(getattr(node, part, []))

    yield from walk(ast.parse(path.read_text()).body)


@pytest.mark.parametrize("room", sorted({room_of(p) for p in modules()}))
def test_rooms_see_only_what_they_may(room: str) -> None:
    assert room in ALLOWED, f"say in this table what the new room {room} may import"
    may = ALLOWED[room] | COMMON | {room}
    for path in (p for p in modules() if room_of(p) == room):
        for name in all_imports(path):
            parts = name.split(".")
            if parts[0] != "skystill":
                continue
            known = len(parts) > 1 and (parts[1] in ALLOWED or (ROOT / parts[1]).is_dir())
            # Anything else is a name of the package itself, its version say.
            assert not known or parts[1] in may, f"{path.relative_to(ROOT)} imports {name}"


def test_the_common_modules_stand_alone_but_for_the_errors_that_they_raise() -> None:
    for name in COMMON:
        for found in all_imports(ROOT / f"{name}.py"):
            own = found.startswith("skystill")
            assert not own or (name != "errors" and found.startswith("skystill.errors.")), f"{name}.py imports {found}"


def test_the_table_has_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {room for room, needs in ALLOWED.items() if room not in done and needs <= done}
        assert ready, f"a circle among {sorted(set(ALLOWED) - done)}"
        done |= ready


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_optional_libraries_are_imported_inside_functions(path: Path) -> None:
    assert not {name.split(".")[0] for name in top_level(path)} & OPTIONAL


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_skystill_loads_nothing_heavy() -> None:
    loaded = loaded_by("import skystill")
    assert "skystill" in loaded
    assert not loaded & (OPTIONAL | HEAVY | {"torch", "torchvision", "timm", "numpy"})


def test_help_and_a_misspelt_option_wait_for_no_torch() -> None:
    loaded = loaded_by("from skystill.cli.recipes import recipe_parser; recipe_parser('train', '')")
    assert "jsonargparse" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "pytorch_lightning"}


def test_detecting_and_distilling_load_nothing_optional() -> None:
    loaded = loaded_by("import skystill; skystill.Distiller, skystill.LTD, skystill.create, skystill.load")
    assert {"torch", "timm"} <= loaded
    assert not loaded & (OPTIONAL | {"matplotlib", "pytorch_lightning", "jsonargparse", "tensorboard"})


def test_every_public_name_is_there() -> None:
    assert set(skystill.__all__) <= set(dir(skystill))
    for name in skystill.__all__:
        assert getattr(skystill, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = skystill.nonsense
