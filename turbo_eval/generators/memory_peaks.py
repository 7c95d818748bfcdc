"""How much memory does each stage of a call take at most? In a call of its own, which is not timed.

On a GPU: torch's allocator, its peaks reset at each mark (torch.cuda.reset_peak_memory_stats), the device waited for.
On Linux: the most pages of the process in memory at one time (VmHWM in /proc/self/status), which writing 5 to
/proc/self/clear_refs sets back to those of the moment (Linux, Documentation/filesystems/proc.rst). Elsewhere the most
since the process began (getrusage), for the whole call. Weights count in every stage, for they are there throughout.
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from turbo_eval.generators.latent import Mark
from turbo_eval.timing.record import WALL, Peak

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
SINCE_BEGUN = "memory: the most since the process began, not by stage; this system does not count anew"


@dataclass(frozen=True)
class Peaks:
    """by_stage: stage, or WALL where stages cannot be told apart -> its peak. note: what a reader must know, or ""."""

    by_stage: Mapping[str, Peak]
    note: str = ""


def memory_peaks(work: Callable[[Mark], object], device: torch.device) -> Peaks:
    """Of one piece of work, which tells when its stages begin (TimedCall.work)."""
    if device.type == "cuda":
        return Peaks(_by_stage(work, lambda: _restart_device(device), lambda: _device_peak(device)))
    if not _restart_process():
        work(lambda stage: None)
        return Peaks({WALL: Peak(rss_bytes=_since_begun())}, SINCE_BEGUN)
    return Peaks(_by_stage(work, _restart_process, lambda: Peak(rss_bytes=_process_peak())))


def _by_stage(
    work: Callable[[Mark], object], restart: Callable[[], object], read: Callable[[], Peak]
) -> dict[str, Peak]:
    peaks: dict[str, Peak] = {}
    current: str | None = None

    def mark(stage: str | None) -> None:
        nonlocal current
        if current is not None:
            peak = read()
            peaks[current] = _larger(peaks.get(current, peak), peak)
        restart()
        current = stage

    work(mark)
    mark(None)
    return peaks


def _larger(one: Peak, other: Peak) -> Peak:
    return max(one, other, key=lambda peak: (peak.reserved_bytes or 0, peak.allocated_bytes or 0, peak.rss_bytes or 0))


def _restart_device(device: torch.device) -> None:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)


def _device_peak(device: torch.device) -> Peak:
    torch.cuda.synchronize(device)
    return Peak(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device))


def _restart_process() -> bool:
    """Whether the system counts anew from now on."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _process_peak() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _since_begun() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others kB
