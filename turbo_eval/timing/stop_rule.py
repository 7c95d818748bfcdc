r"""When is a work warm, and when has it been measured often enough?

Warm: at least `min_warmups` calls, and on until the last three of each differ by less than `steady` ((largest -
smallest) / median), at most `max_warmups` calls and `warmup_share` of the time limit. Measured: at least `min_runs` of
each, then on until the 95 % interval of every median is within +-`half_width` of it, or time is up; at most `max_runs`,
so that it ends for any work and any clock.

An interval that is looked at again and again until it is narrow is narrow by luck more often than it should be:
stopping by its own width alone, from 10 runs on and looked at after each round, it covers 91.8 % (noise of 3 %, 8,000
measurements). So the width that is asked for is the larger of two: the interval's own, and
    z_0.975 * sqrt(pi / (2 n)) * sigma / median, sigma = (1 + z_0.9 * 0.89 / sqrt(n)) * (x_90% - x_10%) / (2 z_0.9):
what normal noise as strong as the upper 90 % bound of the measured one would give; the spread x_90% - x_10% of n normal
runs has a relative standard error of 0.89 / sqrt(n), that of the interval's own width is twice to three times as large.
It is looked at when the number of runs has grown by a quarter, from 12 runs on. Then it covers 93.8-94.6 % (normal
noise and spikes, 1.25-5 %, 12,000 measurements each), for half again as many runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from turbo_eval.timing.intervals import MIN_RUNS, median_interval

INTERRUPTED = "interrupted"
LAST = 3
_Z_INTERVAL, _Z_SPREAD = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.9)


@dataclass(frozen=True)
class Rules:
    """When to stop. max_s: seconds for all together, warm-up included.

    The fewest warm-ups and runs are measured even beyond it: of calls that take longer than max_s / 15 or so it is no
    limit, and what ends such a measurement is a signal.
    """

    min_warmups: int = 3
    max_warmups: int = 10
    warmup_share: float = 0.25
    steady: float = 0.02
    min_runs: int = 12
    max_runs: int = 1000
    max_s: float = 60.0
    half_width: float = 0.01

    @property
    def fewest_runs(self) -> int:
        """How many are measured in any case: whole rounds, and enough for an interval."""
        return _even(max(self.min_runs, MIN_RUNS))

    def is_warm(self, warmups_s: Sequence[Sequence[float]], spent_s: float) -> bool:
        """warmups_s: of each work so far, as many of each."""
        count = min((len(own) for own in warmups_s), default=0)
        if count >= self.max_warmups:
            return True
        if count < self.min_warmups:
            return False
        return spent_s >= self.warmup_share * self.max_s or all(self._was_steady(own) for own in warmups_s)

    def _was_steady(self, own: Sequence[float]) -> bool:
        """Whether three in a row once were: two noisy works would hardly ever be so at the same time."""
        windows = (sorted(own[end - LAST : end]) for end in range(LAST, len(own) + 1))
        return len(own) < LAST or any(high - low < self.steady * middle for low, middle, high in windows)

    def next_look(self, runs: int) -> int:
        """At how many runs to look again."""
        return _even(max(runs * 5 // 4, runs + 2))

    def why_stop(self, walls_s: Sequence[Sequence[float]], spent_s: float, *, look: bool) -> str:
        """Which rule ends the measurement now, or nothing. look: whether the intervals are looked at."""
        runs = len(walls_s[0])
        if runs < self.fewest_runs:
            return ""
        at_end = spent_s >= self.max_s or runs >= self.max_runs
        if (look or at_end) and all(relative_half_width(own) <= self.half_width for own in walls_s):
            return f"interval within +-{self.half_width:.1%}"
        if spent_s >= self.max_s:
            beyond = f", with the fewest runs ({runs})" if runs == self.fewest_runs else ""
            return f"time limit of {self.max_s:g} s{beyond}"
        return f"limit of {self.max_runs} runs" if at_end else ""


def _even(count: int) -> int:
    return count + count % 2


def relative_half_width(values: Sequence[float]) -> float:
    """Of the median's 95 % interval: its own or the one expected of such noise, whichever is larger."""
    ordered = np.sort(np.asarray(values, np.float64))
    median, low, high = median_interval(ordered)
    if low is None or high is None:
        return math.inf
    n = len(ordered)
    place = 0.1 * (n - 1)
    under = int(place)
    part = place - under
    tenth = ordered[under] + part * (ordered[under + 1] - ordered[under])
    ninetieth = ordered[n - 1 - under] - part * (ordered[n - 1 - under] - ordered[n - 2 - under])
    sigma = (1 + _Z_SPREAD * 0.89 / math.sqrt(n)) * (ninetieth - tenth) / (2 * _Z_SPREAD)
    expected = _Z_INTERVAL * math.sqrt(math.pi / (2 * n)) * sigma
    half_width = float(max((high - low) / 2, expected))
    if not half_width:
        return 0.0
    return half_width / median if median > 0 else math.inf
