"""How do rows and files reach the disk so that a kill at any moment leaves no half of them behind?

A row is appended as one line and fsync'd before anybody relies on it; a line without its newline was never
finished and is cut off when the ledger is opened again. A file is written under a temporary name, fsync'd and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from turbo_eval.records import canonical_json
from turbo_train.errors import UserError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the system's refusal to write (read-only, full, not a folder) into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            found=f"{path} cannot be written ({error.strerror or error})",
            expected="a folder on a disk with free space that you may write to",
            run_next="the same command with --out FOLDER, another folder",
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in a folder durable, where the system has such a call (POSIX)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomically(path: Path, data: bytes) -> Path:
    """Writes a whole file or none of it: temporary name, fsync, rename, fsync of the folder. UserError on refusal."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return path


class Ledger:
    """An append-only JSON-lines file. `repaired_bytes`: the length of an unfinished last line that was cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired_bytes = 0

    def read(self) -> list[dict[str, Any]]:
        """All rows, oldest first; repairs the end. UserError names a line that is complete and yet not a row."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        kept = data[: data.rfind(b"\n") + 1]
        self.repaired_bytes = len(data) - len(kept)
        if self.repaired_bytes:
            with writing(self.path), self.path.open("r+b") as stream:
                stream.truncate(len(kept))
                os.fsync(stream.fileno())
        rows = []
        for number, line in enumerate(kept.splitlines(), start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise self.broken(number, "not a JSON object")
            rows.append(row)
        return rows

    def broken(self, number: int, reason: str) -> UserError:
        """The error for a line that this ledger cannot hold."""
        return UserError(
            found=f"{self.path} line {number}: {reason}",
            expected="a ledger as turbo-eval wrote it",
            run_next=f"delete line {number} of it (its work is then done again), or use another --out folder",
        )

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows in one write and returns when they are on the disk."""
        new = not self.path.exists()
        lines = "".join(canonical_json(row) + "\n" for row in rows)
        with writing(self.path):
            with self.path.open("ab") as stream:
                stream.write(lines.encode())
                stream.flush()
                os.fsync(stream.fileno())
            if new:
                sync_folder(self.path.parent)
