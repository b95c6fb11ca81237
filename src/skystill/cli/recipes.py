"""How verbs take a recipe: `skystill VERB RECIPE --key.sub value`, typed and checked by jsonargparse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from skystill.cli.parsing import one_line, parse
from skystill.errors import ConfigError
from skystill.training.recipe import Recipe


def recipe_parser(verb: str, description: str) -> ArgumentParser:
    """A parser whose options are the recipe's keys; verbs may add their own."""
    parser = ArgumentParser(prog=f"skystill {verb} [RECIPE]", description=description, exit_on_error=False)
    parser.add_argument("--recipe", action=ActionConfigFile, help="Recipe in YAML; the same as naming it first.")
    parser.add_class_arguments(Recipe)
    return parser


def parse_recipe(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Recipe, Namespace]:
    """The recipe, and all that was parsed. Keys on the command line win over the file's."""
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        if not Path(arguments[0]).is_file():
            raise ConfigError(f"{arguments[0]}: no such recipe. Recipes are YAML files, e.g. those in recipes/.")
        arguments[:1] = ["--recipe", arguments[0]]
    space = parse(parser, arguments)
    made = parser.instantiate_classes(space)
    fields = {name: made[name] for name in Recipe.__dataclass_fields__}
    recipe = Recipe(**fields)
    if recipe.name is None and space.get("recipe"):
        recipe.name = Path(str(space.recipe[0])).stem
    return recipe, space


__all__ = ["one_line", "parse_recipe", "recipe_parser"]
