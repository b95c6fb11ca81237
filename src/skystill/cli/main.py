"""The command `skystill`: finds the verb, runs it, and turns errors that a user can mend into one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from skystill.contention import yield_cores
from skystill.errors import SkystillError, did_you_mean
from skystill.plugins import load_plugins

# verb -> (module:function, what it does). A function of RECIPE_VERBS takes the arguments as they are, since a recipe
# comes first; every other function's own parameters are its options.
VERBS = {
    "demo": ("skystill.cli.demo:demo", "the whole path on synthetic scenes: teacher, student alone, with LTD, report"),
    "data": ("", "synth, convert, inspect, split, tile: make and look at data sets"),
    "doctor": ("skystill.cli.doctor:doctor", "look a distillation over before it trains: green, yellow, red"),
    "train": ("skystill.cli.train:train", "train a detector alone: a teacher, or a student's baseline"),
    "distill": ("skystill.cli.train:distill", "train a student under a teacher"),
    "benchmark": ("skystill.cli.benchmark:benchmark", "methods x seeds on one recipe, compared fairly"),
    "evaluate": ("skystill.cli.evaluate:evaluate", "accuracy and cost of weights on a data set"),
    "compare": ("skystill.cli.compare:compare", "runs side by side"),
    "report": ("skystill.cli.compare:report", "one self-contained HTML page about some runs"),
    "export": ("skystill.cli.export:export", "weights to ONNX, refused unless its detections equal PyTorch's"),
    "predict": ("skystill.cli.predict:predict", "detections in pictures: drawn, and as json"),
}
DATA_VERBS = {
    "synth": ("skystill.cli.data:synth", "draw synthetic scenes with exact truth"),
    "convert": ("skystill.cli.data:convert", "rewrite annotations in another format"),
    "inspect": ("skystill.cli.data:inspect", "what is in a data set: counts, sizes, pictures"),
    "split": ("skystill.cli.data:split", "parts with the same mix of classes, flights kept together"),
    "tile": ("skystill.cli.data:tile", "large images cut into tiles, with their truth"),
}
RECIPE_VERBS = ("doctor", "train", "distill", "benchmark", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit code: 0, 2 for what the user can mend, 3 for a
    training that diverged, 130 after Ctrl-C, 143 after SIGTERM."""
    yield_cores()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        _run(arguments)
    except SkystillError as error:
        if debug:
            raise
        return _fail(str(error), error.code)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted.", getattr(stop, "code", 130))
    except BrokenPipeError:  # the reader (head, say) left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a folder that may not be written
        if debug or error.strerror is None:
            raise
        return _fail(f"{error.filename or 'input or output'}: {error.strerror}.")
    except SystemExit as stop:  # how parsers end after --help
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def _run(arguments: list[str]) -> None:
    if arguments[:1] in (["-V"], ["--version"]):
        from skystill import __version__

        print(f"skystill {__version__}")
        return
    prog, verbs = "skystill", VERBS
    if arguments[:1] == ["data"]:
        prog, verbs, arguments = "skystill data", DATA_VERBS, arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(prog, verbs))
        return
    verb, *rest = arguments
    if verb not in verbs:
        raise SkystillError(
            f"{prog} has no verb {verb!r}; the verbs are {', '.join(verbs)}.{did_you_mean(verb, verbs)}"
        )
    if not {"-h", "--help"} & set(rest):
        load_plugins()
    module, _, name = verbs[verb][0].partition(":")
    function = getattr(import_module(module), name)
    if verb in RECIPE_VERBS:
        function(rest)
        return
    from skystill.cli.parsing import call

    call(function, f"{prog} {verb}", rest)


def usage(prog: str, verbs: dict[str, tuple[str, str]]) -> str:
    """What `skystill --help` and `skystill data --help` print."""
    width = max(map(len, verbs))
    rows = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in verbs.items())
    return (
        "skystill: distil a heavy aerial-image detector into one light enough to fly.\n\n"
        f"usage: {prog} VERB ...\n\n{rows}\n\n"
        f"`{prog} VERB --help` explains a verb. `--debug` shows the traceback of an error."
    )


def _fail(message: str, code: int = 2) -> int:
    print(f"skystill: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
