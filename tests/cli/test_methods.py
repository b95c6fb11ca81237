"""The ways to name methods in recipes and on the command line come to one form."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError
from skystill.training.recipe import MethodConfig, Recipe


@pytest.fixture
def parse(tmp_path: Path) -> Any:
    """parse(YAML text, options...): the recipe."""

    def make(text: str, *options: str) -> Recipe:
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return parse_recipe(recipe_parser("distill", ""), [str(path), *options])[0]

    return make


WEIGHED = MethodConfig("pkd+bckd", {"pkd": {"weight": 2}}, {"pkd": 3.0})


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("method: [pkd, bckd]", [], MethodConfig("pkd+bckd")),
        ("method: [pkd]", [], MethodConfig("pkd")),
        ("method: [{name: ltd, weight: 2, settings: {ccd: 1}}]", [], MethodConfig("ltd", {"ccd": 1}, {"ltd": 2.0})),
        ("method: [{name: pkd, weight: 3, settings: {weight: 2}}, bckd]", [], WEIGHED),
        ("method: {name: pkd+bckd, settings: {pkd: {weight: 2}}, weights: {pkd: 3}}", [], WEIGHED),
        ("{}", ["--method", "[{name: pkd, weight: 3.0, settings: {weight: 2}}, bckd]"], WEIGHED),
        ("{}", ["--method=[pkd, bckd]", "--method.weights={pkd: 3}", "--method.settings={pkd: {weight: 2}}"], WEIGHED),
        ("{}", ["--method.name", "pkd+bckd"], MethodConfig("pkd+bckd")),
        ("method: [pkd, bckd]", ["--method.settings.pkd.weight", "2", "--method.weights.pkd", "3"], WEIGHED),
        ("method: {settings: {binding: lic}}", ["--method", "[pkd, bckd]"], MethodConfig("pkd+bckd")),
        ("method: [pkd, bckd]", ["--method", "[ltd]"], MethodConfig("ltd")),
        (
            "method: [ltd, bckd]",
            ["--method.settings.ltd.fade", "[0.1, 0.2]", "--method.settings.ltd.binding=lic"],
            MethodConfig("ltd+bckd", {"ltd": {"fade": [0.1, 0.2], "binding": "lic"}}),
        ),
        (
            "method: [{name: ltd, settings: {binding: lic, ccd: 1}}, {name: bckd, settings: {loc: 2}}]",
            ["--method.settings.ltd.ccd", "2", "--method.settings.pkd.weight=3", "--method.name=ltd+bckd+pkd"],
            MethodConfig(
                "ltd+bckd+pkd", {"ltd": {"binding": "lic", "ccd": 2}, "bckd": {"loc": 2}, "pkd": {"weight": 3}}
            ),
        ),
    ],
)
def test_all_forms_come_to_one(parse: Any, text: str, options: list[str], expected: MethodConfig) -> None:
    assert parse(text, *options).method == expected


def test_the_rest_of_a_recipe_with_a_list_is_read_as_ever(parse: Any) -> None:
    recipe = parse("method: [pkd, bckd]\ndata: {bands: 5, classes: ['yes', '1']}\noptim: {lr: 1e-5}", "--seed", "4")
    assert (recipe.data.bands, recipe.data.classes, recipe.optim.lr, recipe.seed) == (5, ["yes", "1"], 1e-5, 4)
    assert recipe.name == "r"


def test_a_written_combination_reads_back_as_itself(parse: Any, tmp_path: Path) -> None:
    recipe = parse("method: [{name: pkd, weight: 3.0, settings: {weight: 2}}, bckd]")
    recipe.write(tmp_path / "recipe.yaml")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["method"]["name"] == "pkd+bckd"
    assert parse((tmp_path / "recipe.yaml").read_text()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [pkd, 3]", "method: item 2 takes a name or a mapping such as {name: pkd, weight: 2}, not 3."),
        ("method: [{nam: pkd}]", "method: item 1 takes a name or a mapping"),
        (
            "method: [{name: pkd, wieght: 3}]",
            "method: item 1 has no key 'wieght'. Its keys are name, weight, settings.",
        ),
        ("method: [{name: pkd, weight: much}]", "method: item 1: weight takes a number, not 'much'."),
        ("method: [{name: pkd, weight: true}]", "method: item 1: weight takes a number, not True."),
        ("method: [{name: pkd, settings: 3}]", "method: item 1: settings takes a mapping such as {key: value}, not 3."),
        ("method: [pkd, pkd]", "method: pkd is named twice. Name each method once."),
        ("method: []", "method: an empty list. Name a method, e.g. [ltd]."),
        ("method: pkd", "method takes keys and values such as `name: ...`, not 'pkd'."),
        ("method: [pkd]\ndata: {bands: abc}", "data.bands takes a whole number, not 'abc'."),
    ],
)
def test_wrong_lists_are_told_with_file_and_item(parse: Any, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        parse(text)
    assert str(told.value).startswith(f"{tmp_path / 'r.yaml'}: {message}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "[pkd, pkd]"], "--method: pkd is named twice."),
        (["--method", "pkd"], "'pkd' is neither a YAML file nor a mapping"),
        (["--method", "[pkd"], "'[pkd' is neither a YAML file nor a mapping"),
        (["--method"], "argument --method: expected one argument."),
        (
            ["--method", "[pkd, bckd]", "--method.settings.pkd.weight", "much"],
            "method.settings.pkd: weight takes a number",
        ),
        (
            ["--method", "[pkd, bckd]", "--method.weights", "{pkd: much}"],
            "--method.weights takes a number, not 'much'.",
        ),
        (["--method.name", "ltd+bckd", "--method.settings.ccd", "2"], "method ltd+bckd takes settings by method"),
        (
            ["--method", "[ltd, bckd]", "--method.settings.ltd.ccd"],
            "argument --method.settings: expected one argument.",
        ),
        (["--method", "[ltd, bckd]", "--method.settings.pkd.weight", "2"], "method ltd+bckd takes settings by method"),
    ],
)
def test_wrong_options_are_told(parse: Any, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse("{}", *options)
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)
