"""Parsing shared by the verbs: functions become options, and a wrong option becomes one clear line."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from skystill.errors import ConfigError

_REFUSALS = (ArgumentError, argparse.ArgumentError, TypeError, ValueError)

# What jsonargparse calls a type, and what a user writes for it.
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list such as [a, b]",
    "tuple": "a list such as [1, 2]",
    "dict": "a mapping such as {key: value}",
    "NoneType": "null",
}


class _Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of a description, which may hold examples."""


def make_parser(prog: str, description: str, usage: str | None = None) -> ArgumentParser:
    """A parser that takes options by their full names only and leaves errors to `parse`."""
    return ArgumentParser(
        prog=prog,
        usage=usage,
        description=description,
        formatter_class=_Formatter,
        exit_on_error=False,
        allow_abbrev=False,
    )


def parse(parser: ArgumentParser, arguments: Sequence[str], source: str | None = None) -> Namespace:
    """Parsed arguments. source: a file whose values are among them. Errors: ConfigError in one line."""
    try:
        return parser.parse_args(list(arguments))
    except _REFUSALS as error:
        message = explain(error, parser, arguments, source)
        raise ConfigError(f"{message} See `{parser.prog} --help`.") from error


def check_types(kind: type, values: Mapping[str, Any], place: str) -> None:
    """Holds values against the parameters of `kind`; names that it lacks are passed over. Errors: ConfigError."""
    parser = make_parser(place, "")
    parser.add_class_arguments(kind)
    known = {action.dest for action in parser._actions}
    try:
        parser.parse_object({name: value for name, value in values.items() if name in known})
    except _REFUSALS as error:
        raise ConfigError(f"{place}: {explain(error, parser, ()).removeprefix('--')}") from error


def explain(error: Exception, parser: ArgumentParser, arguments: Sequence[str], source: str | None = None) -> str:
    """One line from jsonargparse's several: which option, what it takes, what it got."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    if text.startswith("unrecognized arguments: "):
        return _unknown(text.removeprefix("unrecognized arguments: ").split(), parser)
    if config := re.search(r"Unable to load config '(.*?)'", text):
        return f"{_quoted(config[1])} is neither a YAML file nor a mapping such as {{key: value}}."
    wrong = re.search(r'Parser key "([^"]+)"(?: element \d+)?: (.*?)[. ]+(?:Got|Given) value: (.*)$', text)
    if wrong is None:
        return _sentence(text.removeprefix("Parser key "))
    key, problem, given = wrong.groups()
    return f"{_place(key, parser, arguments, source)} takes {_allowed(problem)}, not {_quoted(given)}."


def call(function: Callable[..., Any], prog: str, arguments: Sequence[str]) -> Any:
    """Calls `function` with what the command line says: required parameters by position, others by --name.

    Where the first parameter is a list of texts, all words that belong to no option make it up.
    """
    first = next(iter(inspect.signature(function).parameters.values()))
    listed = first.annotation == "list[str]"
    name = first.name.upper()
    parser = make_parser(prog, _summary(function), f"{prog} {name} [{name} ...] [--key VALUE ...]" if listed else None)
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    if listed:
        words, options = _apart(arguments)
        arguments = [json.dumps(words), *options] if words else arguments
    space = parse(parser, arguments)
    return function(**vars(parser.instantiate(space)))


def _apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words, and options with their values, of which each has one."""
    words, options, rest = [], [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.append(word)
            continue
        options.append(word)
        if "=" not in word and rest and not rest[0].startswith("--"):
            options.append(rest.pop(0))
    return words, options


def _unknown(words: list[str], parser: ArgumentParser) -> str:
    option = next((w.split("=")[0] for w in words if w.startswith("-")), None)
    if option is None:
        first = " The recipe comes first." if "RECIPE" in (parser.usage or "") else ""
        return f"{_quoted(words[0])} is one argument too many.{first}"
    known = [name for action in parser._actions for name in action.option_strings]
    near = get_close_matches(option, known, 1)
    return f"{option} is no option{f'; did you mean {near[0]}?' if near else '.'}"


def _place(key: str, parser: ArgumentParser, arguments: Sequence[str], source: str | None) -> str:
    """Where the wrong value stands: --key on the command line, key in the file, or a positional argument."""
    if not any(f"--{key}" in action.option_strings for action in parser._actions):
        return key
    # A whole group given as --data '{bands: x}' stands on the command line too.
    typed = {a.split("=")[0].rstrip("+") for a in arguments}
    above = [key] + [key.rsplit(".", n)[0] for n in range(1, key.count(".") + 1)]
    if source is not None and not any(f"--{name}" in typed for name in above):
        return f"{source}: {key}"
    return f"--{key}"


def _allowed(problem: str) -> str:
    """In words, what jsonargparse expected."""
    if choices := re.search(r"Literal\[(.*?)\]", problem):
        names = [name.strip(" '\"") for name in choices[1].split(",")]
        return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    if size := re.search(r"tuple with (\d+) elements", problem):
        return f"a list of {size[1]} values"
    words = [_WORDS[name] for name in re.findall(r"Expected a <class '(\w+)'>", problem) if name in _WORDS]
    return " or ".join(dict.fromkeys(words)) or problem


def _quoted(value: str) -> str:
    return repr(value.strip("'\""))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _summary(function: Callable[..., Any]) -> str:
    """A docstring's text up to its list of arguments."""
    return re.split(r"\n\s*(?:Args|Raises|Returns):", inspect.getdoc(function) or "")[0].strip()
