"""Errors that a user can mend. The command line prints them as one line, without a traceback, and exits with their
code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SkystillError(Exception):
    """Something in the input is wrong. The message says what, where, and the mend, in one line. code: the exit code."""

    code = 2


class DataError(SkystillError):
    """An image or an annotation cannot be used as it is."""


class ConfigError(SkystillError):
    """A recipe, an option or a combination of them cannot work."""


class WeightsError(SkystillError):
    """A weights file is missing, broken, or belongs to another architecture."""


class DivergedError(SkystillError):
    """A loss became infinite or not a number. Its exit code of its own lets a series of runs mark it and go on."""

    code = 3


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that looks like it, or nothing."""
    return "".join(f" Did you mean {one}?" for one in get_close_matches(name, list(names), 1))
