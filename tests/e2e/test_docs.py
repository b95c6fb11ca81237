"""The documentation says what is so: commands parse, recipes are valid, Python runs, links lead somewhere."""

import functools
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest
import torch
import yaml

import skystill
from skystill.cli.benchmark import make_benchmark_parser
from skystill.cli.main import DATA_VERBS, RECIPE_VERBS, VERBS
from skystill.cli.parsing import call
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.detectors import weights
from skystill.detectors.gfl import PRESETS, GFLConfig
from skystill.detectors.torchvision import PRESETS as TORCHVISION_PRESETS
from skystill.detectors.torchvision import TorchvisionConfig
from skystill.detectors.transformers import PRESETS as TRANSFORMERS_PRESETS
from skystill.detectors.transformers import TransformersConfig
from skystill.detectors.transformers.config import MODELS
from skystill.detectors.ultralytics import PRESETS as ULTRALYTICS_PRESETS
from skystill.detectors.ultralytics import UltralyticsConfig
from skystill.detectors.weights import PRESETS as CREATED
from skystill.detectors.weights import create
from skystill.distillation.ltd import LTD
from skystill.distillation.methods import METHODS, make_method

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> Iterator[Any]:
    """Every fenced block of a language, as a pytest parameter named by its page and line."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 1
            lines = (x.removeprefix(found[1]) for x in found[2].splitlines())
            yield pytest.param("\n".join(lines), id=f"{page.name}:{line}")


def commands() -> list[Any]:
    found = []
    for block in blocks("bash"):
        for line in block.values[0].splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["skystill"]:
                found.append(pytest.param(words[1:], id=f"{block.id} {' '.join(words[1:4])}"))
    return found


def test_the_documentation_has_commands_recipes_and_python() -> None:
    assert len(commands()) > 20
    assert len(list(blocks("yaml"))) > 8
    assert len(list(blocks("python"))) > 2


@pytest.mark.parametrize("words", commands())
def test_command_parses(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    prog, verbs = "skystill", VERBS
    if words[0] == "data":
        prog, verbs, words = "skystill data", DATA_VERBS, words[1:]
    verb, *rest = words
    if verb in RECIPE_VERBS:
        check_recipe_command(verb, rest)
        return
    module, _, name = verbs[verb][0].partition(":")
    call(silenced(getattr(import_module(module), name)), f"{prog} {verb}", rest)


def check_recipe_command(verb: str, rest: list[str]) -> None:
    parser = make_benchmark_parser() if verb == "benchmark" else recipe_parser(verb, "")
    if verb == "evaluate":
        parser.add_argument("--split", type=Literal["val", "test"])
        parser.add_argument("--save", type=str)
        rest = rest[1:]
    elif verb != "benchmark":
        parser.add_argument("--resume", action="store_true")
    if not rest[0].startswith("recipes/"):  # the reader's own file, or one that a run writes
        rest = [str(next((ROOT / "recipes").glob("*.yaml"))), *rest[1:]]
    parse_recipe(parser, [str(ROOT / rest[0]), *rest[1:]])


def silenced(function: Any) -> Any:
    """A function of the same signature that does nothing."""

    @functools.wraps(function)
    def nothing(*_: Any, **__: Any) -> None:
        return None

    return nothing


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_a_valid_recipe(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    recipe, _ = parse_recipe(recipe_parser("distill", ""), [str(path)])
    recipe.check()
    make_method(recipe.method.name, recipe.method.settings)
    if yaml.safe_load(text).get("detector", {}).get("settings"):
        if recipe.detector.preset in ULTRALYTICS_PRESETS:
            pytest.importorskip("ultralytics")
        if recipe.detector.preset in TRANSFORMERS_PRESETS:
            pytest.importorskip("transformers")
        if "path/to" in text:  # the reader's own folder: its fields must hold
            replace(CREATED[recipe.detector.preset], **recipe.detector.settings)
            return
        create(recipe.detector.preset, ["ship"], **recipe.detector.settings)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for library in ("ultralytics", "transformers"):
        if f"from {library} import" in text:
            pytest.importorskip(library)
    compile(text, "documentation", "exec")
    for table in ("FAMILIES", "PRESETS"):  # a page may enter its own there
        monkeypatch.setattr(weights, table, dict(getattr(weights, table)))
    if "path/to" in text or "student.onnx" in text:  # needs the reader's files: its imports must hold
        exec("\n".join(x for x in text.splitlines() if x.startswith(("import ", "from "))), {})
        return
    if "teacher.safetensors" in text:
        skystill.save(create("gfl_mnv3s", ["ship", "plane"]), "teacher.safetensors")
    exec(text, {"images": torch.rand(2, 3, 128, 128), "targets": [skystill.Targets.empty()] * 2})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:examples|recipes|benchmarks|tests|docs)/[\w./]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_tables_name_what_there_is() -> None:
    recipes, readme = (ROOT / "docs/recipes.md").read_text(), (ROOT / "README.md").read_text()
    for name in PRESETS:
        assert f"`{name}`" in recipes
    for name in GFLConfig.__dataclass_fields__:
        assert f"`{name}`" in recipes
    families: dict[str, tuple[Any, Any]] = {
        "torchvision": (TORCHVISION_PRESETS, TorchvisionConfig),
        "transformers": (TRANSFORMERS_PRESETS, TransformersConfig),
        "ultralytics": (ULTRALYTICS_PRESETS, UltralyticsConfig),
    }
    overview = (ROOT / "docs/detectors.md").read_text()
    for family, (presets, config) in families.items():
        page = (ROOT / f"docs/detectors/{family}.md").read_text()
        for name in (*presets, *config.__dataclass_fields__):
            assert f"`{name}`" in page, (family, name)
        assert f"(detectors/{family}.md)" in overview
    page = (ROOT / "docs/detectors/torchvision.md").read_text()
    for name in get_args(get_type_hints(TorchvisionConfig)["model"]):
        assert name in page.partition("Fields: `model` (")[2].partition(")")[0].split(", ")
    page = (ROOT / "docs/detectors/transformers.md").read_text()
    assert set(MODELS) <= set(re.split(r"[ ,]+", page.partition("| `model` | without a base: ")[2].splitlines()[0]))
    for verb in [v for v in VERBS if v != "data"] + list(DATA_VERBS):
        assert re.search(rf"^\|.*`.*\b{verb}\b", readme, re.MULTILINE), verb


def test_the_table_of_settings_gives_the_defaults() -> None:
    page = (ROOT / "docs/method.md").read_text()
    told: dict[str, Any] = {}
    for keys, values in re.findall(r"^\| (`.*?`) \| (.*?) \|", page.partition("### Settings")[2], re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", keys), yaml.safe_load(f"[{values.replace('`', '')}]"), strict=True))
    signature = inspect.signature(type(make_method("ltd")).__init__).parameters
    defaults = {k: list(p.default) if isinstance(p.default, tuple) else p.default for k, p in signature.items()}
    del defaults["self"]
    assert told == defaults


def test_the_table_of_peers_gives_names_and_defaults() -> None:
    page = (ROOT / "docs/method.md").read_text().partition("## Peers")[2].partition("\n## ")[0]
    told = {
        name: {key: float(value) for key, value in re.findall(r"`(\w+)` ([\w.-]+)", settings)}
        for name, settings in re.findall(r"^\|.*?\| `(\w+)` \|.*\| (.*) \|$", page, re.MULTILINE)
    }
    parameters = {name: list(inspect.signature(kind).parameters.values()) for name, kind in METHODS.items()}
    defaults = {name: {p.name: p.default for p in found} for name, found in parameters.items()}
    assert told == {name: found for name, found in defaults.items() if not name.startswith("ltd")}


def value_of(text: str) -> Any:
    value = yaml.safe_load(text)
    return tuple(value) if isinstance(value, list) else value


def test_what_plus_changes_is_told() -> None:
    page = (ROOT / "docs/method.md").read_text().partition("## `ltd_plus`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE)
    told = {key: (value_of(before), value_of(after)) for key, before, after in rows}
    plain, plus = make_method("ltd"), make_method("ltd_plus")
    assert isinstance(plain, LTD)
    assert isinstance(plus, LTD)

    def setting(method: LTD, key: str) -> object:
        part = method.tasd if hasattr(method.tasd, key) else method.ccd
        return getattr(part, "weight" if key == "ccd" else key)

    keys = list(inspect.signature(type(plain).__init__).parameters)[1:]
    both = {k: (setting(plain, k), setting(plus, k)) for k in keys}
    assert told == {k: (one, other) for k, (one, other) in both.items() if one != other}
    own = list(inspect.signature(type(plus).__init__).parameters)[1:]
    assert set(own) == {k for k in re.findall(r"`(\w+)`", page.partition("Its settings")[2]) if k != "ltd"}


def test_every_setting_of_the_released_form_is_named() -> None:
    page = (ROOT / "docs/method.md").read_text().partition("## `ltd_released`")[2]
    for key in list(inspect.signature(type(make_method("ltd_released")).__init__).parameters)[1:]:
        assert f"`{key}`" in page, key
