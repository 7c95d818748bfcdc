"""What is said when a file cannot be fetched, and what can be done about it?"""

from __future__ import annotations

import errno
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.recorded import record_of
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import WeightFile


def by_hand(file: WeightFile) -> str:
    """How the file gets here without this machine's network."""
    packed = f", {file.member} in it" if file.member else ""
    return f"copy it by hand: {file.address}{packed} to ${ROOT}/{path_below_root(file)}"


def unreachable(file: WeightFile, reason: object) -> UserError:
    """No network, a proxy in between, an offline mode, a connection that broke and does not come back."""
    return UserError(
        found=f"{file.name} cannot be fetched ({_first_line(reason)})",
        expected=f"a connection to {file.address.split('/')[2]}",
        run_next=f"the same command again (it goes on {_resumes(file)}), or on a machine without a network "
        f"`turbo-eval weights list --missing --json` and {by_hand(file)}",
    )


def _resumes(file: WeightFile) -> str:
    """huggingface_hub keeps no part of a file once its process has ended (2.4.0)."""
    return "with this file" if file.repository else "where it stopped"


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
    """What came is not the file of weights.lock, not the one that was recorded, or plainly none."""
    expected, otherwise = "the published file", f"open {file.page} in a browser and {by_hand(file)}"
    if file.sha256:
        expected = "the file that was published"
        otherwise = "if it comes again, somebody has replaced the file: ask before you use it"
    elif record_of(file):
        expected = "the file that was first seen"
        otherwise = f"if the publisher has replaced it, {forget(file)}"
    return UserError(
        found=f"{file.source} is not {file.name}: {why}; it was removed",
        expected=expected,
        run_next=f"the same command again; {otherwise}",
    )


def forget(file: WeightFile) -> str:
    """How another file is accepted in the place of a recorded one; "" where none is recorded."""
    records = record_of(file)
    return f"remove the line of {file.source} from {records}" if records else ""


def not_in_archive(file: WeightFile, reason: object) -> UserError:
    """An archive that is none, is damaged, or lacks the member."""
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
        run_next=f"{'free some space and run the same command again, or ' if full else ''}set {ROOT} to another folder",
    )


def _first_line(reason: object) -> str:
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(reason).__name__
