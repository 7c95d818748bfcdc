"""What else went on while something was measured? Looked at between the rounds, never inside a timed call.

    watch = Watch("cuda:0"); ...; watch.look() after each round; ...; watch.seen()

Nobody's word is needed: where NVML, a counter or a right is missing, `unseen` says so, and the measurement goes on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from turbo_eval.timing.cpu_watch import busiest_other, cpu_mhz, cpu_seen, cpu_times, tree_pids, usable_cores
from turbo_eval.timing.gpu_watch import Gpu, GpuLook, GpuSeen, find_gpu, gpu_seen

BUSY_SHARE = 0.05  # of the cores, or of a GPU's time: from here on others are worth a warning
BUSY_PERCENT = 5
SAMPLE_S = 0.3  # of the CPUs before the start


@dataclass(frozen=True)
class Seen:
    """Of a whole measurement. Shares: of the time of the cores that this process may use (cpu_watch.py).

    cpu_first_mhz, cpu_last_mhz: reported, not judged, for they follow the load. throttles: events of heat on CPUs.
    gpu: None on a CPU, and where the GPU cannot be watched. unseen: what could not be watched, and why.
    """

    device: str
    elapsed_s: float
    looks: int
    others_share: float
    steal_share: float
    cores: int
    cpu_first_mhz: float | None = None
    cpu_last_mhz: float | None = None
    throttles: int | None = None
    gpu: GpuSeen | None = None
    unseen: tuple[str, ...] = ()


class Watch:
    """Begins to watch when it is made. device: as torch names it. root: the process whose tree is not foreign."""

    def __init__(self, device: str, root: int | None = None) -> None:
        self.device, self._root = device, os.getpid() if root is None else root
        found = find_gpu(device) if device.startswith("cuda") else None
        self._gpu = found if isinstance(found, Gpu) else None
        self._unseen = [f"the GPU ({found})"] if isinstance(found, str) else []
        self._gpu_looks: list[GpuLook] = []
        self._mhz: list[float] = []
        self._looks = 0
        self._thermal_s = self._gpu.thermal_s() if self._gpu else None
        self._own = tree_pids(self._root)
        self._before = cpu_times(self._root)

    def look(self) -> None:
        """Once after each round, when the device has finished."""
        self._looks += 1
        if (mhz := cpu_mhz()) is not None:
            self._mhz.append(mhz)
        if self._gpu:
            self._gpu_looks.append(self._gpu.look(self._own))

    def seen(self) -> Seen:
        """From the beginning until now."""
        after = cpu_times(self._root)
        cpu = cpu_seen(self._before, after)
        unseen = list(self._unseen)
        gpu = None
        if self._gpu:
            thermal_s = self._gpu.thermal_s()
            spent_s = None if thermal_s is None or self._thermal_s is None else thermal_s - self._thermal_s
            gpu = gpu_seen(self._gpu_looks, self._gpu.max_mhz(), spent_s)
            if self._gpu.others(self._own) is None:
                unseen.append("other processes on the GPU (the driver does not name them)")
        if cpu.throttles is None:
            unseen.append("throttling of the CPUs (the system does not count it)")
        return Seen(
            device=self.device,
            elapsed_s=after.at_s - self._before.at_s,
            looks=self._looks,
            others_share=cpu.others_share,
            steal_share=cpu.steal_share,
            cores=len(usable_cores()),
            cpu_first_mhz=self._mhz[0] if self._mhz else None,
            cpu_last_mhz=self._mhz[-1] if self._mhz else None,
            throttles=cpu.throttles,
            gpu=gpu,
            unseen=tuple(unseen),
        )


def busy(device: str) -> str | None:
    """Whether others use the device now: one clause for a warning, or None. Takes SAMPLE_S."""
    if device.startswith("cuda") and (clause := _busy_gpu(device)):
        return clause
    cpu, most = busiest_other(SAMPLE_S)
    if cpu.others_share + cpu.steal_share <= BUSY_SHARE:
        return None
    cores = len(usable_cores())
    clause = f"others use {cpu.others_share:.0%} of the {cores} CPU core{'s' if cores > 1 else ''}"
    clause += f", most of it process {most}" if most else ""
    return clause + (f", and the hypervisor takes {cpu.steal_share:.0%}" if cpu.steal_share > BUSY_SHARE else "")


def _busy_gpu(device: str) -> str | None:
    gpu = find_gpu(device)
    return None if isinstance(gpu, str) else busy_gpu(gpu, device)


def busy_gpu(gpu: Gpu, device: str) -> str | None:
    """Whether others compute on a GPU, or, where the driver names no processes, whether it is at work without us."""
    others, use = gpu.others(tree_pids(os.getpid())), gpu.use()
    at_work = "" if use is None else f" (in use for {use} % of the last moments)"
    if others:
        many = "es" if len(others) > 1 else ""
        return f"{len(others)} other process{many} on {device}: {', '.join(others)}{at_work}"
    if others is None and use is not None and use > BUSY_PERCENT:
        return f"{device} is in use{at_work}; the driver does not name the processes"
    return None
