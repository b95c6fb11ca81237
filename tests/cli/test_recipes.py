"""Recipes from files and the command line: what wins, and one clear line for what is wrong."""

from pathlib import Path

import pytest

from skystill.cli.main import main
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError
from skystill.training.recipe import Recipe


def parse(*arguments: str) -> Recipe:
    return parse_recipe(recipe_parser("train", "Text."), arguments)[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ships.yaml"
    path.write_text("data: {bands: 1}\noptim: {lr: 2e-4}\nseed: 4\n")
    return path


def test_nothing_given_is_the_default() -> None:
    assert parse() == Recipe()


@pytest.mark.parametrize("how", [["{}"], ["--recipe", "{}"], ["--recipe={}"]])
def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(how: list[str], file: Path) -> None:
    recipe = parse(*(part.format(file) for part in how), "--data.bands", "5", "--teacher.weights", "[a, b]")
    assert (recipe.data.bands, recipe.optim.lr, recipe.seed, recipe.name) == (5, 2e-4, 4, "ships")
    assert recipe.teacher.weights == ["a", "b"]
    assert recipe.data.views == Recipe().data.views


def test_a_name_of_its_own_is_kept(file: Path) -> None:
    assert parse(str(file), "--name", "boats").name == "boats"


def test_a_teacher_that_comes_with_a_recipe_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = tmp_path / "house"
    shipped, beside, recipe = house / "teachers" / "a.st", house / "recipes" / "b.st", house / "recipes" / "r.yaml"
    for path in (shipped, beside):
        path.parent.mkdir(parents=True)
        path.touch()
    recipe.write_text("teacher: {weights: [teachers/a.st, b.st, c.st]}\n")
    monkeypatch.chdir(tmp_path)
    assert parse(str(recipe)).teacher.weights == [str(shipped), str(beside), "c.st"]
    monkeypatch.chdir(house)
    assert parse("recipes/r.yaml").teacher.weights[0] == "teachers/a.st"  # what is here comes first


def test_every_option_is_described() -> None:
    undescribed = [
        action.dest
        for action in recipe_parser("train", "Text.")._actions
        if "." in action.dest and not (action.help or "").strip()
    ]
    assert undescribed == []


def test_settings_merge_key_by_key_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("method: {settings: {binding: lic, fade: [0.1, 0.2]}}\n")
    assert parse(str(path), "--method.settings.ccd", "2").method.settings == {
        "binding": "lic",
        "fade": [0.1, 0.2],
        "ccd": 2,
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.bands=abc", "--data.bands takes a whole number, not 'abc'."),
        ("--seed=1.5", "--seed takes a whole number, not '1.5'."),
        ("--optim.lr=fast", "--optim.lr takes a number, not 'fast'."),
        ("--data.fix=maybe", "--data.fix takes true or false, not 'maybe'."),
        ("--data.kind=round", "--data.kind takes hbb or obb, not 'round'."),
        ("--data.format=csv", "--data.format takes coco, dota, yolo, voc or synthetic, not 'csv'."),
        ("--data.white=x", "--data.white takes a number or null, not 'x'."),
        ("--data.scale_jitter=[1]", "--data.scale_jitter takes a list of 2 values, not '[1]'."),
        ("--optim.drops=3", "--optim.drops takes a list such as [a, b], not '3'."),
        ("--detector.settings=3", "--detector.settings takes a mapping such as {key: value}, not '3'."),
        ("--detector=3", "'3' is neither a YAML file nor a mapping"),
        ("--data.roo=x", "--data.roo is no option; did you mean --data.root?"),
        ("--zzzz", "--zzzz is no option."),
        ("--data.bands", "argument --data.bands: expected one argument."),
        ("--data.bands=0", "data.bands is 0. Give at least 1."),
    ],
)
def test_wrong_options_are_told_as_typed(option: str, message: str, file: Path) -> None:
    with pytest.raises(ConfigError) as told:
        parse(str(file), option)
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)
    assert "<class" not in str(told.value)


def test_one_teacher_is_named_without_brackets(tmp_path: Path) -> None:
    path, name = tmp_path / "r.yaml", "a teacher, mine.safetensors"
    path.write_text(f"teacher: {{weights: '{name}'}}")
    assert parse(str(path)).teacher.weights == [name]
    path.write_text("seed: 1")
    for words in (["--teacher.weights", name], [f"--teacher.weights={name}"], ["--teacher.weights", f"['{name}']"]):
        assert parse(str(path), *words).teacher.weights == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {bandz: 3}", ": data has no key 'bandz'. Did you mean bands?"),
        ("dta: {}", ": a recipe has no key 'dta'. Did you mean data?"),
        ("zzzzz: 1", ": a recipe has no key 'zzzzz'. Its keys are data, detector, teacher"),
        ("data: {bands: abc}", ": data.bands takes a whole number, not 'abc'."),
        ("data: {format: csv}", ": data.format takes coco, dota, yolo, voc or synthetic, not 'csv'."),
        (
            "data: {root: x, format: coco}\noptim:\n\tlr: 1",
            " line 3: not YAML, found character '\\t' that cannot start any",
        ),
        ("data: {root: [a", " line 1: not YAML, expected ',' or ']'"),
        ("seed: 0\noptim: {lr: 0.1, lr: 0.2}", " line 2: lr is there twice. Mend that line."),
        ("data: !!python/name:os.system", " line 1: could not determine a constructor for the tag"),
        ("just a sentence", ": a recipe takes keys and values such as `data: ...`, not 'just a sentence'."),
        ("", ": a recipe takes keys and values such as `data: ...`, not None."),
        ("data: [1, 2]", ": data takes keys and values such as `root: ...`, not [1, 2]."),
        ("data:", ": data takes keys and values such as `root: ...`, not None."),
        ("\x00", ": not a YAML text file."),
    ],
)
def test_wrong_recipes_are_told_with_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        parse(str(path))
    assert str(told.value).startswith(f"{path}{message}")
    assert "\n" not in str(told.value)


def test_what_is_no_text_or_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match=r"binary.yaml: not a YAML text file"):
        parse(str(tmp_path / "binary.yaml"))
    for missing in (tmp_path, tmp_path / "no.yaml"):
        with pytest.raises(ConfigError, match=f"^{missing}: no such recipe"):
            parse("--recipe", str(missing))


def test_a_second_argument_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"'more' is one argument too many\. The recipe comes first"):
        parse(str(file), "more")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--detector.settings={neck_channels: wide}",
            "detector.settings: neck_channels takes a whole number, not 'wide'.",
        ),
        ("--detector.settings={levels: [2, 3, 4]}", "detector.settings: levels takes a list of 2 values"),
        ("--method.settings={ccd: much}", "method.settings: ccd takes a number, not 'much'."),
        (
            "--method.settings={binding: glue}",
            "method.settings: binding takes fusion, lic, explicit, related or both, not 'glue'.",
        ),
    ],
)
def test_settings_are_held_against_their_types(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse(option)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize("verb", ["train", "distill", "benchmark", "doctor"])
def test_what_print_config_prints_is_a_recipe(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--seed", "7", "--print_config"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    recipe, _ = parse_recipe(recipe_parser("train", ""), [str(tmp_path / "again.yaml")])
    assert recipe.seed == 7
