"""skystill train, skystill distill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skystill.cli.quiet import quiet_libraries
from skystill.cli.recipes import parse_recipe, recipe_parser

_TRAIN = """Train the recipe's detector alone, on truth only. The teacher and method of a distillation recipe are passed
over, so this gives the baseline that `skystill distill` is held against.

  skystill train recipes/gfl_lite0_synthetic.yaml
  skystill train recipe.yaml --data.root DIR --trainer.epochs 24 --out runs/long"""

_DISTILL = """Train the recipe's detector under one or more frozen teachers.

  skystill distill recipe.yaml --teacher.weights teacher.safetensors
  skystill distill recipe.yaml --teacher.weights teacher.safetensors --resume"""


def train(arguments: Sequence[str]) -> None:
    """Parses and trains."""
    _fit("train", _TRAIN, arguments)


def distill(arguments: Sequence[str]) -> None:
    """Parses and distils."""
    _fit("distill", _DISTILL, arguments)


def _fit(verb: str, text: str, arguments: Sequence[str]) -> None:
    parser = recipe_parser(verb, text)
    parser.add_argument("--resume", action="store_true", help="Go on with the run that the folder holds.")
    if verb == "distill":
        parser.add_argument("--no_doctor", action="store_true", help="Begin without `skystill doctor`'s looks.")
    recipe, space = parse_recipe(parser, arguments)
    quiet_libraries()
    from pytorch_lightning.utilities import rank_zero_only

    from skystill.training import fit  # after parsing, so that --help is fast

    if verb == "distill" and not (space.no_doctor or space.resume):
        from skystill.cli.doctor import admit
        from skystill.training.folder import run_folder

        run_folder(recipe, recipe.method.name, resume=False)  # what costs nothing is asked before the doctor's minute
        admit(recipe)

    folder = (fit.train if verb == "train" else fit.distill)(recipe, resume=bool(space.resume))
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        show_run(folder)


def show_run(folder: Path) -> None:
    """Prints what a run gave and where it lies."""
    from rich.console import Console

    from skystill.evaluation.compare import compare_table
    from skystill.evaluation.runs import read_runs

    console, runs = Console(), read_runs([folder])
    scored = next((split for split in ("test", "val") if split in runs[0].metrics), None)
    if scored is not None:
        console.print(compare_table(runs, scored))
    console.print(
        f"run folder: {folder}\nweights:    {folder / 'student.safetensors'}", highlight=False, soft_wrap=True
    )
