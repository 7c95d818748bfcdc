"""How long does each stage of a call take? Marks at the stages' borders become seconds.

Wall clock: the host's, from `start` to `stop`, the device waited for at both. Stages: on a CPU by the host's clock too;
on a GPU by CUDA events (torch.cuda.Event), which the device itself stamps when it has done what was asked of it before
the mark, so that no stage has to be waited for: they are read once, after `stop` has waited. What the host does while
the device has nothing to do, such as drawing noise, lies between events as well. The host's stages (HOST) are begun and
ended when the device has nothing left to do, and are read from the host's clock.
The wall is not the stages' sum: what nobody marked is in it, and shows as a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch

from turbo_eval.timing.record import ENCODE, STAGES, WALL

HOST = (ENCODE,)
PROBES = 301  # an odd number has a median of its own


class HostClock:
    """Stages and wall by one clock of the host. seconds: how it is read."""

    def __init__(self, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._seconds = seconds
        self._began_s = 0.0
        self._marks: list[tuple[str | None, float]] = []

    def start(self) -> None:
        """The call begins."""
        self._marks = []
        self._began_s = self._seconds()

    def mark(self, stage: str | None) -> None:
        """The stage begins now, and what was before ends; None: no stage begins."""
        self._marks.append((stage, self._seconds()))

    def stop(self) -> dict[str, float]:
        """The call ends: every stage and WALL -> seconds. A stage that came several times is summed; never, 0."""
        ended_s = self._seconds()
        marks = [*self._marks, (None, ended_s)]
        spent = dict.fromkeys(STAGES, 0.0)
        for (stage, began_s), (_, next_s) in pairwise(marks):
            if stage is not None:
                spent[stage] += next_s - began_s
        return {**spent, WALL: ended_s - self._began_s}


class DeviceClock(HostClock):
    """The wall and the host's stages by the host's clock, the device's stages by CUDA events on its current stream."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._events: list[torch.cuda.Event] = []

    def start(self) -> None:
        """The call begins once the device has nothing left to do."""
        torch.cuda.synchronize(self._device)
        self._events = []
        super().start()

    def mark(self, stage: str | None) -> None:
        """The stage begins when the device has done what was asked of it so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        self._events.append(event)
        super().mark(stage)

    def stop(self) -> dict[str, float]:
        """The call ends when the device has done everything. A stage lasts until the next mark."""
        torch.cuda.synchronize(self._device)
        spent = super().stop()
        spent |= {stage: 0.0 for stage in STAGES if stage not in HOST}
        for (stage, _), (event, following) in zip(self._marks, pairwise(self._events), strict=False):
            if stage is not None and stage not in HOST:
                spent[stage] += event.elapsed_time(following) / 1000  # it is in milliseconds
        return spent


def clock_for(device: torch.device) -> HostClock:
    """The clock for networks on this device."""
    return DeviceClock(device) if device.type == "cuda" else HostClock()


def harness_s(device: torch.device, probes: int = PROBES) -> float:
    """What measuring itself adds to a call, in seconds: the clock around empty stages; the median of `probes`."""
    clock, spent = clock_for(device), []
    for _ in range(probes):
        began_s = time.perf_counter()
        clock.start()
        for stage in (*STAGES, None):
            clock.mark(stage)
        clock.stop()
        spent.append(time.perf_counter() - began_s)
    return median(spent)
