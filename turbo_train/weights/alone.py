"""How does one process keep the others out while it writes? By a lock on a file, where the system has such (flock(2)).

A lock ends with its process, so nothing has to be cleaned up after a kill.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TRIES = 10  # of opening a file whose folder another process removes


class Taken(Exception):
    """Another process holds the lock."""


@contextmanager
def alone(path: Path, busy: Callable[[], object] | None = None) -> Iterator[IO[bytes]]:
    """Inside, no other process is inside for the same file, which is open for appending.

    busy: called where another process is inside, before waiting for it; without it Taken is raised.
    OSError: the file cannot be opened.
    """
    with _opened(path) as file:
        _lock(file, busy)
        yield file


def _opened(path: Path) -> IO[bytes]:
    for _ in range(TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("ab")
    return path.open("ab")


def _lock(file: IO[bytes], busy: Callable[[], object] | None) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if busy is None:
            raise Taken(file.name) from error
        busy()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
