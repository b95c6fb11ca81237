"""skystill doctor, and the same looks before `skystill distill`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skystill.cli.quiet import quiet_libraries
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from skystill.doctor import Finding
    from skystill.training.recipe import Recipe

_TEXT = """Look a distillation over before hours of training: do weights load, do classes, boxes, levels, bands agree,
does the teacher see these images well (and would it see them better in another form), which methods fit, what do a
step, an epoch, memory and cache take. Nothing is trained and nothing is written. `skystill distill` does it first.

  skystill doctor recipe.yaml --data.root DIR --teacher.weights teacher.safetensors

green: fine. yellow: it runs, but look at this. red: it would fail or be in vain; the exit code is then 2."""

_MARKS = {"green": "✓", "yellow": "!", "red": "✗"}


def doctor(arguments: Sequence[str]) -> None:
    """Parses, examines, prints every finding. Errors: ConfigError when one is red."""
    recipe, _ = parse_recipe(recipe_parser("doctor", _TEXT), arguments)
    quiet_libraries()
    from rich.console import Console

    from skystill.doctor import examine

    console = Console()
    states: Counter[str] = Counter()
    for finding in examine(recipe):
        _show(console, finding)
        states[finding.state] += 1
    if states["red"]:
        raise ConfigError(f"{states['red']} of {sum(states.values())} looks are red. Mend that before you train.")
    count = f", {states['yellow']} to look at" if states["yellow"] else ""
    console.print(f"{sum(states.values())} looks, nothing in the way{count}.", highlight=False)


def admit(recipe: Recipe) -> None:
    """Before a training: prints what is yellow. Errors: ConfigError that says what is red.

    Of several processes only the first looks.
    """
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    from rich.console import Console

    from skystill.doctor import examine

    console, count = Console(), 0
    console.print("doctor: looking the pair over, in less than a minute (--no_doctor leaves it out)", highlight=False)
    for finding in examine(recipe):
        if finding.state == "red":
            raise finding.error or ConfigError(finding.says)
        if finding.state == "yellow":
            _show(console, finding)
        count += 1
    console.print(f"doctor: {count} looks, nothing in the way", highlight=False)


def _show(console: Console, finding: Finding) -> None:
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=9)
    line.add_column(overflow="fold")
    line.add_row(
        Text(_MARKS[finding.state], style=finding.state), Text(finding.check, style="bold"), Text(finding.says)
    )
    console.print(line)
