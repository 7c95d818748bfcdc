"""What is said when a file cannot be fetched, and what can be done about it?"""

from __future__ import annotations

import errno
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.table import WeightFile, readable


def by_hand(file: WeightFile) -> str:
    """How the file gets here without this machine's network."""
    packed = f", {file.member} in it" if file.member else ""
    return f"copy it by hand: {file.address}{packed} to ${ROOT}/{path_below_root(file)}"


def unreachable(file: WeightFile, reason: object) -> UserError:
    """No network, a proxy in between, an offline mode, a connection that broke and does not come back."""
    return UserError(
        found=f"{file.name} cannot be fetched ({_first_line(reason)})",
        expected=f"a connection to {file.address.split('/')[2]}",
        run_next="the same command again (it goes on where it stopped), or on a machine without a network "
        f"`turbo-eval weights list --missing --json` and {by_hand(file)}",
    )


def closed(file: WeightFile, reason: object) -> UserError:
    """401 or 403."""
    return UserError(
        found=f"{file.name} is not handed out ({_first_line(reason)})",
        expected=f"access to {file.page}",
        run_next=f"accept its licence on {file.page} and set HF_TOKEN"
        if file.repository
        else f"open {file.page} in a browser, then {by_hand(file)}",
    )


def gone(file: WeightFile, reason: object) -> UserError:
    """404: moved, renamed or withdrawn."""
    return UserError(
        found=f"{file.name} is not at {file.source} ({_first_line(reason)})",
        expected="the published file",
        run_next=f"look at {file.page}; a copy from elsewhere goes to ${ROOT}/{path_below_root(file)}",
    )


def differs(file: WeightFile, why: str) -> UserError:
    """What came is not the file of weights.lock, or not the one that was recorded."""
    return UserError(
        found=f"{file.source} is not {file.name}: {why}; it was removed",
        expected=f"the file that {'was published' if file.sha256 else 'was first seen'}",
        run_next="the same command again; if it comes again, somebody has replaced the file: ask before you use it",
    )


def not_in_archive(file: WeightFile, reason: object) -> UserError:
    """An archive that is none, or that lacks the member."""
    return UserError(
        found=f"no {file.member} in {file.address} ({_first_line(reason)}); it was removed",
        expected="a zip archive with that file",
        run_next=f"the same command again, or {by_hand(file)}",
    )


def no_room(folder: Path, needed_bytes: float, free_bytes: float) -> UserError:
    """Asked before anything is fetched."""
    return UserError(
        found=f"{readable(free_bytes)} free on the disk of {folder}",
        expected=f"{readable(needed_bytes)} for the files that are missing",
        run_next=f"free some space, or set {ROOT} to a folder on a larger disk",
    )


def unwritable(file: WeightFile, folder: Path, error: OSError) -> UserError:
    """The disk filled up, or the folder is closed."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return UserError(
        found=f"{file.name} cannot be written to {folder} ({error.strerror or error})",
        expected="room for it" if full else "a folder that can be written",
        run_next=f"free some space and run the same command again, or set {ROOT} to another folder",
    )


def _first_line(reason: object) -> str:
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(reason).__name__
