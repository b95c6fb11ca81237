"""How verbs take a recipe: `skystill VERB RECIPE --key.sub value`, typed and checked by jsonargparse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from skystill.cli.methods import as_mapping, take_settings
from skystill.cli.parsing import check_types, make_parser, parse
from skystill.cli.yamlfile import read_yaml
from skystill.errors import ConfigError
from skystill.training.recipe import Recipe

_SHOW = "--print_config"


def recipe_parser(verb: str, description: str, before: str = "") -> ArgumentParser:
    """A parser whose options are the recipe's keys; verbs may add their own. before: what precedes the recipe."""
    prog = f"skystill {verb}"
    words = filter(None, (prog, before, "[RECIPE] [--key VALUE ...]"))
    parser = make_parser(prog, description, " ".join(words))
    parser.add_argument("--recipe", action=ActionConfigFile, help="Recipe in YAML; the same as naming it first.")
    parser.add_class_arguments(Recipe)
    return parser


def parse_recipe(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Recipe, Namespace]:
    """The recipe, and all that was parsed. Keys on the command line win over the file's.

    --print_config prints the recipe alone, as a file that can be run, without what else the verb takes, and ends it.
    """
    arguments = list(arguments)
    shown = _SHOW in arguments
    arguments = [word for word in arguments if word != _SHOW]
    if arguments and not arguments[0].startswith("-"):
        arguments[:1] = ["--recipe", arguments[0]]
    arguments = ["--teacher.allow_hbb=true" if word == "--allow-hbb-teacher" else word for word in arguments]
    files = _recipe_files(arguments)
    arguments, deeper = take_settings(arguments)
    arguments = _as_parsed(arguments, {file: check_file(Path(file)) for file in files})
    space = parse(parser, arguments, files[-1] if files else None)
    made = parser.instantiate(space)
    recipe = Recipe(**{field.name: made[field.name] for field in fields(Recipe)})
    for name, key, value in deeper:
        own = recipe.method.settings.get(name)
        recipe.method.settings[name] = {**(own if isinstance(own, dict) else {}), key: value}
    _check_settings(recipe)
    if files:
        recipe.name = recipe.name or Path(files[-1]).stem
        recipe.teacher.weights = [_beside(path, Path(files[-1])) for path in recipe.teacher.weights]
    if shown:
        print(recipe.as_yaml(), end="")
        raise SystemExit(0)
    return recipe, space


def _beside(weights: str, recipe: Path) -> str:
    """Where a teacher lies that a recipe names: from here, beside the recipe, or in the folder above.

    Teachers that come with the recipes' repository are named from its root, and a recipe may be used from anywhere.
    """
    places = [Path(weights), *(folder / weights for folder in (recipe.parent, recipe.resolve().parent.parent))]
    return str(next((place for place in places if place.exists()), weights))


def check_file(path: Path) -> str | None:
    """Refuses a recipe that is missing, is no YAML or holds an unknown key, with a ConfigError that names the place.

    Returns the recipe's text where it gives methods as a list or one teacher by its bare name, which the parser does
    not know, with a mapping or a list instead.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe. Recipes are YAML files, e.g. those in recipes/.")
    values = read_yaml(path, "Recipes look like those in recipes/.")
    changed = False
    if isinstance(values, dict) and isinstance(values.get("method"), list):
        values["method"], changed = as_mapping(values["method"], f"{path}: method"), True
    teacher = values.get("teacher") if isinstance(values, dict) else None
    if isinstance(teacher, dict) and isinstance(teacher.get("weights"), str):
        teacher["weights"], changed = [teacher["weights"]], True
    _check_keys(path, values, Recipe, "")
    return yaml.safe_dump(values, sort_keys=False) if changed else None


def _check_keys(path: Path, values: Any, kind: type, prefix: str) -> None:
    where = f"{path}: {prefix[:-1]}" if prefix else f"{path}: a recipe"
    if not isinstance(values, dict):
        raise ConfigError(f"{where} takes keys and values such as `{fields(kind)[0].name}: ...`, not {values!r:.60}.")
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            near = get_close_matches(str(key), hints, 1)
            mend = f"Did you mean {near[0]}?" if near else f"Its keys are {', '.join(hints)}."
            raise ConfigError(f"{where} has no key {str(key)!r}. {mend}")
        if is_dataclass(hints[key]):
            _check_keys(path, value, hints[key], f"{prefix}{key}.")


def _check_settings(recipe: Recipe) -> None:
    """Types of a detector's and a method's settings; names are left to those who make them, who list them all."""
    from skystill.detectors.weights import PRESETS
    from skystill.distillation.methods import METHODS, settings_by_method
    from skystill.distillation.roles import Role

    if recipe.detector.preset in PRESETS:
        check_types(type(PRESETS[recipe.detector.preset]), recipe.detector.settings, "detector.settings")
    for role in recipe.teacher.roles:
        check_types(Role, role, "teacher.roles")
    each = settings_by_method(recipe.method.name, recipe.method.settings)
    for name, settings in each.items():
        if name in METHODS:
            check_types(METHODS[name], settings, f"method.settings.{name}" if len(each) > 1 else "method.settings")


def _recipe_files(arguments: Sequence[str]) -> list[str]:
    """The files that --recipe names, in order."""
    following = [b for a, b in pairwise(arguments) if a == "--recipe"]
    return following or [a.split("=", 1)[1] for a in arguments if a.startswith("--recipe=")]


def _as_parsed(arguments: list[str], texts: dict[str, str | None]) -> list[str]:
    """The arguments in the forms that the parser knows: a list of methods as a mapping, one teacher as a list of one.

    texts: what stands in for a recipe file, by its name.
    """
    forms: dict[str, Callable[[str], str | None]] = {
        "--recipe": texts.get,
        "--method": _mapping_text,
        "--teacher.weights": _list_text,
    }
    found = list(arguments)
    for i, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option not in forms or not (equals or i + 1 < len(arguments)):
            continue
        new = forms[option](value if equals else arguments[i + 1])
        if new is not None:
            found[i if equals else i + 1] = f"{option}={new}" if equals else new
    return found


def _list_text(value: str) -> str | None:
    """A bare name as a list; None for what is one already, or another option."""
    return json.dumps([value]) if value and not value.startswith(("[", "-")) else None


def _mapping_text(value: str) -> str | None:
    """The mapping of a --method that is a list, as YAML; None for any other value."""
    try:
        entries = yaml.safe_load(value)
    except yaml.YAMLError:
        return None
    return yaml.safe_dump(as_mapping(entries, "--method"), sort_keys=False) if isinstance(entries, list) else None
