"""Is what else went on seen: other processes, a GPU's clock and heat, and that something could not be seen?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from turbo_eval.timing.cpu_watch import CpuTimes, cpu_seen, tree_pids, usable_cores
from turbo_eval.timing.gpu_watch import POWER_CAP, SLOWED_BY, Gpu, GpuLook, find_gpu, gpu_seen
from turbo_eval.timing.watch import Watch, busy, busy_gpu

BURN = "import time\nend = time.perf_counter() + {}\nwhile time.perf_counter() < end: pass"


@contextmanager
def foreign_burner(seconds: float) -> Iterator[int]:
    """A process that computes, whose parent has ended: none of our tree."""
    command = f"[sys.executable, '-c', {BURN.format(seconds)!r}], stdout=subprocess.DEVNULL"
    start = f"import subprocess, sys; print(subprocess.Popen({command}).pid)"
    said = subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, check=True)
    pid = int(said.stdout)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)


def used_s(pid: int) -> float:
    import psutil

    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


@pytest.mark.skipif(sys.platform == "win32", reason="orphans are a matter of POSIX")
def test_another_process_is_seen_and_our_own_child_is_not_foreign() -> None:
    with foreign_burner(20) as pid:
        ours = subprocess.Popen([sys.executable, "-c", BURN.format(20)])
        try:
            assert ours.pid in tree_pids(os.getpid()) and pid not in tree_pids(os.getpid())
            here, there = Watch("cpu"), Watch("cpu", root=pid)
            before = used_s(pid), used_s(ours.pid)
            burnt = own = 0.0
            while min(burnt, own) < 0.1:  # a busy machine gives them little
                time.sleep(0.1)
                burnt, own = used_s(pid) - before[0], used_s(ours.pid) - before[1]
            seen, seen_there = here.seen(), there.seen()
        finally:
            ours.kill()
            ours.wait()
    ticks = 0.03 * (1 + len(usable_cores()))  # the two accounts differ by ticks of 10 ms
    assert seen.others_share * seen.elapsed_s * seen.cores >= burnt - ticks
    # What this process' tree used is foreign to the burner, and the reverse.
    differ_s = (seen_there.others_share - seen.others_share) * seen.elapsed_s * seen.cores
    assert differ_s == pytest.approx(own - burnt, abs=3 * ticks)


def test_a_child_that_has_ended_is_still_ours() -> None:
    watch = Watch("cpu")
    before = watch._before.own_s
    subprocess.run([sys.executable, "-c", BURN.format(0.3)], check=True)
    from turbo_eval.timing.cpu_watch import cpu_times

    assert cpu_times(os.getpid()).own_s - before > 0.02  # it may have got little of a busy machine


def test_shares_are_of_the_cores_that_may_be_used() -> None:
    cores = len(usable_cores())
    before = CpuTimes(at_s=100.0, busy_s=50.0, steal_s=1.0, own_s=20.0, throttles=7)
    after = CpuTimes(at_s=110.0, busy_s=50.0 + 6.0 * cores, steal_s=1.0 + cores, own_s=20.0 + 4.0 * cores, throttles=9)
    seen = cpu_seen(before, after)
    assert (seen.others_share, seen.steal_share, seen.throttles) == (pytest.approx(0.2), pytest.approx(0.1), 2)
    idle = cpu_seen(before, CpuTimes(110.0, 50.0, 1.0, 20.01, None))
    assert (idle.others_share, idle.steal_share, idle.throttles) == (0.0, 0.0, None)


def test_looks_are_counted_and_what_cannot_be_seen_is_said() -> None:
    watch = Watch("cpu")
    for _ in range(3):
        watch.look()
    seen = watch.seen()
    assert seen.looks == 3 and seen.gpu is None and seen.elapsed_s > 0
    assert (seen.throttles is None) == any("throttling of the CPUs" in text for text in seen.unseen)


@pytest.mark.skipif(sys.platform == "win32", reason="orphans are a matter of POSIX")
def test_a_busy_cpu_is_a_clause_that_names_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turbo_eval.timing.watch.BUSY_SHARE", 0.0)  # this machine may give the burner little
    with foreign_burner(20):
        clause = busy("cpu")
    assert clause is not None and "others use " in clause and " of the " in clause and "most of it process " in clause
    monkeypatch.setattr("turbo_eval.timing.watch.BUSY_SHARE", 1.1)
    assert busy("cpu") is None


class FakeError(Exception):
    """pynvml.NVMLError."""


@dataclass
class Library:
    """NVML's library (not ours) on a machine without one: answers by name; one that is not here is an error."""

    answers: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    NVMLError = FakeError
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_PERF_POLICY_THERMAL = 0, 1, 1

    def __getattr__(self, name: str) -> Any:
        def answer(*_: Any) -> Any:
            self.asked.append(name)
            if name.removeprefix("nvmlDeviceGet") not in self.answers:
                raise FakeError(name)
            return self.answers[name.removeprefix("nvmlDeviceGet")]

        return answer


def gpu(contained: bool = False, computing: bool = False, **answers: Any) -> Gpu:
    return Gpu(Library(answers), None, lambda: computing, contained)


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def test_clock_heat_and_reasons_of_a_gpu() -> None:
    hot = gpu(CurrentClocksEventReasons=0x1 | 0x4 | 0x40, ClockInfo=1500, Temperature=88)
    cool = gpu(CurrentClocksThrottleReasons=0x0, ClockInfo=1980, Temperature=60)
    looks = [cool.look(()), hot.look(()), gpu(ClockInfo=1980).look(())]
    seen = gpu_seen(looks, max_mhz=1980, thermal_s=0.25)
    assert seen.slowed == {POWER_CAP: 1, "hardware thermal slowdown": 1}
    assert (seen.first_mhz, seen.last_mhz, seen.lowest_mhz, seen.highest_c) == (1980, 1980, 1500, 88)
    old_driver = gpu(CurrentClocksThrottleReasons=0x20)
    assert old_driver.look(()).slowed == ("software thermal slowdown",)
    nothing = gpu_seen([gpu().look(())], None, None)
    assert (nothing.first_mhz, nothing.slowed, nothing.highest_c, nothing.processes) == (None, {}, None, ())
    assert gpu(ViolationStatus=SimpleNamespace(violationTime=2_500_000_000)).thermal_s() == 2.5


def test_one_look_at_a_clock_that_goes_up_and_down_is_no_drift() -> None:
    def ends(*clocks: float) -> tuple[float | None, float | None]:
        seen = gpu_seen([GpuLook(mhz, (), None, ()) for mhz in clocks], None, None)
        return seen.first_mhz, seen.last_mhz

    assert ends(1980, 1700, 1980, 1700, 1980, 1980, 1980, 1980, 1700) == (1980, 1980)
    assert ends(*[1980] * 4, *[1700] * 5) == (1980, 1700)
    assert ends(1980, 1700) == (1980, 1700) and ends(1980) == (1980, 1980)


@pytest.mark.parametrize(("before", "after", "between"), [(3, 5, 2), (None, 5, None), (3, None, None), (3, 3, 0)])
def test_heat_before_the_measurement_does_not_count(
    before: int | None, after: int | None, between: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(seconds: int | None) -> dict[str, Any]:
        return {} if seconds is None else {"ViolationStatus": SimpleNamespace(violationTime=seconds * 10**9)}

    card = gpu(ComputeRunningProcesses=processes(os.getpid()), **spent(before))
    monkeypatch.setattr("turbo_eval.timing.watch.find_gpu", lambda device: card)
    watch = Watch("cuda")
    watch.look()
    card.nvml.answers = {"ComputeRunningProcesses": [], **spent(after)}
    seen = watch.seen().gpu
    assert seen is not None and seen.thermal_s == between and seen.processes == ()


def test_the_library_has_what_it_is_asked_for_and_means_the_same_bits() -> None:
    import pynvml

    one = gpu()
    assert (one.look(()).mhz, one.others(()), one.thermal_s(), one.max_mhz(), one.use()) == (None,) * 5
    asked = set(one.nvml.asked)
    assert len(asked) == 8 and all(hasattr(pynvml, name) for name in asked)
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    spelt = {name: (f"nvmlClocksEventReason{name}", f"nvmlClocksThrottleReason{name}") for name in names}
    bits = [next(getattr(pynvml, s) for s in both if hasattr(pynvml, s)) for both in spelt.values()]
    assert bits == list(SLOWED_BY)
    constants = ("NVML_TEMPERATURE_GPU", "NVML_CLOCK_SM", "NVML_PERF_POLICY_THERMAL")
    assert [getattr(pynvml, name) for name in constants] == [getattr(Library, name) for name in constants]


def test_processes_on_a_gpu_but_our_own() -> None:
    own = os.getpid()
    assert gpu(ComputeRunningProcesses=processes(own)).others({own}) == ()
    (other,) = gpu(ComputeRunningProcesses=processes(own, os.getppid())).others({own}) or ()
    assert other.startswith(f"{os.getppid()} ")
    assert gpu(ComputeRunningProcesses=processes(2**22 + 1)).others({own}) == (f"{2**22 + 1} (its name is hidden)",)
    assert gpu().others({own}) is None


def test_in_a_container_the_driver_names_the_hosts_ids() -> None:
    inside = {"contained": True, "computing": True}
    assert gpu(**inside, ComputeRunningProcesses=processes(90001)).others({7}) == ()
    (other,) = gpu(**inside, ComputeRunningProcesses=processes(90001, 90002)).others({7}) or ()
    assert "another container" in other
    assert len(gpu(contained=True, ComputeRunningProcesses=processes(90001)).others({7}) or ()) == 1
    assert gpu(**inside, ComputeRunningProcesses=[]).others({7}) is None
    assert gpu(**inside, ComputeRunningProcesses=processes(7)).others({7}) == ()


def test_a_busy_gpu_is_a_clause_with_processes_and_use() -> None:
    taken = gpu(ComputeRunningProcesses=processes(2**22 + 1), UtilizationRates=SimpleNamespace(gpu=93))
    said = busy_gpu(taken, "cuda:1")
    assert said is not None
    assert "1 other process on cuda:1" in said and str(2**22 + 1) in said and "93 %" in said
    assert busy_gpu(gpu(ComputeRunningProcesses=[], UtilizationRates=SimpleNamespace(gpu=0)), "cuda") is None
    hidden = busy_gpu(gpu(UtilizationRates=SimpleNamespace(gpu=50)), "cuda")
    assert hidden is not None and "does not name" in hidden
    assert busy_gpu(gpu(), "cuda") is None


def test_without_the_library_a_gpu_is_unseen_and_nothing_breaks() -> None:
    found = find_gpu("cuda:0")
    if isinstance(found, Gpu):
        pytest.skip("this machine has NVML")
    watch = Watch("cuda:0")
    watch.look()
    seen = watch.seen()
    assert seen.gpu is None and any(found in text for text in seen.unseen)


@pytest.mark.gpu
def test_a_real_gpu_is_seen() -> None:
    import torch

    a = torch.rand(4096, 4096, device="cuda")
    watch = Watch("cuda")
    for _ in range(3):
        for _ in range(20):
            a @ a
        torch.cuda.synchronize()
        watch.look()
    seen = watch.seen().gpu
    assert seen is not None and seen.first_mhz and seen.max_mhz and seen.first_mhz <= seen.max_mhz * 1.01
    assert not any(process.startswith(f"{os.getpid()} ") for process in seen.processes)
