"""What does a program say when the user, and not the code, has to change something?

A UserError names three things: what was found, what was expected, what to run next. The command lines print
`str(error)` without a traceback and leave with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import partial


def near(name: str, names: Iterable[str]) -> str:
    """' (did you mean X?)' for a name that is close to one of the names, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


class UserError(Exception):
    """A mistake that the user can mend: bad usage, or a prerequisite that is missing. Exit code 2.

    found, expected, run_next: clauses without a full stop; an empty one is left out of the message.
    """

    exit_code = 2

    def __init__(self, *, found: str, expected: str = "", run_next: str = "") -> None:
        parts = (("found", found), ("expected", expected), ("try:", run_next))
        super().__init__("; ".join(f"{label} {text}" for label, text in parts if text))
        self.found, self.expected, self.run_next = found, expected, run_next

    def __reduce__(self) -> tuple[Callable[[], UserError], tuple[()]]:
        # An exception with keyword arguments does not come back from a worker process by itself.
        return partial(type(self), found=self.found, expected=self.expected, run_next=self.run_next), ()


def together(errors: Sequence[UserError]) -> UserError:
    """One error that says all of them; a clause that they share is said once."""
    parts = ([getattr(error, part) for error in errors] for part in ("found", "expected", "run_next"))
    found, expected, run_next = ("; and ".join(dict.fromkeys(filter(None, texts))) for texts in parts)
    return UserError(found=found, expected=expected, run_next=run_next)


class Incomplete(UserError):
    """What is there is right, but not enough to answer: clips are missing, or too few. Exit code 3."""

    exit_code = 3
