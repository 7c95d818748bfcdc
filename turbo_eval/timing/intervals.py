r"""How sure are we of a median, of a percentile and of a ratio of medians?

Median: the interval of order statistics, whose level binomial tails give for any noise, interpolated between the two
neighbouring levels (Hettmansperger and Sheather 1986, Confidence intervals based on interpolated order statistics). It
needs n >= 6: below, even the whole range covers with 1 - 2 * 0.5^n < 95 %. Percentile: given from the n on at which
the largest run is above it with 95 %, 1 - p^n >= 0.95, as Hyndman and Fan's (1996) median-unbiased estimate.

Ratio: rows are measured interleaved, in rounds of two runs of each (measure.py), so that a slow change of the machine
falls on all. In logs, the trend that both rows share (Theil-Sen over rounds) is taken out, whole rounds are drawn with
replacement, and with the standard deviation s of the resampled differences of medians, K rounds, the interval is
    log ratio +- t_{0.975, K-2} * s
(Davison and Hinkley, Bootstrap Methods, section 5.2, with Student's t; two degrees of freedom go into level and trend).
Chosen by simulation, normal noise, 12,000 pairs each: it covers 94.5-95.6 % at 10, 12, ..., 60 runs of each, 96.7 at 8
and 99.6 at 6. A percentile interval at 10 runs: 85 %, with expanded levels (stats.py) 92; if the trend were left in, a
drift of 10 % would widen it to a coverage of 97-99 %.
The draws depend on the number of rounds alone: the same runs give the same interval.
Shape legend: B resamples, K rounds, n runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbo_eval.timing.record import Ratio

LEVEL, RESAMPLES, SEED = 0.95, 1000, 0
MIN_RUNS = math.ceil(math.log2(2 / (1 - LEVEL)))
MIN_ROUNDS = 3  # two are no more than a trend

Array = NDArray[np.float64]


@lru_cache(maxsize=4096)
def _order_statistics(runs: int) -> tuple[int, float]:
    """d, weight: the lower bound is (1 - weight) x_(d) + weight x_(d+1); the upper one mirrors it. runs >= MIN_RUNS.

    Level of [x_(d), x_(n+1-d)]: 1 - 2 P(Binomial(n, 1/2) < d); exact integers, so that n may be large.
    """
    below, choices, d = 1, runs, 1  # of 2^n cases: fewer than d successes; exactly d
    while 2 * (below + choices) / 2**runs <= 1 - LEVEL:
        below += choices
        choices = choices * (runs - d) // (d + 1)
        d += 1
    level, next_level = (1 - 2 * (cases / 2**runs) for cases in (below, below + choices))
    over = (level - LEVEL) / (level - next_level)
    return d, (runs - d) * over / (d + (runs - 2 * d) * over)


def median_interval(values: ArrayLike) -> tuple[float, float | None, float | None]:
    """Median, low and high in the values' unit; None for both with fewer than MIN_RUNS. ValueError: no value."""
    ordered: Array = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if not n:
        raise ValueError("no runs have no median")
    median = float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if n < MIN_RUNS:
        return median, None, None
    d, weight = _order_statistics(n)
    low = ordered[d - 1] + weight * (ordered[d] - ordered[d - 1])
    high = ordered[n - d] - weight * (ordered[n - d] - ordered[n - d - 1])
    return median, float(low), float(high)


def fewest_runs(p: float) -> int:
    """From how many runs on the p-th percentile may be given. p in percent; ValueError: not between 1 and 99.99."""
    if not 1 <= p <= 99.99:
        raise ValueError(f"{p} is no percentile: between 1 and 99.99 is expected")
    return math.ceil(math.log(1 - LEVEL) / math.log(max(p, 100 - p) / 100))


def percentile(values: Sequence[float], p: float) -> float | None:
    """The p-th percentile (p = 90: nine runs of ten are faster), or None below its floor."""
    if len(values) < fewest_runs(p):
        return None
    return float(np.percentile(values, p, method="median_unbiased"))


def coefficient_of_variation(values: ArrayLike) -> float:
    """Standard deviation / mean; 0 where all are equal, be it to 0. ValueError: fewer than two values."""
    runs: Array = np.asarray(values, np.float64)
    if len(runs) < 2:
        raise ValueError(f"the spread of {len(runs)} runs is not known")
    return float(runs.std(ddof=1) / runs.mean()) if np.ptp(runs) else 0.0


def theil_sen(values: Array) -> float:
    """Change from one value to the next along the last axis: the median of all pairs' slopes, of all rows together."""
    first, second = _pairs(values.shape[-1])
    return float(np.median((values[..., second] - values[..., first]) / (second - first)))


@lru_cache(maxsize=8)
def _pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.triu_indices(count, 1)
    return first, second


@lru_cache(maxsize=32)
def _draws(rounds: int) -> NDArray[np.int16]:
    """(B, K) how often each round is drawn in each resample."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(rounds, np.full(rounds, 1 / rounds), size=RESAMPLES).astype(np.int16)


def _resampled_medians(values: Array) -> Array:
    """(B,) medians of (2K,) values under the draws of whole rounds: sorted once, then counted."""
    rounds = len(values) // 2
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    count_BN = np.cumsum(_draws(rounds)[:, order // 2], axis=1, dtype=np.int16)
    lower, upper = ((count_BN >= rank).argmax(axis=1) for rank in (rounds, rounds + 1))
    return np.asarray((ordered[lower] + ordered[upper]) / 2)


def ratio_of_medians(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Median of a / median of b, a trend that both share taken out. Runs 2k and 2k + 1 of each are of round k.

    ValueError: numbers of runs that are odd or differ, fewer than MIN_ROUNDS rounds, or a value that is not positive.
    """
    rounds = len(a) // 2
    if len(a) != len(b) or len(a) % 2 or rounds < MIN_ROUNDS:
        raise ValueError(f"{len(a)} and {len(b)} runs: as many of each are expected, two a round, {MIN_ROUNDS} rounds")
    times: Array = np.asarray([a, b], np.float64)
    if not (np.isfinite(times) & (times > 0)).all():
        raise ValueError("a time is not positive, or no number")
    logs = np.log(times)
    per_round = theil_sen(logs.reshape(2, rounds, 2).mean(axis=-1))
    a_log, b_log = logs - per_round * (np.arange(2 * rounds) // 2)
    log_ratio = float(np.median(a_log) - np.median(b_log))
    spread = float((_resampled_medians(a_log) - _resampled_medians(b_log)).std(ddof=1))
    half_width = quantile_of_t(rounds - 2) * spread
    return Ratio(*(math.exp(log) for log in (log_ratio, log_ratio - half_width, log_ratio + half_width)))


@lru_cache(maxsize=4096)
def quantile_of_t(degrees: float) -> float:
    """Half the width of a LEVEL interval in standard deviations, for a spread known with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + LEVEL) / 2))
