"""What stands in a ledger, when some of its lines may be broken? Every row, and every line that is none.

The store refuses a ledger with a line that it cannot read, for a number must not rest on half of the truth. What
looks at a run or repairs it reads all the other lines too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import check_contained
from turbo_eval.records import SHA256, ClipRecord, ScoreRecord, take
from turbo_eval.store import Failure
from turbo_train.errors import UserError

Record = ClipRecord | ScoreRecord | Failure | None  # None: a row of relief


@dataclass(frozen=True)
class Row:
    """A line that is a row. at: when it was written, in s UTC, by its writer's clock."""

    path: Path
    number: int
    data: Mapping[str, Any]
    record: Record

    @property
    def at(self) -> float:
        """0 when the row does not say."""
        at = self.data.get("at")
        return float(at) if isinstance(at, int | float) else 0.0


@dataclass(frozen=True)
class Fault:
    """A line that is no row. torn: the unfinished last line of a writer that is gone. living: its writer is at work."""

    path: Path
    number: int
    reason: str
    raw: bytes
    torn: bool
    living: bool

    def __str__(self) -> str:
        """For people."""
        return f"{self.path.name} line {self.number}: {self.reason}"


@dataclass(frozen=True)
class Scan:
    """A ledger, by file and line."""

    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]

    @property
    def broken(self) -> list[Fault]:
        """Lines that are complete and yet no rows: the store does not open a run with one."""
        return [fault for fault in self.faults if not fault.torn]

    def clips(self) -> Iterator[tuple[Row, ClipRecord]]:
        """The rows that are clips."""
        return ((row, row.record) for row in self.rows if isinstance(row.record, ClipRecord))

    def scores(self) -> Iterator[tuple[Row, ScoreRecord, str]]:
        """The rows that are scores, each with the sha256 of the clip that was scored."""
        return ((r, r.record, str(r.data["clip_sha256"])) for r in self.rows if isinstance(r.record, ScoreRecord))


def ledgers(folder: Path) -> list[Path]:
    """The files of a run's ledger, in the order in which the store reads them. A pipe or a folder is none."""
    found = sorted((folder / "ledger").glob("*.jsonl")) if (folder / "ledger").is_dir() else []
    return [path for path in found if check_contained(folder, path).is_file()]


def scan(folder: Path, alive: Callable[[str], bool]) -> Scan:
    """The ledger of a run's folder. UserError when a file cannot be read, or leads out of the folder."""
    rows: list[Row] = []
    faults: list[Fault] = []
    for path in ledgers(folder):
        *lines, rest = _read(path).split(b"\n")
        living = alive(path.stem)
        for number, raw in enumerate(lines, start=1):
            try:
                data, record = parse(raw)
            except ValueError as error:
                faults.append(Fault(path, number, str(error), raw, torn=False, living=living))
            else:
                rows.append(Row(path, number, data, record))
        if rest and not living:
            faults.append(Fault(path, len(lines) + 1, "an unfinished line", rest, torn=True, living=False))
    return Scan(tuple(rows), tuple(faults))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # compacted meanwhile: its rows are in another file
        return b""
    except OSError as error:
        raise UserError(
            found=f"{path} cannot be read ({error.strerror or error})",
            expected="a run folder that you may read",
            run_next="ask for the right to read it",
        ) from error


def parse(raw: bytes) -> tuple[Mapping[str, Any], Record]:
    """A row and its record. ValueError says why the line is none."""
    try:
        data = json.loads(raw)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data, _record(data)


def _record(data: Mapping[str, Any]) -> Record:
    kind = take(data, "kind", str)
    if kind == "clip":
        return ClipRecord.from_json(data)
    if kind == "score":
        if not SHA256.fullmatch(take(data, "clip_sha256", str)):
            raise ValueError("field 'clip_sha256' is no sha256")
        return ScoreRecord.from_json(data)
    if kind == "failed":
        return _failure(data)
    if kind == "relief":
        for name in ("model", "unit", "what"):
            take(data, name, str)
        return None
    raise ValueError(f"a row of unknown kind {kind[:80]!r}")


def _failure(data: Mapping[str, Any]) -> Failure:
    key, stage, error, trace = (take(data, name, str) for name in ("key", "stage", "error", "traceback"))
    clip_id = (take(data, "model", str), take(data, "prompt_id", str), take(data, "sample_index", int))
    metrics: list[Any] = take(data, "metrics", list)
    if not all(isinstance(metric, str) for metric in metrics):
        raise ValueError("field 'metrics' holds more than names")
    attempts, at = take(data, "attempts", int), take(data, "at", float)
    return Failure(clip_id, key, stage, tuple(metrics), error, trace, attempts, at)
