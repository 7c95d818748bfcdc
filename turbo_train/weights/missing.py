"""Are the files there that somebody wants to use? Asked before any work; what is missing is said all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.places import ROOT, locate
from turbo_train.weights.table import WeightFile, alternatives_of, files_for, size_of, users
from turbo_train.weights.whole import locate_whole, why_damaged


def require(files: Sequence[WeightFile], purpose: str) -> dict[str, Path]:
    """Name -> path of every file. purpose: the user they are for, any words, or "".

    UserError: every file that is missing or plainly damaged with its size and licence, the sum, and the command that
    fetches them. Whether the others are the published ones is for pull and verify to say.
    """
    found = {file.name: path for file in files if (path := locate(file)) is not None}
    gaps = {file: "" for file in files if file.name not in found}
    gaps |= {file: why for file in files if file.name in found and (why := why_damaged(file, found[file.name]))}
    if gaps:
        raise _missing_error({file: gaps[file] for file in files if file in gaps}, found, purpose)
    return found


def _missing_error(gaps: Mapping[WeightFile, str], found: Mapping[str, Path], purpose: str) -> UserError:
    """One message for all of them. gaps: what is wrong with each; "" where it is missing."""
    lines = [
        f"{file.name} ({file.size}, {file.terms}{'' if file.licence else f' {file.page}'})"
        + (f", damaged: {why}: {found[file.name]}" if why else "")
        for file, why in gaps.items()
    ]
    state = " or ".join([*(["missing"] * ("" in gaps.values())), *(["damaged"] * any(gaps.values()))])
    files = f"{len(gaps)} {state} file{'s' * (len(gaps) > 1)}"
    where = f"below {ROOT} or in the caches that `turbo-eval weights where` names"
    return UserError(
        found=f"{files}{purpose and f' for {purpose}'}: {', '.join(lines)}",
        expected=f"{size_of(gaps)} of published weights, {where}",
        run_next=f"turbo-eval weights pull {wanted(list(gaps), purpose)}",
    )


def wanted(absent: Sequence[WeightFile], purpose: str) -> str:
    """What to tell `weights pull`: `--for NAME` where that fetches just these files, else their names."""
    if purpose in users() and {file for file in files_for(purpose) if locate_whole(file) is None} == set(absent):
        return f"--for {purpose}"
    return " ".join(file.name for file in absent)


def files_wanted(user: str) -> tuple[WeightFile, ...]:
    """What a user would use here: of alternatives the first that is there whole, else the preferred one.

    UserError: no such user.
    """
    for alternative in alternatives_of(user):
        files = files_for(user, alternative)
        if all(locate_whole(file) is not None for file in files):
            return files
    return files_for(user)
