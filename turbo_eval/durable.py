"""How does a file reach the disk so that a kill at any moment leaves no half of it behind?

    temporary name beside the place -> write -> fsync -> check -> rename -> fsync of the folder

A temporary file carries the name of the process that writes it, so that whoever opens the folder next can tell a
file in the making from one that a kill has left. A refusal by the system is a UserError, a full disk an OutOfSpace.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from turbo_train.errors import UserError

T = TypeVar("T")
LOCK = ".lock"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over the quota, over the limit of a file's size
_TEMPORARY = re.compile(r"\..+\.(?P<writer>[^.]+)\.tmp")
TRIES = 5  # of writing a small file that others sweep away


class OutOfSpace(UserError):
    """The disk is full, or nearly. Exit code 4: nothing is wrong with the command, and everything made is kept."""

    exit_code = 4


class Swept(RuntimeError):
    """A file in the making is gone: another process took this one for dead and cleaned up. Make it again."""


def writer() -> str:
    """The name of this process in file names: host, process id and chance; unique on a shared folder."""
    return _writer(os.getpid())


@lru_cache(maxsize=1)
def _writer(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{pid}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write (read-only, full, not a folder) into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace(
                found=f"no space left for {path} ({error.strerror})",
                expected="free space; everything finished before is kept",
                run_next="free some space, then the same command again",
            ) from error
        raise UserError(
            found=f"{path} cannot be written ({error.strerror or error})",
            expected="a folder on a disk with free space that you may write to",
            run_next="the same command with --out FOLDER, another folder",
        ) from error


def sync_file(path: Path) -> None:
    """Returns when the file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in a folder durable, where the system has such a call (POSIX)."""
    if os.name == "posix":
        sync_file(folder)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process is inside for the same folder, where the file system has locks.

    The lock is that of a file opened for writing, which network drives pass on to other machines (flock(2), NFS).
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = None
    try:
        with contextlib.suppress(OSError):  # a folder closed to us, or a file system without locks
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def temporary(path: Path) -> Path:
    """The name under which this process writes what will be `path`."""
    return path.with_name(f".{path.name}.{writer()}.tmp")


def publish(path: Path, write: Callable[[Path], None], check: Callable[[Path], tuple[str, T]]) -> tuple[Path, T]:
    """Writes a file whole or not at all. Returns its path and what `check` found.

    write(temporary): fills the file. check(temporary) -> (final name, found): reads it back; what it raises cancels.
    The folder is not synced: call `sync_folder` once for all files of it, before anything relies on them.
    Raises Swept when the temporary file goes away meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary(path)
    try:
        write(partial)
        try:
            sync_file(partial)
            name, found = check(partial)
            final = path.with_name(name)
            os.replace(partial, final)  # noqa: PTH105 - one call by its plain name: a test records the order
        except FileNotFoundError as error:
            raise Swept(f"{partial} is gone") from error
    finally:
        partial.unlink(missing_ok=True)
    return final, found


def write_atomically(path: Path, data: bytes) -> Path:
    """Writes a whole file or none of it: temporary name, fsync, rename, fsync of the folder. UserError on refusal.

    A process that has no session (leases.py) at the moment counts as dead: what is swept is written again.
    """
    with writing(path):
        for _ in range(TRIES):
            with contextlib.suppress(Swept):
                publish(path, lambda partial: _write(partial, data), lambda partial: (path.name, None))
                sync_folder(path.parent)
                return path
        raise OSError(errno.EAGAIN, "its temporary file was removed again and again")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stale_temporaries(folder: Path, alive: Callable[[str], bool]) -> list[Path]:
    """Temporary files below a folder whose writer is no longer at work. Symbolic links are not followed."""
    found = []
    for path in sorted(folder.rglob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["writer"] != writer() and not path.is_symlink() and not alive(match["writer"]):
            found.append(path)
    return found


def check_contained(folder: Path, path: Path) -> Path:
    """`path` itself, if it lies in `folder` also when every symbolic link on the way is followed; else UserError."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            found=f"{path} leads outside of {folder} (to {path.resolve()})",
            expected="a run folder that holds its own files, without symbolic links to elsewhere",
            run_next="replace the link by what it points to, or use another --out folder",
        )
    return path
