"""How verbs take a recipe: `skystill VERB RECIPE --key.sub value`, typed and checked by jsonargparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from skystill.cli.parsing import check_types, make_parser, parse
from skystill.errors import ConfigError
from skystill.training.recipe import Recipe


def recipe_parser(verb: str, description: str, before: str = "") -> ArgumentParser:
    """A parser whose options are the recipe's keys; verbs may add their own. before: what precedes the recipe."""
    prog = f"skystill {verb}"
    words = filter(None, (prog, before, "[RECIPE] [--key VALUE ...]"))
    parser = make_parser(prog, description, " ".join(words))
    parser.add_argument("--recipe", action=ActionConfigFile, help="Recipe in YAML; the same as naming it first.")
    parser.add_class_arguments(Recipe)
    return parser


def parse_recipe(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Recipe, Namespace]:
    """The recipe, and all that was parsed. Keys on the command line win over the file's."""
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        arguments[:1] = ["--recipe", arguments[0]]
    files = _recipe_files(arguments)
    for file in files:
        check_file(Path(file))
    space = parse(parser, arguments, files[-1] if files else None)
    made = parser.instantiate(space)
    recipe = Recipe(**{field.name: made[field.name] for field in fields(Recipe)})
    _check_settings(recipe)
    if recipe.name is None and files:
        recipe.name = Path(files[-1]).stem
    return recipe, space


def check_file(path: Path) -> None:
    """Refuses a recipe that is missing, is no YAML or holds an unknown key, with a ConfigError that names the place."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe. Recipes are YAML files, e.g. those in recipes/.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        tab = " YAML wants spaces where there is a tab." if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{path}{line}: not YAML, {error.problem}.{tab} Mend that line.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not a YAML text file. Recipes look like those in recipes/.") from error
    _check_keys(path, values, Recipe, "")


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
    from skystill.detectors.gfl import GFLConfig
    from skystill.distillation.methods import METHODS

    check_types(GFLConfig, recipe.detector.settings, "detector.settings")
    if recipe.method.name in METHODS:
        check_types(METHODS[recipe.method.name], recipe.method.settings, "method.settings")


def _recipe_files(arguments: Sequence[str]) -> list[str]:
    """The files that --recipe names, in order."""
    following = [b for a, b in pairwise(arguments) if a == "--recipe"]
    return following or [a.split("=", 1)[1] for a in arguments if a.startswith("--recipe=")]
