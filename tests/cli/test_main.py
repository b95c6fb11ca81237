"""The command's frame: verbs, help, exit codes, and one line for every fault."""

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skystill.cli import main as cli
from skystill.cli.main import DATA_VERBS, VERBS, main
from skystill.cli.parsing import call
from skystill.errors import ConfigError, DataError

Capture = pytest.CaptureFixture[str]


def ending(error: BaseException) -> Callable[[list[str]], None]:
    def run(arguments: list[str]) -> None:
        raise error

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for verb, (_, text) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(text)}$", printed.out, re.MULTILINE)
    assert all(len(line) <= 100 for line in printed.out.splitlines())


def test_help_of_data_names_its_verbs(capsys: Capture) -> None:
    assert main(["data"]) == main(["data", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: skystill data VERB" in printed
    assert all(f"  {verb}" in printed for verb in DATA_VERBS)


@pytest.mark.parametrize("verb", [[v] for v in VERBS if v != "data"] + [["data", v] for v in DATA_VERBS], ids=" ".join)
def test_every_verb_explains_itself(verb: list[str], capsys: Capture) -> None:
    assert main([*verb, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"usage: skystill {' '.join(verb)} ")
    assert "<function" not in printed.out


def test_recipe_verbs_group_keys_under_their_sections(capsys: Capture) -> None:
    main(["distill", "--help"])
    printed = capsys.readouterr().out
    places = [
        printed.index(text) for text in ("images and truth:", "--data.root", "how weights move:", "--optim.lr LR")
    ]
    assert places == sorted(places)
    assert printed.splitlines()[0] == "usage: skystill distill [RECIPE] [--key VALUE ...]"
    assert "\n  skystill distill recipe.yaml" in printed  # examples keep their lines


def test_version(capsys: Capture) -> None:
    import skystill

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"skystill {skystill.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "skystill has no verb 'trian'; the verbs are demo, data, doctor"),
        (["data", "splt"], "skystill data has no verb 'splt'; the verbs are synth, convert, inspect, split, tile."),
        (["predict"], "required: weights, images. See `skystill predict --help`."),
        (["predict", "a", "b", "c"], "'c' is one argument too many."),
        (["predict", "a", "b", "--scor", "1"], "--scor is no option; did you mean --score?"),
        (["predict", "a", "b", "--score", "high"], "--score takes a number or null, not 'high'."),
        (["predict", "a", "b", "--on_bad_image", "cry"], "--on_bad_image takes raise or skip, not 'cry'."),
        (["data", "split", "a", "b", "half"], "fractions takes a mapping such as {key: value}, not 'half'."),
        (["export", "no.safetensors"], "no.safetensors: no such weights file."),
        (["evaluate"], "evaluate takes weights first"),
        (["evaluate", "w.safetensors", "--split", "train"], "--split takes val or test, not 'train'."),
        (["data", "inspect", "no.json"], "no.json"),
    ],
)
def test_each_fault_is_one_line_and_exit_code_2(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("skystill: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("two\n  lines"), 2, "skystill: two lines\n"),
        (DataError("bad"), 2, "skystill: bad\n"),
        (KeyboardInterrupt(), 130, "skystill: interrupted.\n"),
        (KeyboardInterrupt("go on so"), 130, "skystill: go on so\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2, "skystill: a/b: No space left on device.\n"),
        (SystemExit(0), 0, ""),
        (SystemExit(None), 0, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_ends_have_their_codes(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(cli, "_run", ending(error))
    assert main(["train"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("error", [ConfigError("x"), OSError(errno.ENOSPC, "full")])
def test_debug_shows_the_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", ending(error))
    with pytest.raises(type(error)):
        main(["train", "--debug"])


def test_faults_of_the_program_are_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", ending(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_arguments_default_to_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["skystill", "train", str(tmp_path / "no.yaml")])
    assert main() == 2
    assert "no.yaml: no such recipe" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["a b --split val", "--split val a b", "a --split=val b", "a --split val b"])
def test_a_verbs_list_is_all_words_of_no_option(line: str) -> None:
    def show(runs: list[str], split: str = "test") -> tuple[list[str], str]:
        """Shows."""
        return runs, split

    show.__annotations__["runs"] = "list[str]"  # as in a module whose annotations are texts
    assert call(show, "skystill show", line.split()) == (["a", "b"], "val")
