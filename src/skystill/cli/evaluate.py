"""skystill evaluate: accuracy and cost of weights on a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skystill.cli.quiet import quiet_libraries
from skystill.cli.recipes import parse_recipe, recipe_parser
from skystill.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from skystill.evaluation.coco import CocoEvaluator, CocoScores
    from skystill.evaluation.errors import ErrorBreakdown
    from skystill.evaluation.operating import OperatingPoint

_TEXT = """Score weights (.safetensors or .onnx) on a split of the recipe's data: COCO's AP set and VOC's AP50, by class
and by size, what each kind of error costs, the score from which on detections are best kept, parameters, FLOPs, latency
and memory. The recipe may be a run's own recipe.yaml.

  skystill evaluate student.safetensors runs/ship/recipe.yaml --split test --save scores"""


def evaluate(arguments: Sequence[str]) -> None:
    """Parses, scores, prints; with --save also writes metrics.json, pr_curves.svg and confusion.svg."""
    parser = recipe_parser("evaluate", _TEXT, "WEIGHTS")
    parser.add_argument("--split", type=Literal["val", "test"], default="test", help="Which split to score.")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, or cuda (gpu is the same) for .safetensors.")
    parser.add_argument("--save", type=str, default=None, help="Folder for metrics.json and plots.")
    arguments = list(arguments)
    if "-h" in arguments or "--help" in arguments:
        parser.parse_args(["--help"])
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("evaluate takes weights first: skystill evaluate student.safetensors RECIPE --data.root DIR.")
    if any(argument.split("=")[0] == "--out" for argument in arguments):
        raise ConfigError("evaluate writes with --save, not --out. Give --save DIR.")
    recipe, space = parse_recipe(parser, arguments[1:])
    quiet_libraries()

    from skystill.data.module import DataModule
    from skystill.deployment.runtime import open_detector
    from skystill.detectors.base import Detector
    from skystill.evaluation.errors import evaluate_errors
    from skystill.evaluation.operating import best_f1
    from skystill.training.scoring import collect, typical_cost

    detector = open_detector(arguments[0], space.device)
    data = DataModule(recipe.data, recipe.seed)
    data.setup("validate" if space.split == "val" else "test")
    seen = collect(detector, data, space.split, recipe.trainer.max_dets)
    scores = seen.compute()
    errors = evaluate_errors(seen.detections, seen.targets, seen.classes, seen.max_dets)
    metrics = {"weights": arguments[0], "split": space.split, **scores.as_dict(), "voc": _voc(seen)}
    point = best_f1(seen.detections, seen.targets, seen.classes, seen.max_dets)
    metrics |= {"errors": errors.as_dict(), "best_f1": point and point.as_dict()}
    if isinstance(detector, Detector):
        metrics["cost"] = typical_cost(detector, data).as_dict()
    _show(metrics, scores, errors, point)
    if space.save:
        _save(metrics, seen, scores, point, Path(space.save))


def _voc(seen: CocoEvaluator) -> dict[str, float | None]:
    from skystill.evaluation.voc import evaluate_voc

    scores = evaluate_voc(seen.detections, seen.targets, seen.classes).as_dict()
    return {"ap50_voc07": scores["map07"], "ap50_voc12": scores["map12"]}


def _show(metrics: dict[str, Any], scores: CocoScores, errors: ErrorBreakdown, point: OperatingPoint | None) -> None:
    from rich.console import Console

    from skystill.contention import WHY, is_busy

    console = Console()
    # A line of its own, since a title would break the path where the table ends.
    console.print(f"{metrics['weights']} on {metrics['split']}", highlight=False, markup=False, soft_wrap=True)
    console.print(_overall(metrics, scores))
    console.print(_by_class(scores))
    console.print(_by_error(errors))
    missed = (f"{errors.missed[size]} of {count} {size}" for size, count in errors.objects.items())
    console.print(f"missed objects: {', '.join(missed)}", highlight=False)
    if point is not None:
        console.print(
            f"best F1 {point.f1:.2f} at score {point.score:.2f}: {point.precision:.0%} of what is kept is right, "
            f"{point.recall:.0%} of the objects are found (IoU .5)",
            highlight=False,
        )
    if "cost" in metrics:
        c = metrics["cost"]
        console.print(
            f"{c['parameters'] / 1e6:.2f} M parameters, {c['gflops']:.2f} GFLOPs at {c['width']}x{c['height']}, "
            f"p50 {c['total']['p50']:.1f} ms (model {c['model']['p50']:.1f}), p95 {c['total']['p95']:.1f} ms, "
            f"{c['memory_mib'] or float('nan'):.0f} MiB on {c['device']}",
            highlight=False,
        )
        if is_busy(c["waited"]):
            console.print(f"These times were {WHY}.", highlight=False)


def _overall(metrics: dict[str, Any], scores: CocoScores) -> Table:
    from rich.table import Table

    table = Table()
    figures = {**scores.summary(), **metrics["voc"]}
    for name in figures:
        table.add_column(name.replace("_", " ").upper(), justify="right")
    table.add_row(*("-" if v is None or v != v else f"{v:.1f}" for v in figures.values()))
    return table


def _by_class(scores: CocoScores) -> Table:
    from rich.table import Table

    table = Table()
    for name in ("class", "objects", "AP", "AP50", "AP75"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, row in scores.per_class.items():
        values = ("-" if row[k] != row[k] else f"{row[k]:.1f}" for k in ("ap", "ap50", "ap75"))
        table.add_row(name, f"{row['objects']:.0f}", *values)
    return table


def _by_error(errors: ErrorBreakdown) -> Table:
    from rich.table import Table

    table = Table()
    for name in ("error", "AP50 lost", "count"):
        table.add_column(name, justify="left" if name == "error" else "right")
    for kind, gain in errors.dap50.items():
        table.add_row(kind, "-" if gain != gain else f"{gain:.1f}", str(errors.counts[kind]))
    return table


def _save(
    metrics: dict[str, Any], seen: CocoEvaluator, scores: CocoScores, point: OperatingPoint | None, folder: Path
) -> None:
    from skystill.evaluation.confusion import confusion_matrix
    from skystill.evaluation.figures import figure_to_svg
    from skystill.evaluation.plots import confusion, pr_curves
    from skystill.files import write_text

    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    write_text(folder / "pr_curves.svg", figure_to_svg(pr_curves(scores)))
    kept = {} if point is None else {"score": point.score}
    matrix = confusion_matrix(seen.detections, seen.targets, seen.classes, **kept)
    write_text(folder / "confusion.svg", figure_to_svg(confusion(matrix, seen.classes)))
    print(f"wrote {folder / 'metrics.json'}, pr_curves.svg, confusion.svg")
