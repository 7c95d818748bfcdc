"""Who else used the CPU cores that this process may use, and did they get too hot?

    others' share = (busy time of the cores - CPU time of our process tree) / (elapsed time x cores)

Steal is time in which a hypervisor gave a core to another machine. Busy time is the system's own account, in ticks of
10 ms on Linux: the longer the watch, the finer. Throttling: Linux' counters of throttle events, by core and package.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

BUSY = ("user", "nice", "system", "irq", "softirq")  # guests' time is within user's
THROTTLES = ("core_throttle_count", "package_throttle_count")
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds until one moment, summed over the cores. own_s: of the process tree."""

    at_s: float
    busy_s: float
    steal_s: float
    own_s: float
    throttles: int | None


@dataclass(frozen=True)
class CpuSeen:
    """Between two moments. others_share, steal_share: of the cores' time; throttles: events, None where not counted."""

    others_share: float
    steal_share: float
    throttles: int | None


def usable_cores() -> tuple[int, ...]:
    """Numbers of the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpu_times(root: int) -> CpuTimes:
    """Now. root: process id on top of the tree that counts as our own."""
    times = psutil.cpu_times(percpu=True)
    cores = [times[core] for core in usable_cores() if core < len(times)]
    busy_s = sum(getattr(core, field, 0.0) for core in cores for field in BUSY)
    steal_s = sum(getattr(core, "steal", 0.0) for core in cores)
    return CpuTimes(time.perf_counter(), busy_s, steal_s, _tree_s(root), _throttles())


def cpu_seen(before: CpuTimes, after: CpuTimes) -> CpuSeen:
    """Shares are 0 or more: the two accounts, the system's and the processes', differ by ticks."""
    available_s = max(after.at_s - before.at_s, 1e-9) * len(usable_cores())
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    steal_s = after.steal_s - before.steal_s
    throttles = None
    if before.throttles is not None and after.throttles is not None:
        throttles = after.throttles - before.throttles
    return CpuSeen(max(0.0, others_s / available_s), max(0.0, steal_s / available_s), throttles)


def busiest_other(seconds: float) -> tuple[CpuSeen, str]:
    """What others use for so long, and which process of theirs uses most of it, as `pid name`; empty: none is seen."""
    root = os.getpid()
    before, of_each = cpu_times(root), _each_s()
    time.sleep(seconds)
    after, own = cpu_times(root), {process.pid for process in _tree(root)}
    grown = {pid: spent - of_each[pid] for pid, spent in _each_s().items() if pid in of_each and pid not in own}
    most = max(grown, key=grown.__getitem__, default=0)
    return cpu_seen(before, after), f"{most} {process_name(most)}" if grown.get(most, 0.0) > 0 else ""


def tree_pids(root: int) -> frozenset[int]:
    """Process ids of a process and all below it."""
    return frozenset(process.pid for process in _tree(root))


def process_name(pid: int) -> str:
    """Of the program, for people."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "(its name is hidden)"


def cpu_mhz() -> float | None:
    """The cores' present clock, on average, where the system says it."""
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return float(found.current) if found is not None and found.current else None


def _tree(root: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        top = psutil.Process(root)
        yield top
        yield from top.children(recursive=True)


def _tree_s(root: int) -> float:
    """CPU time of a tree; of those who ended, as their parents have it."""
    total = 0.0
    for process in _tree(root):
        with suppress(psutil.Error):
            spent = process.cpu_times()
            total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def _each_s() -> dict[int, float]:
    found = {}
    for process in psutil.process_iter(["cpu_times"]):
        if (spent := process.info["cpu_times"]) is not None:
            found[process.pid] = spent.user + spent.system
    return found


def _throttles() -> int | None:
    """Events of the usable cores since the start of the system; None where nobody counts them."""
    counts = []
    for core in usable_cores():
        for name in THROTTLES:
            with suppress(OSError, ValueError):
                counts.append(int((CPUS / f"cpu{core}" / "thermal_throttle" / name).read_text()))
    return sum(counts) if counts else None
