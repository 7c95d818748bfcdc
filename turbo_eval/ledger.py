"""How do many processes write down what is done, without a lock and without ever harming a line?

    RUN/ledger/<process>.jsonl

Each process appends to a file of its own: one write and one fsync for the rows of a micro-batch, before anybody
relies on them. A line without its newline was never finished; it is cut off once its writer is gone. Reading takes
all files together, and each line once: `read_new` goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import check_contained, sync_folder, writer, writing
from turbo_eval.records import canonical_json
from turbo_train.errors import UserError


@dataclass(frozen=True)
class Line:
    """One row and where it stands."""

    path: Path
    number: int
    data: Mapping[str, Any]

    def broken(self, reason: str) -> UserError:
        """The error for a row that this ledger cannot hold."""
        return broken(self.path, self.number, reason)


def broken(path: Path, number: int, reason: str) -> UserError:
    """The error for a line that is complete and yet not a row."""
    return UserError(
        found=f"{path} line {number}: {reason}",
        expected="a ledger as turbo-eval wrote it",
        run_next=f"delete line {number} of it (its work is then done again), or use another --out folder",
    )


class Ledger:
    """The ledger of a run. `repaired`: (file, bytes) of unfinished last lines that were cut off."""

    def __init__(self, folder: Path, alive: Callable[[str], bool], *, repair: bool = True) -> None:
        self.folder = folder
        self.repaired: list[tuple[Path, int]] = []
        self._alive = alive
        self._repair = repair
        self._read: dict[Path, tuple[int, int]] = {}  # file -> (bytes, lines) read so far
        self._torn: dict[Path, int] = {}

    @property
    def own(self) -> Path:
        """The file that this process appends to."""
        return self.folder / f"{writer()}.jsonl"

    def read_new(self) -> Iterator[Line]:
        """Rows that were not read before, by file and line. UserError names a line that is not a row."""
        for path in sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else ():
            check_contained(self.folder.parent, path)
            if not path.is_file():  # a folder or a pipe is no ledger
                continue
            start, number = self._read.get(path, (0, 0))
            try:
                size = path.stat().st_size
                if size <= start or self._torn.get(path) == size:
                    continue
                with path.open("rb") as stream:
                    stream.seek(start)
                    data = stream.read()
            except FileNotFoundError:  # `runs gc` has just put its rows into another file
                continue
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                self._cut(path, start + whole, start + len(data))
            for raw in data[:whole].split(b"\n")[:-1]:
                number += 1
                yield Line(path, number, _row(path, number, raw))
            self._read[path] = (start + whole, number)

    def _cut(self, path: Path, whole: int, size: int) -> None:
        """Cuts off an unfinished last line, unless its writer is alive and may be about to finish it."""
        if path != self.own and self._alive(path.stem):
            return
        self._torn[path] = size
        if self._repair and path.stat().st_size == size:
            with writing(path), path.open("r+b") as stream:
                stream.truncate(whole)
                os.fsync(stream.fileno())
        self.repaired.append((path, size - whole))

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows in one write and returns when they are on the disk. On a full disk nothing of them stays."""
        data = "".join(canonical_json(row) + "\n" for row in rows).encode()
        with writing(self.own):
            new = not self.own.exists()
            if not self.folder.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            handle = os.open(self.own, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _append(handle, data)
            finally:
                os.close(handle)
            if new:
                sync_folder(self.folder)


def _append(handle: int, data: bytes) -> None:
    before = os.fstat(handle).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, before)
        raise


def _row(path: Path, number: int, raw: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(raw)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise broken(path, number, "not a JSON object")
    return row
