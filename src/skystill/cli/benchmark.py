"""skystill benchmark."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skystill.cli.methods import find_variants
from skystill.cli.quiet import quiet_libraries
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError
from skystill.files import write_text
from skystill.training.recipe import MethodConfig, Recipe

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from rich.table import Table

    from skystill.evaluation.report import TableData

_SHOWN = ("method", "AP", "gain", "95% seeds", "gap closed", "AP50", "s/step")

_TEXT = """Compare distillation methods on one recipe: the student alone and every method, with every seed, on equal
images in equal order. What is finished is kept, so the same command goes on after a stop, and adds methods or seeds.

  skystill benchmark recipe.yaml --methods ltd pkd pkd+bckd --seeds 0 1 2 --out runs/bench
  skystill benchmark student.yaml --teacher_recipe teacher.yaml --data.root DIR --methods ltd ltd_released
  skystill benchmark student.yaml --variants ablation.yaml --seeds 0 1 2 --jobs 2

A file of variants maps a name to what a recipe's `method` may be: a name, a list of names, or
{name: ltd, settings: {binding: explicit}}. Writes benchmark.json, benchmark.md, report.html and figures to --out."""


def benchmark(arguments: Sequence[str]) -> None:
    """Parses, runs what is missing, shows and writes the comparison."""
    parser = make_benchmark_parser()
    recipe, space = parse_recipe(parser, arguments)
    out = Path(recipe.out or f"runs/{recipe.name or 'run'}-benchmark")
    if space.jobs < 1:
        raise ConfigError(f"--jobs is {space.jobs}. Give at least 1.")
    variants = find_variants(space.methods, space.variants)
    quiet_libraries()
    from skystill.benchmark.launch import missing, run_jobs
    from skystill.benchmark.plan import make_jobs
    from skystill.benchmark.results import gather, scored_split
    from skystill.data.split import flight_pattern

    weights = _teacher(recipe, space.teacher_recipe, out, train=not space.collect)
    recipe = replace(recipe, teacher=replace(recipe.teacher, weights=weights))
    recipe.check()
    scored_split(recipe)
    recipe.check_taught()
    if recipe.data.group is not None:
        flight_pattern(recipe.data.group)  # it is needed after hours
    jobs = make_jobs(recipe, variants, space.seeds, out)
    left = missing(jobs, _say)
    if space.collect and len(left) == len(jobs):
        raise ConfigError(f"{out} holds none of the {len(jobs)} runs. Leave --collect away to train them.")
    if left and not space.collect:
        if not space.no_doctor:
            _look_over(recipe, variants)
        run_jobs(left, space.jobs, _say)
    _say("scoring")
    write(gather(jobs, shlex.join(["skystill", *sys.argv[1:]])), out)


def _look_over(recipe: Recipe, variants: dict[str, MethodConfig]) -> None:
    """The doctor's looks at the first method, and whether the others fit: an hour later would be late."""
    import torch

    from skystill.cli.doctor import admit
    from skystill.doctor import Patient, check_methods

    admit(replace(recipe, method=next(iter(variants.values()))))
    check_methods(Patient(recipe), variants)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the runs are processes of their own, on the same GPU


def make_benchmark_parser() -> ArgumentParser:
    """A recipe's options and the benchmark's own."""
    parser = recipe_parser("benchmark", _TEXT)
    parser.add_argument("--methods", type=str, nargs="+", default=[], help="Methods by name; + joins several.")
    parser.add_argument("--variants", type=str, default=None, help="YAML file of named methods with settings.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds; at least three prove a gain.")
    parser.add_argument("--teacher_recipe", type=str, default=None, help="Trains the teacher first, once.")
    parser.add_argument("--no_doctor", action="store_true", help="Skip the looks before the first training.")
    parser.add_argument("--collect", action="store_true", help="Train nothing: compare the runs that are there so far.")
    parser.add_argument("--jobs", type=int, default=1, help="Trainings at once; they share the cores or the GPUs.")
    return parser


def write(result: dict[str, Any], out: Path) -> None:
    """Prints the table and writes the files."""
    from rich.console import Console

    from skystill.benchmark.page import figures, write_page
    from skystill.benchmark.tables import main_table, markdown
    from skystill.evaluation.figures import figure_to_svg

    Console().print(_rich(main_table(result)))
    texts = {"benchmark.json": json.dumps(result, indent=1) + "\n", "benchmark.md": markdown(result)}
    texts |= {f"{name}.svg": figure_to_svg(figure) for name, figure in figures(result).items()}
    for name, text in texts.items():
        write_text(out / name, text)
    page = write_page(result, out / "report.html")
    print(f"wrote {out / 'benchmark.json'}, {out / 'benchmark.md'}, {page}")


def _teacher(recipe: Recipe, teacher_recipe: str | None, out: Path, train: bool) -> list[str]:
    """The teacher's weights: the recipe's, or those of --teacher_recipe, trained into `out` on the recipe's data."""
    if teacher_recipe is None:
        return recipe.teacher.weights
    from skystill.benchmark.launch import DIVERGED, run_jobs
    from skystill.benchmark.plan import ALONE, Job

    theirs, _ = parse_recipe(recipe_parser("train", ""), [teacher_recipe, "--data.root", recipe.data.root])
    folder = out / "teacher"
    if not train:
        return [str(folder / "student.safetensors")]
    run_jobs(
        [Job(ALONE, theirs.seed, folder, replace(theirs, out=str(folder)))], 1, lambda line: _say(f"teacher: {line}")
    )
    if (folder / DIVERGED).is_file():
        said = (folder / DIVERGED).read_text(encoding="utf-8").strip().removeprefix("skystill: ")
        raise ConfigError(f"the teacher of {teacher_recipe} diverged: {said} Then delete {folder}.")
    return [str(folder / "student.safetensors")]


def _say(line: str) -> None:
    print(line, flush=True)


def _rich(data: TableData) -> Table:
    """The columns of the main table that 80 characters hold; the files have them all."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=data.caption, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    shown = [data.columns.index(name) for name in _SHOWN]
    for name in _SHOWN:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name != "method")
    for number, row in enumerate(data.rows):
        table.add_row(*(escape(row[i]) for i in shown), style="bold" if number == data.mark else None)
    return table
