"""What can be mended in a ledger without deciding anything? Half lines are cut, broken ones moved aside.

RUN/ledger/broken.txt holds every line that was moved, with where it stood. A clip is never deleted, and a file of a
process that is at work never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from turbo_eval.durable import stale_temporaries, write_atomically, writing
from turbo_eval.manifest import read_manifest
from turbo_eval.runs.reading import SessionFiles
from turbo_eval.runs.scan import Fault, scan

BROKEN = "broken.txt"


def repair_run(folder: Path) -> list[str]:
    """Mends a run's folder and returns what was done. UserError: no run, or it cannot be written."""
    read_manifest(folder)
    alive = SessionFiles(folder).alive
    notes = []
    faults = [fault for fault in scan(folder, alive).faults]
    for path in sorted({fault.path for fault in faults}):
        own = [fault for fault in faults if fault.path == path]
        if own[0].living:
            notes.append(f"{path.name}: left alone, for its process is at work")
            continue
        broken = [fault for fault in own if not fault.torn]
        _keep(folder, broken)
        _drop(path, own)
        notes += [f"{fault}; moved to ledger/{BROKEN}" for fault in broken]
        notes += [f"{fault} of {len(fault.raw)} bytes; cut off" for fault in own if fault.torn]
    stale = stale_temporaries(folder, alive)
    for path in stale:
        with writing(path):
            path.unlink(missing_ok=True)
    if stale:
        notes.append(f"swept {len(stale)} unfinished files that an earlier process has left")
    return notes


def _keep(folder: Path, faults: Sequence[Fault]) -> None:
    """Adds lines to broken.txt; after a kill between this and `_drop`, none a second time."""
    path = folder / "ledger" / BROKEN
    before = path.read_bytes() if path.exists() else b""
    after = before
    for fault in faults:
        block = f"# {fault}\n".encode() + fault.raw + b"\n"
        if block not in after:
            after += block
    if after != before:
        write_atomically(path, after)


def _drop(path: Path, faults: Sequence[Fault]) -> None:
    dropped = {fault.number for fault in faults}
    lines = path.read_bytes().split(b"\n")
    kept = [line for number, line in enumerate(lines[:-1], start=1) if number not in dropped]
    write_atomically(path, b"".join(line + b"\n" for line in kept))
