"""Files that appear whole or not at all, and files that one process at a time has to itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes from the same file there
    fcntl = None  # type: ignore[assignment]


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text as a whole file. Raises OSError."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to. It takes the place of `path` at the end, and is gone after a failure.

    Makes missing folders. Raises OSError as writing does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def lock(file: IO[bytes]) -> bool:
    """Takes an open file for this process and those that inherit it; False while others have it.

    It is free again when all of them have closed it or died. Where there are no locks, as on Windows and some network
    file systems, everyone gets it.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    return True


@contextmanager
def alone_at(path: Path) -> Iterator[bool]:
    """Whether nobody else makes the file `path`, which need not be there yet; others are told no until this ends.

    A lock on a file beside it says so, see `lock`; what a process that died leaves there hinders nobody. Ask whether
    `path` is there only inside: who was told no before may be told yes when it has been made.
    """
    beside = path.with_name(f".{path.name}.lock")
    try:
        file = None if fcntl is None else beside.open("ab")
    except OSError:  # who writes to `path` will say what is wrong
        file = None
    if file is None:
        yield True
        return
    with file:
        if not lock(file):
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                beside.unlink()
            with suppress(OSError):  # closing alone would leave it to who inherited it, such as a loader's workers
                fcntl.flock(file, fcntl.LOCK_UN)
