"""Are the files there that somebody wants to use? Asked before any work; what is missing is said all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.places import ROOT, locate
from turbo_train.weights.table import WeightFile, alternatives_of, files_for, readable, users


def require(files: Sequence[WeightFile], purpose: str) -> dict[str, Path]:
    """Name -> path of every file. purpose: the user they are for, any words, or "".

    UserError: every file that is missing with its size and licence, the sum, and the command that fetches them.
    What the files hold is not looked at: pull and verify do that.
    """
    found = {file.name: locate(file) for file in files}
    absent = [file for file in files if found[file.name] is None]
    if absent:
        raise missing_error(absent, purpose)
    return {name: path for name, path in found.items() if path is not None}


def missing_error(absent: Sequence[WeightFile], purpose: str) -> UserError:
    """One message for all of them."""
    lines = [f"{file.name} ({file.size}, {file.terms}{'' if file.licence else f' {file.page}'})" for file in absent]
    exact = all(file.size_bytes is not None for file in absent)
    total = f"{'' if exact else 'about '}{readable(sum(file.bytes for file in absent))}"
    return UserError(
        found=f"{len(absent)} missing file{'s' * (len(absent) > 1)}{purpose and f' for {purpose}'}: {', '.join(lines)}",
        expected=f"{total} of published weights, below {ROOT} or in the caches that `turbo-eval weights where` names",
        run_next=f"turbo-eval weights pull {wanted(absent, purpose)}",
    )


def wanted(absent: Sequence[WeightFile], purpose: str) -> str:
    """What to tell `weights pull`: `--for NAME` where that fetches all of them, else their names."""
    if purpose in users() and set(absent) <= set(files_for(purpose)):
        return f"--for {purpose}"
    return " ".join(file.name for file in absent)


def files_wanted(user: str) -> tuple[WeightFile, ...]:
    """What a user would use here: of alternatives the first that is there whole, else the preferred one.

    UserError: no such user.
    """
    for alternative in alternatives_of(user):
        files = files_for(user, alternative)
        if all(locate(file) is not None for file in files):
            return files
    return files_for(user)
