"""May a timing be quoted? Each doubt has a code; a row without any is VALID, any other INVALID and no baseline.

A measurement that had a run spoiled is not repaired by throwing that run away: what was seen is said, and it is done
again. MLPerf's submissions are VALID or INVALID in the same sense (mlcommons/inference, loadgen).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from turbo_eval.timing.drift import drift_of
from turbo_eval.timing.gpu_watch import POWER_CAP, GpuSeen
from turbo_eval.timing.intervals import coefficient_of_variation, median_interval
from turbo_eval.timing.record import STAGES, WALL, Reason
from turbo_eval.timing.watch import Seen

THROTTLED = "THROTTLED"
"""Heat or the power supply held the clock down; the power cap, part of the hardware, does not count."""
FOREIGN_PROCESS = "FOREIGN_PROCESS"
"""Others computed on the same GPU, or used more of the CPU cores than is allowed."""
CLOCK_DRIFT = "CLOCK_DRIFT"
"""The GPU's clock changed, or the runs became steadily slower or faster."""
CV_TOO_HIGH = "CV_TOO_HIGH"
"""The runs scatter too much: standard deviation / mean of the whole call."""
TOO_FEW_SAMPLES = "TOO_FEW_SAMPLES"
"""Fewer runs than were asked for, or than an interval of the median needs."""
UNACCOUNTED_TIME = "UNACCOUNTED_TIME"
"""The stages do not add up to the whole call."""
INTERRUPTED = "INTERRUPTED"
"""A signal ended the measurement before its rule did."""
CODES = (THROTTLED, FOREIGN_PROCESS, CLOCK_DRIFT, CV_TOO_HIGH, TOO_FEW_SAMPLES, UNACCOUNTED_TIME, INTERRUPTED)


@dataclass(frozen=True)
class Allowed:
    """The most that a valid measurement may have; min_runs: the least. Shares of 1.

    min_runs: 1 - 2 x 0.5^6 = 97 %, the fewest runs whose range covers the median with 95 %. cv: pyperf warns from a
    standard deviation of 10 % on; half of it here, since slow-downs of 5 % are looked for. drift: our choice for the
    same reason, of what nvbench discards samples for. others: our choice; pyperf asks for an idle machine and gives no
    number. gpu_processes: optimum-benchmark's device isolation. unaccounted: our choice; the stages and the whole are
    read off the same run, so that more than a clock's noise between them is a stage forgotten or counted twice.
    """

    min_runs: int = 6
    cv: float = 0.05
    drift: float = 0.03
    unaccounted: float = 0.02
    others: float = 0.05
    gpu_processes: int = 0


ALLOWED = Allowed()


def reasons(
    runs_s: Mapping[str, Sequence[float]],
    seen: Seen | None,
    *,
    min_runs: int = 0,
    interrupted: bool = False,
    allowed: Allowed = ALLOWED,
) -> tuple[Reason, ...]:
    """Why a row is INVALID; (): VALID. runs_s: as a row's. seen: while it was measured; None: nobody watched.

    min_runs: as asked for; ALLOWED's hold besides.
    """
    wall = runs_s.get(WALL, ())
    found: list[Reason] = []
    if seen is not None:
        found += _of_machine(seen, allowed)
    found += _of_runs(wall, min_runs, allowed)
    found += _of_stages(runs_s, allowed)
    if interrupted:
        found.append(Reason(INTERRUPTED, f"ended by a signal after {len(wall)} runs"))
    return tuple(found)


def _of_machine(seen: Seen, allowed: Allowed) -> Iterator[Reason]:
    if seen.throttles:
        events = f"{seen.throttles} event{'s' if seen.throttles > 1 else ''}"
        yield Reason(THROTTLED, f"{events} of heat on the CPUs, none is allowed")
    cores = f"{seen.cores} CPU core{'s' if seen.cores > 1 else ''}"
    for share, who in ((seen.others_share, "other processes used"), (seen.steal_share, "the hypervisor took")):
        if share > allowed.others:
            yield Reason(FOREIGN_PROCESS, f"{who} {_percent(share)} of {cores}, {_percent(allowed.others)} allowed")
    if seen.gpu is not None:
        yield from _of_gpu(seen.gpu, seen.looks, allowed)


def _of_gpu(gpu: GpuSeen, looks: int, allowed: Allowed) -> Iterator[Reason]:
    slowed = [f"{words} at {n} of {looks} looks" for words, n in gpu.slowed.items() if words != POWER_CAP]
    if gpu.thermal_s:
        slowed.append(f"heat for {gpu.thermal_s:.3g} s")
    if slowed:
        yield Reason(THROTTLED, f"{', '.join(slowed)}; none is allowed")
    if len(gpu.processes) > allowed.gpu_processes:
        named = ", ".join(gpu.processes)
        yield Reason(FOREIGN_PROCESS, f"on the GPU also computed {named}; {allowed.gpu_processes} others are allowed")
    if gpu.first_mhz and gpu.last_mhz:
        change = gpu.last_mhz / gpu.first_mhz - 1
        if abs(change) > allowed.drift:
            clocks = f"from {gpu.first_mhz:g} to {gpu.last_mhz:g} MHz"
            most = f"{_percent(allowed.drift)} allowed"
            yield Reason(CLOCK_DRIFT, f"the GPU's clock went {clocks} ({_signed(change)}), {most}")


def _of_runs(wall_s: Sequence[float], min_runs: int, allowed: Allowed) -> Iterator[Reason]:
    fewest = max(min_runs, allowed.min_runs)
    if len(wall_s) < fewest:
        yield Reason(TOO_FEW_SAMPLES, f"{len(wall_s)} run{'s' if len(wall_s) != 1 else ''}, {fewest} are the fewest")
    drift = drift_of(wall_s)
    if drift.exceeds(allowed.drift):
        text = f"the runs changed by {_signed(drift.relative)} from first to last, {_percent(allowed.drift)} allowed"
        yield Reason(CLOCK_DRIFT, text)
    if len(wall_s) > 1 and (cv := coefficient_of_variation(wall_s)) > allowed.cv:
        text = f"coefficient of variation {_percent(cv)}, {_percent(allowed.cv)} allowed{_known(wall_s)}"
        yield Reason(CV_TOO_HIGH, f"{text}: quiet the machine, or time longer calls")


def _known(wall_s: Sequence[float]) -> str:
    """How sure the median is all the same: a wide scatter may leave a narrow interval."""
    median, low, high = median_interval(wall_s)
    if low is None or high is None:
        return ""
    return f" (the median is known to +-{50 * (high - low) / median:.2g} %)"


def _of_stages(runs_s: Mapping[str, Sequence[float]], allowed: Allowed) -> Iterator[Reason]:
    wall_s = np.asarray(runs_s.get(WALL, ()), np.float64)
    if not len(wall_s):
        return
    stages_s = sum(np.asarray(runs_s[stage], np.float64) for stage in STAGES if stage in runs_s)
    apart = float(np.median(wall_s - stages_s) / np.median(wall_s))
    if abs(apart) > allowed.unaccounted:
        side = "missing from" if apart > 0 else "too much in"
        most = f"{_percent(allowed.unaccounted)} allowed"
        yield Reason(
            UNACCOUNTED_TIME, f"{_percent(abs(apart))} of the whole call is {side} the sum of its stages, {most}"
        )


def _percent(share: float) -> str:
    """Two digits more than a bound has, so that a value just above it does not read as the bound."""
    return f"{100 * share:.3g} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.3g} %"
