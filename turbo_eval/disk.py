"""Is there room for the clips that are still to be made? Asked before the start and before every micro-batch.

A run that would not fit does not begin; one whose disk fills up meanwhile stops with everything kept, before the
system refuses a write in the middle of a file.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from turbo_eval.durable import OutOfSpace

MARGIN = 1.2  # how much more than the estimate must be free before the start
RESERVE_BYTES = 2 * 2**30  # left free for everybody else; on a small disk RESERVE_SHARE of it
RESERVE_SHARE = 0.02


def readable(size_bytes: float) -> str:
    """`3.4 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def check_room(folder: Path, needed_bytes: float, what: str, margin: float = 1.0) -> None:
    """OutOfSpace when `needed_bytes` times `margin` and the reserve do not fit on the folder's disk."""
    usage = shutil.disk_usage(folder)
    reserve = min(RESERVE_BYTES, RESERVE_SHARE * usage.total)
    if usage.free < needed_bytes * margin + reserve:
        raise OutOfSpace(
            found=f"{readable(usage.free)} free on the disk of {folder}",
            expected=f"{readable(needed_bytes * margin)} for {what} and {readable(reserve)} to spare",
            run_next="free some space and run the same command again (what is done is kept), or use another --out",
        )
