"""What does the driver say of one GPU? Its clock, what holds the clock down, its heat, and who else computes on it.

Source: NVML's reference (docs.nvidia.com/deploy/nvml-api). What a card, a driver or a lack of rights leaves unanswered
is None. A GPU is found by its UUID: CUDA_VISIBLE_DEVICES numbers GPUs otherwise than NVML does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from turbo_eval.timing.cpu_watch import process_name

SLOWED_BY = {  # NVML's bits -> words
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
POWER_CAP = SLOWED_BY[0x4]
"""No throttling in our sense: a large product runs into the power limit, which is part of the hardware."""
FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of Linux; another one: a container


@dataclass(frozen=True)
class GpuSeen:
    """Of all looks at a GPU. Clocks in MHz of its multiprocessors; the first look comes after a round, not idle.

    first_mhz, last_mhz: medians over the first and the last third of the looks, for at its power limit the clock goes
    up and down from one look to the next. processes: others that compute on it, `pid name`. slowed: what held the clock
    down -> looks at which it did. thermal_s: for how long heat did, by the driver's own counter. highest_c: the peak.
    """

    processes: tuple[str, ...] = ()
    first_mhz: float | None = None
    last_mhz: float | None = None
    lowest_mhz: float | None = None
    max_mhz: float | None = None
    slowed: dict[str, int] = field(default_factory=dict)
    thermal_s: float | None = None
    highest_c: float | None = None


@dataclass(frozen=True)
class GpuLook:
    """At one moment."""

    mhz: float | None
    slowed: tuple[str, ...]
    temperature_c: float | None
    processes: tuple[str, ...]


class Gpu:
    """One GPU by NVML. nvml: the module. computing: whether this process has memory on it, so that NVML must list it.

    contained: whether process ids here are others than those that the driver names.
    """

    def __init__(self, nvml: Any, handle: Any, computing: Callable[[], bool], contained: bool) -> None:
        self.nvml, self.handle = nvml, handle
        self._computing, self._contained = computing, contained

    def ask(self, function: str, *arguments: Any) -> Any:
        """The answer of nvmlDeviceGet<function>, or None where there is none."""
        try:
            return getattr(self.nvml, f"nvmlDeviceGet{function}")(self.handle, *arguments)
        except (self.nvml.NVMLError, AttributeError):
            return None

    def look(self, own: Collection[int]) -> GpuLook:
        """own: process ids that are not others'."""
        reasons = self.ask("CurrentClocksEventReasons")
        if reasons is None:  # its name before driver 535
            reasons = self.ask("CurrentClocksThrottleReasons")
        slowed = tuple(words for bit, words in SLOWED_BY.items() if (reasons or 0) & bit)
        temperature = self.ask("Temperature", self.nvml.NVML_TEMPERATURE_GPU)
        return GpuLook(self.ask("ClockInfo", self.nvml.NVML_CLOCK_SM), slowed, temperature, self.others(own) or ())

    def others(self, own: Collection[int]) -> tuple[str, ...] | None:
        """Other processes that compute here, `pid name`; None: nobody says.

        In a container the driver names the host's ids: one of them is taken for this process if it computes.
        """
        listed = self.ask("ComputeRunningProcesses")
        if listed is None:
            return None
        pids = [int(process.pid) for process in listed]
        others = [pid for pid in pids if pid not in own]
        if not self._contained or len(others) < len(pids):
            return tuple(f"{pid} {process_name(pid)}" for pid in others)
        if self._computing():
            if not others:
                return None
            others = others[1:]
        return tuple(f"{pid} of another container or the host" for pid in others)

    def thermal_s(self) -> float | None:
        """For how long heat has held the clock down since the driver was loaded."""
        spent = self.ask("ViolationStatus", self.nvml.NVML_PERF_POLICY_THERMAL)
        return None if spent is None else float(spent.violationTime) / 1e9

    def max_mhz(self) -> float | None:
        """The highest clock it may have."""
        return self.ask("MaxClockInfo", self.nvml.NVML_CLOCK_SM)  # type: ignore[no-any-return]

    def use(self) -> int | None:
        """Percent of the last moments in which a kernel ran."""
        rates = self.ask("UtilizationRates")
        return None if rates is None else int(rates.gpu)


def find_gpu(device: str) -> Gpu | str:
    """The GPU that torch calls `device`, or why it cannot be watched. Loads no torch, but asks it."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return "pynvml is not installed"
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
    if "torch" not in sys.modules:
        return "torch is not loaded, which says which GPU is meant"
    cuda = sys.modules["torch"].cuda
    uuid = str(cuda.get_device_properties(device).uuid)
    for name in (f"GPU-{uuid}", f"MIG-{uuid}"):
        with suppress(pynvml.NVMLError):
            handle = pynvml.nvmlDeviceGetHandleByUUID(name)
            return Gpu(pynvml, handle, lambda: cuda.memory_reserved(device) > 0, is_contained())
    return f"NVML knows no GPU {uuid}"


def gpu_seen(looks: Sequence[GpuLook], max_mhz: float | None, thermal_s: float | None) -> GpuSeen:
    """What looks amount to. thermal_s: between the first and now."""
    clocks = [look.mhz for look in looks if look.mhz is not None]
    third = len(clocks) // 3
    heat = [look.temperature_c for look in looks if look.temperature_c is not None]
    return GpuSeen(
        processes=tuple(dict.fromkeys(process for look in looks for process in look.processes)),
        first_mhz=median(clocks[: third or 1]) if clocks else None,
        last_mhz=median(clocks[-third or -1 :]) if clocks else None,
        lowest_mhz=min(clocks, default=None),
        max_mhz=max_mhz,
        slowed={words: n for words in SLOWED_BY.values() if (n := sum(words in look.slowed for look in looks))},
        thermal_s=thermal_s,
        highest_c=max(heat, default=None),
    )


def is_contained() -> bool:
    """Whether this process lives in a process namespace of its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) != FIRST_PID_NAMESPACE
    except OSError:
        return False
