"""What is a user told who runs a command that works in one folder, and so has no --out?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from turbo_train.errors import UserError

OPTION = "--out"


@contextmanager
def in_place() -> Iterator[None]:
    """Inside, a UserError that advises another --out folder advises what can be done about this one."""
    try:
        yield
    except UserError as error:
        if OPTION not in error.run_next:
            raise
        if isinstance(error.__cause__, OSError):
            advice = "free some space there or get the right to write, then the same command again"
        else:
            advice = error.run_next.partition(", or use another")[0]
            advice = "restore it from a copy of the run" if OPTION in advice else advice
        raise type(error)(found=error.found, expected=error.expected, run_next=advice) from error
