"""Does each doubt about a timing get its code, and only beyond what is allowed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from turbo_eval.timing.drift import drift_of
from turbo_eval.timing.gpu_watch import POWER_CAP, GpuSeen
from turbo_eval.timing.intervals import median_interval
from turbo_eval.timing.record import DECODE, ENCODE, FIRST, REMAINING, TEXT, WALL, Reason
from turbo_eval.timing.validity import (
    CLOCK_DRIFT,
    CODES,
    CV_TOO_HIGH,
    FOREIGN_PROCESS,
    INTERRUPTED,
    THROTTLED,
    TOO_FEW_SAMPLES,
    UNACCOUNTED_TIME,
    reasons,
)
from turbo_eval.timing.watch import Seen

QUIET = Seen("cpu", elapsed_s=10.0, looks=6, others_share=0.01, steal_share=0.0, cores=2, throttles=0)
GPU = GpuSeen(first_mhz=1980, last_mhz=1980, lowest_mhz=1980, max_mhz=1980, thermal_s=0.0, highest_c=60)
STEADY = (1.0, 1.01, 0.99, 1.01, 0.99, 1.0, 1.0, 0.99, 1.01, 1.0, 1.01, 0.99)


def runs(wall: Sequence[float] = STEADY, stages: float = 1.0) -> Mapping[str, tuple[float, ...]]:
    """stages: their sum over the wall clock."""
    shares = {TEXT: 0.05, FIRST: 0.15, REMAINING: 0.45, DECODE: 0.25, ENCODE: 0.1}
    return {**{stage: tuple(s * stages * share for s in wall) for stage, share in shares.items()}, WALL: tuple(wall)}


def codes(found: Sequence[Reason]) -> list[str]:
    assert all(reason.code in CODES and reason.text for reason in found)
    return [reason.code for reason in found]


def with_gpu(**changed: object) -> Seen:
    return replace(QUIET, device="cuda", gpu=replace(GPU, **changed))  # type: ignore[arg-type]


def text_of(found: Sequence[Reason]) -> str:
    (reason,) = found
    return reason.text


def test_a_quiet_steady_measurement_is_valid() -> None:
    assert reasons(runs(), QUIET) == reasons(runs(), with_gpu()) == reasons(runs(), None) == ()


def test_throttling_of_cpu_and_gpu() -> None:
    assert codes(reasons(runs(), replace(QUIET, throttles=3))) == [THROTTLED]
    assert "3 events" in text_of(reasons(runs(), replace(QUIET, throttles=3)))
    assert reasons(runs(), replace(QUIET, throttles=None)) == ()
    hot = reasons(runs(), with_gpu(slowed={"hardware thermal slowdown": 2}))
    assert codes(hot) == [THROTTLED] and "hardware thermal slowdown at 2 of 6 looks" in text_of(hot)
    assert codes(reasons(runs(), with_gpu(thermal_s=0.5))) == [THROTTLED]
    assert reasons(runs(), with_gpu(slowed={POWER_CAP: 6})) == ()


def test_foreign_processes() -> None:
    assert codes(reasons(runs(), replace(QUIET, others_share=0.051))) == [FOREIGN_PROCESS]
    assert reasons(runs(), replace(QUIET, others_share=0.05)) == ()
    stolen = reasons(runs(), replace(QUIET, steal_share=0.2))
    assert codes(stolen) == [FOREIGN_PROCESS] and "hypervisor took 20 % of 2 CPU cores, 5 % allowed" in text_of(stolen)
    beside = reasons(runs(), with_gpu(processes=("4711 python",)))
    assert codes(beside) == [FOREIGN_PROCESS] and "4711 python" in text_of(beside)


def test_the_gpus_clock() -> None:
    fallen = reasons(runs(), with_gpu(last_mhz=1980 * 0.969))
    assert codes(fallen) == [CLOCK_DRIFT] and "-3.1 %" in text_of(fallen) and "3 % allowed" in text_of(fallen)
    assert codes(reasons(runs(), with_gpu(last_mhz=1980 * 1.031))) == [CLOCK_DRIFT]
    assert reasons(runs(), with_gpu(last_mhz=1980 * 0.971)) == ()
    assert reasons(runs(), with_gpu(first_mhz=None)) == ()


def test_a_trend_of_the_runs() -> None:
    rising = tuple(np.linspace(1.0, 1.04, 20))
    found = reasons(runs(rising), QUIET)
    assert codes(found) == [CLOCK_DRIFT] and "first to last" in text_of(found) and "3 % allowed" in text_of(found)
    assert reasons(runs(tuple(np.linspace(1.0, 1.029, 20))), QUIET) == ()
    falling = reasons(runs(rising[::-1]), QUIET)
    assert codes(falling) == [CLOCK_DRIFT] and "changed by -" in text_of(falling)
    noise = tuple(1 + 0.03 * np.random.default_rng(14).standard_normal(12))
    assert drift_of(noise).relative > 0.06  # by chance
    assert reasons(runs(noise), QUIET) == ()


def scattered(cv: float) -> tuple[float, ...]:
    """Sixteen runs without a trend, whose standard deviation is cv of their mean."""
    values = np.array([1, -1, -1, 1, -1, 1, 1, -1] * 2, dtype=np.float64)
    return tuple(1 + values * cv / values.std(ddof=1))


def test_scatter() -> None:
    found = reasons(runs(scattered(0.0501)), QUIET)
    assert codes(found) == [CV_TOO_HIGH]
    assert "5.01 %" in text_of(found) and "5 % allowed" in text_of(found)
    assert reasons(runs(scattered(0.0499)), QUIET) == ()
    assert "known to" not in text_of(reasons(runs(scattered(0.2)[:5]), QUIET)[1:])
    noisy = tuple(1 + 0.12 * np.random.default_rng(2).permutation(np.linspace(-1.7, 1.7, 80)))
    median, low, high = median_interval(noisy)
    assert low is not None and high is not None
    known = f"the median is known to +-{50 * (high - low) / median:.2g} %"
    assert known in text_of(reasons(runs(noisy), QUIET)) and (high - low) / 2 / median < 0.05


def test_too_few_runs() -> None:
    found = reasons(runs(STEADY[:5]), QUIET)
    assert codes(found) == [TOO_FEW_SAMPLES] and text_of(found) == "5 runs, 6 are the fewest"
    assert reasons(runs(STEADY[:6]), QUIET) == ()
    asked = reasons(runs(STEADY[:11]), QUIET, min_runs=12)
    assert codes(asked) == [TOO_FEW_SAMPLES] and text_of(asked) == "11 runs, 12 are the fewest"
    assert reasons(runs(), QUIET, min_runs=12) == ()
    assert codes(reasons(runs(()), QUIET)) == codes(reasons(runs((1.0,)), QUIET)) == [TOO_FEW_SAMPLES]


@pytest.mark.parametrize("stages", [0.979, 1.021])
def test_time_without_a_stage_and_time_in_two(stages: float) -> None:
    found = reasons(runs(stages=stages), QUIET)
    assert codes(found) == [UNACCOUNTED_TIME] and "2.1 %" in text_of(found) and "2 % allowed" in text_of(found)
    assert reasons(runs(stages=1 + (stages - 1) * 0.9), QUIET) == ()


def test_one_bad_run_is_no_unaccounted_time() -> None:
    odd = {stage: (0.5 * values[0], *values[1:]) if stage != WALL else values for stage, values in runs().items()}
    assert reasons(odd, QUIET) == ()


def test_an_interrupted_measurement() -> None:
    found = reasons(runs(), QUIET, interrupted=True)
    assert codes(found) == [INTERRUPTED] and "12 runs" in text_of(found)


def test_several_doubts_are_all_said() -> None:
    found = reasons(
        runs(scattered(0.2)[:4], stages=0.5), replace(QUIET, others_share=0.5, throttles=1), interrupted=True
    )
    assert codes(found) == [THROTTLED, FOREIGN_PROCESS, TOO_FEW_SAMPLES, CV_TOO_HIGH, UNACCOUNTED_TIME, INTERRUPTED]
    assert set(codes(found)) | {CLOCK_DRIFT} == set(CODES)
