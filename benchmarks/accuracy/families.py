"""Gains across detector families on HIT-UAV: each pair's teacher where the repository has none, then its students by
`skystill benchmark`.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/families.py --root path/to/hit_uav
    python benchmarks/accuracy/families.py --root path/to/hit_uav --only gfl_to_fcos --methods ltd_plus ltd pkd

What is finished is kept, so the same command goes on after a stop. The table of each pair is copied to
benchmarks/accuracy/results/families when all its seeds are there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skystill.cli.recipes import parse_recipe, recipe_parser

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "families"
LAST = Path("checkpoints") / "last.ckpt"


@dataclass(frozen=True)
class Pair:
    """student: recipe of the students. teachers: recipes to be run before, in turn. minutes: of one student on a quiet
    core. tiles: side of the tiles on which it is scored, 0 for whole images."""

    student: str
    teachers: tuple[str, ...]
    minutes: int
    tiles: int = 0


YOLO = "gfl_lite2_to_ul_yolo11s_ltd_hit_uav"
PAIRS = {
    "gfl_to_fcos": Pair("gfl_lite2_to_tv_fcos_mnv3s_ltd_hit_uav", (), 8),
    "gfl_to_yolo": Pair("gfl_lite2_to_ul_yolo11n_ltd_hit_uav", (), 8),
    "fasterrcnn_to_gfl": Pair("tv_fasterrcnn_lite2_to_gfl_mnv3s_ltd_hit_uav", ("tv_fasterrcnn_lite2_hit_uav",), 8),
    "yolo_to_yolo": Pair("ul_yolo11s_to_ul_yolo11n_ltd_hit_uav", (YOLO,), 8),
    "gfl_to_rtdetr": Pair("gfl_lite2_to_hf_rtdetrv2_lite0_ltd_hit_uav", (), 20, 256),
}


def skystill(*words: str) -> None:
    print("skystill", *words, flush=True)
    subprocess.run([sys.executable, "-m", "skystill", *words], check=True)


def teach(name: str, root: str) -> None:
    """Trains a teacher, alone or by its own teacher; a run that was cut off goes on."""
    path = str(ROOT / "recipes" / f"{name}.yaml")
    recipe, _ = parse_recipe(recipe_parser("distill", ""), [path])
    verb, method = ("distill", recipe.method.name) if recipe.teacher.weights else ("train", "alone")
    folder = Path(f"runs/{recipe.name}-{method}-seed{recipe.seed}")
    if not (folder / "metrics.json").exists():
        resume = ["--resume"] if (folder / LAST).exists() else []
        skystill(verb, path, "--data.root", root, *resume)


def tiled(root: str, side: int) -> str:
    """HIT-UAV with val and test in tiles, for detectors that see well at the size of their training crops alone."""
    folder = Path("runs") / "families" / f"hit_uav_{side}"
    for verb, split, words in (("convert", "train", "coco"), ("tile", "val", str(side)), ("tile", "test", str(side))):
        if not (folder / f"{split}.json").exists():
            source = (f"{root}/{split}.json", str(folder), words)
            skystill("data", verb, *source, "--images", f"{root}/images/{split}", "--subset", split)
    return str(folder)


def compare(name: str, pair: Pair, root: str, methods: Sequence[str], seeds: Sequence[str]) -> None:
    """The students of a pair, and its table."""
    out = Path("runs") / "families" / name
    path = str(ROOT / "recipes" / f"{pair.student}.yaml")
    skystill(*("benchmark", path, "--data.root", root, "--methods", *methods, "--seeds", *seeds, "--out", str(out)))
    RESULTS.mkdir(exist_ok=True)
    for suffix in (".json", ".md"):
        said = (out / f"benchmark{suffix}").read_text().replace(f"{ROOT}/", "")
        said = said if root.startswith("runs") else said.replace(root, "path/to/hit_uav")
        (RESULTS / f"{name}{suffix}").write_text(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of HIT-UAV")
    parser.add_argument("--only", nargs="+", choices=tuple(PAIRS), default=list(PAIRS), help="pairs")
    parser.add_argument("--methods", nargs="+", default=["ltd_plus"], help="beside the student alone")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    options = parser.parse_args()
    for name in options.only:
        pair = PAIRS[name]
        for teacher in pair.teachers:
            teach(teacher, options.root)
        root = tiled(options.root, pair.tiles) if pair.tiles else options.root
        runs = len(options.seeds) * (1 + len(options.methods))
        print(f"{name}: {runs} students of about {pair.minutes} minutes", flush=True)
        compare(name, pair, root, options.methods, options.seeds)


if __name__ == "__main__":
    main()
