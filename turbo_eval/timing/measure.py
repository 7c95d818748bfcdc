"""How long does a piece of work take, and how many times faster is one than another?

One run = one call, end to end, by time.perf_counter. Warm-up runs are thrown away. Reported: the median with a
percentile-bootstrap interval. Two pieces of work are measured interleaved, ABBA (a, b, b, a), so that slow drift of
the machine falls on both; the speed-up is the ratio of medians, its interval from resampling whole ABBA blocks.
Rules (MLPerf's minimum counts and pyperf's method are the models): at least `min_runs` runs of each, a median's
95 % interval needs 6; then go on until the interval is narrow enough, or time is up; which of them it was is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], object]
Clock = Callable[[], float]
LEVEL, RESAMPLES, SEED = 0.95, 2000, 0
MIN_RUNS_FOR_INTERVAL = 6  # 1 - 2 * 0.5^6 = 0.97 is the first count whose range covers the median with 95 %


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work: median, its interval, every run in order, and what ended the measurement."""

    median_s: float
    low_s: float
    high_s: float
    runs_s: tuple[float, ...]
    stopped_by: str

    @property
    def runs(self) -> int:
        """How many runs were measured (warm-ups not among them)."""
        return len(self.runs_s)


@dataclass(frozen=True)
class Race:
    """Two timings from one interleaved measurement. `speed_up` = median of b / median of a (a is faster if > 1)."""

    a: Timing
    b: Timing
    speed_up: float
    low: float
    high: float


@dataclass(frozen=True)
class Rules:
    """When to stop. `half_width` is relative: (high - low) / 2 / median of what is asked for."""

    warmups: int = 2
    min_runs: int = 10
    max_s: float = 60.0
    half_width: float = 0.02


def _time(work: Work, clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


def _bounds(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _timing(runs_s: Sequence[float], stopped_by: str) -> Timing:
    values = np.asarray(runs_s, dtype=np.float64)
    rows = np.random.default_rng(SEED).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = _bounds(np.median(values[rows], axis=1))
    return Timing(float(np.median(values)), low, high, tuple(float(v) for v in values), stopped_by)


def _race(a_s: Sequence[float], b_s: Sequence[float], stopped_by: str) -> Race:
    """a_s and b_s in measured order: runs 2k and 2k + 1 of each make up ABBA block k."""
    a, b = (np.asarray(s, dtype=np.float64).reshape(-1, 2) for s in (a_s, b_s))
    rows = np.random.default_rng(SEED).integers(len(a), size=(RESAMPLES, len(a)))
    ratios = np.median(b[rows].reshape(RESAMPLES, -1), axis=1) / np.median(a[rows].reshape(RESAMPLES, -1), axis=1)
    low, high = _bounds(ratios)
    speed_up = float(np.median(b) / np.median(a))
    return Race(_timing(a_s, stopped_by), _timing(b_s, stopped_by), speed_up, low, high)


def _verdict(runs: int, spent_s: float, half_width: float, rules: Rules) -> str:
    """Why to stop now, or nothing."""
    if runs < max(rules.min_runs, MIN_RUNS_FOR_INTERVAL):
        return ""
    if half_width <= rules.half_width:
        return f"interval within +-{rules.half_width:.1%}"
    return f"time limit of {rules.max_s:g} s" if spent_s >= rules.max_s else ""


def measure(work: Work, rules: Rules | None = None, clock: Clock = time.perf_counter) -> Timing:
    """Seconds of one piece of work. The minimum of runs is measured even when that exceeds `max_s`."""
    rules = rules or Rules()
    for _ in range(rules.warmups):
        work()
    runs_s: list[float] = []
    while True:
        runs_s.append(_time(work, clock))
        timing = _timing(runs_s, "")
        half_width = (timing.high_s - timing.low_s) / 2 / timing.median_s if timing.median_s else 0.0
        if reason := _verdict(len(runs_s), sum(runs_s), half_width, rules):
            return _timing(runs_s, reason)


def measure_race(
    a: Work,
    b: Work,
    rules: Rules | None = None,
    clock: Clock = time.perf_counter,
) -> Race:
    """Interleaved measurement of two pieces of work."""
    rules = rules or Rules()
    for work in (a, b) * rules.warmups:
        work()
    a_s: list[float] = []
    b_s: list[float] = []
    while True:
        a_s.append(_time(a, clock))
        b_s.append(_time(b, clock))
        b_s.append(_time(b, clock))
        a_s.append(_time(a, clock))
        race = _race(a_s, b_s, "")
        half_width = (race.high - race.low) / 2 / race.speed_up
        if reason := _verdict(len(a_s), sum(a_s) + sum(b_s), half_width, rules):
            return _race(a_s, b_s, reason)


@dataclass(frozen=True)
class Rounds:
    """Several timings from one interleaved measurement. Runs 2k and 2k + 1 of each piece of work make up round k."""

    timings: Mapping[str, Timing]

    def times_faster(self, name: str, than: str) -> tuple[float, float, float]:
        """Median of `than` / median of `name`, with its interval from resampling whole rounds."""
        race = _race(self.timings[name].runs_s, self.timings[than].runs_s, "")
        return race.speed_up, race.low, race.high


def measure_rounds(works: Mapping[str, Work], rules: Rules | None = None, clock: Clock = time.perf_counter) -> Rounds:
    """Interleaved measurement of any number of pieces of work, in the order a, b, ..., z, z, ..., b, a.

    It ends when the ratio of the first to each other is narrow enough. ValueError: no work.
    """
    rules = rules or Rules()
    first, *others = works
    for work in [*works.values()] * rules.warmups:
        work()
    runs_s: dict[str, list[float]] = {name: [] for name in works}
    while True:
        for name in (*works, *reversed([*works])):
            runs_s[name].append(_time(works[name], clock))
        races = [_race(runs_s[name], runs_s[first], "") for name in others]
        half_width = max(((race.high - race.low) / 2 / race.speed_up for race in races), default=0.0)
        spent_s = sum(sum(own) for own in runs_s.values())
        if reason := _verdict(len(runs_s[first]), spent_s, half_width, rules):
            return Rounds({name: _timing(own, reason) for name, own in runs_s.items()})
