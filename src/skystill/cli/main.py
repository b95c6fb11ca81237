"""The command `skystill`: finds the verb, runs it, and turns errors that a user can mend into one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from skystill.errors import SkystillError

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("skystill.cli.demo:demo", "the whole path on synthetic scenes: teacher, student alone, student with LTD, report"),
    "data": ("skystill.cli.data_verbs:data", "synth, convert, inspect, split: make and look at data sets"),
    "train": ("skystill.cli.train:train", "train a detector alone: a teacher, or a student's baseline"),
    "distill": ("skystill.cli.train:distill", "train a student under a teacher"),
    "evaluate": ("skystill.cli.evaluate:evaluate", "accuracy and cost of weights on a data set"),
    "compare": ("skystill.cli.evaluate:compare", "runs side by side"),
    "report": ("skystill.cli.evaluate:report", "one self-contained HTML page about some runs"),
    "export": ("skystill.cli.deploy:export", "weights to ONNX, refused unless its detections equal PyTorch's"),
    "predict": ("skystill.cli.deploy:predict", "detections in pictures: drawn, and as json"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit code: 0, 2 for an error that the user can mend, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from skystill import __version__

        print(f"skystill {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        return _fail(f"{verb!r} is no verb; the verbs are {', '.join(VERBS)}.")
    module, _, function = VERBS[verb][0].partition(":")
    try:
        getattr(import_module(module), function)(rest)
    except SkystillError as error:
        if debug:
            raise
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted; a run goes on with --resume.", 130)
    except BrokenPipeError:  # the reader (head, say) left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def usage() -> str:
    """What `skystill --help` prints."""
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items())
    return (
        "skystill: distil a heavy aerial-image detector into one light enough to fly.\n\n"
        f"usage: skystill VERB ...\n\n{rows}\n\n"
        "`skystill VERB --help` explains a verb. `--debug` shows the traceback of an error."
    )


def _fail(message: str, code: int = 2) -> int:
    print(f"skystill: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
