"""Is there room for the clips that are still to be made? Asked before the start and before every micro-batch.

A run that would not fit does not begin; one whose disk fills up meanwhile stops with everything kept, before the
system refuses a write in the middle of a file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.durable import OutOfSpace
from turbo_train.weights.sizes import readable

MARGIN = 1.2  # how much more than the estimate must be free before the start
RESERVE_BYTES = 2 * 2**30  # left free for everybody else; on a small disk RESERVE_SHARE of it
RESERVE_SHARE = 0.02


@dataclass(frozen=True)
class Room:
    """What a disk has free, and how much of that is left for everybody else."""

    free_bytes: int
    reserve_bytes: float

    def fits(self, needed_bytes: float, margin: float = 1.0) -> bool:
        """Whether `needed_bytes` times `margin` can be written without touching the reserve."""
        return self.free_bytes >= needed_bytes * margin + self.reserve_bytes


def room_of(folder: Path) -> Room:
    """The room on the disk of a folder, which need not be there yet."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    usage = shutil.disk_usage(there)
    return Room(usage.free, min(RESERVE_BYTES, RESERVE_SHARE * usage.total))


def check_room(folder: Path, needed_bytes: float, what: str, margin: float = 1.0) -> None:
    """OutOfSpace when the folder's disk has no room for `needed_bytes` times `margin`."""
    room = room_of(folder)
    if not room.fits(needed_bytes, margin):
        raise OutOfSpace(
            found=f"{readable(room.free_bytes)} free on the disk of {folder}",
            expected=f"{readable(needed_bytes * margin)} for {what} and {readable(room.reserve_bytes)} to spare",
            run_next="free some space and run the same command again (what is done is kept), or use another --out",
        )
