"""Parsing shared by the verbs: functions become options, and a wrong option becomes one clear line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from skystill.errors import ConfigError


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parsed arguments. Errors: ConfigError in one line."""
    try:
        return parser.parse_args(list(arguments))
    except (ArgumentError, argparse.ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{one_line(error)} See `{parser.prog.split(' [')[0]} --help`.") from error


def one_line(error: Exception) -> str:
    """jsonargparse explains over many lines, the cause last or first; this keeps what a user needs in one."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    text = text.removeprefix("Parser key ").strip()
    return text if text.endswith(".") else text + "."


def call(function: Callable[..., Any], prog: str, arguments: Sequence[str]) -> Any:
    """Calls `function` with what the command line says: required parameters by position, others by --name."""
    parser = ArgumentParser(prog=prog, description=_summary(function), exit_on_error=False)
    parser.add_function_arguments(function, as_positional=True)
    space = parse(parser, arguments)
    return function(**vars(parser.instantiate_classes(space)))


def _summary(function: Callable[..., Any]) -> str:
    """A docstring's text up to its list of arguments."""
    return re.split(r"\n\s*(?:Args|Raises|Returns):", function.__doc__ or "")[0].strip()
