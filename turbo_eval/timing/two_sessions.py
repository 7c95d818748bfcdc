"""By how much do the medians of two independent measurements differ? Of sessions that were not interleaved.

In logs, each side's median is resampled on its own, run by run; with the standard deviations s_a and s_b of the
resampled medians of n_a and n_b runs, the interval is
    log(median a / median b) +- t_{0.975, nu} sqrt(s_a^2 + s_b^2),
    nu = (s_a^2 + s_b^2)^2 / (s_a^4 / (n_a - 1) + s_b^4 / (n_b - 1))          (Welch 1947, Satterthwaite 1946).
It covers, by simulation of 12,000 pairs each: 97.0 % at 6 runs of each, 95.6 at 10, 96.3 at 12, 95.2 at 20, 94.9 at 50,
95.3 at 12 against 60 (normal noise); with a tenth of the runs spoiled by spikes 97.0 at 12, 96.1 at 20, 95.3 at 50.
The noise within each session is all that it knows: what changes between two sessions is not in it (CAVEAT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turbo_eval.timing.intervals import MIN_RUNS, RESAMPLES, SEED, coefficient_of_variation, quantile_of_t
from turbo_eval.timing.power import smallest_found
from turbo_eval.timing.record import Ratio
from turbo_eval.timing.speed_ups import Verdict

CAVEAT = (
    "the two measurements were not interleaved: two sessions on one machine differ by more than the noise within each, "
    "which is all that these intervals know; what decides is the same comparison with --against, or both done again"
)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Of medians, new / old: 1.05 is 5 % slower. smallest_found: the slow-down that is found four times of five.

    It is power.py's for interleaved rows, which two sessions come near; None: too few runs for its formula. Where a
    side has too few for an interval all is None, but the ratio.
    """

    ratio: float
    interval: Ratio | None
    verdict: Verdict | None
    smallest_found: float | None


def change(old_s: Sequence[float], new_s: Sequence[float]) -> Change:
    """ValueError: a side without runs, or a time that is not positive."""
    ratio = independent_ratio(new_s, old_s)
    if ratio is None:
        return Change(float(np.median(new_s) / np.median(old_s)), None, None, None)
    sides = (old_s, new_s)
    cv = math.sqrt(sum(coefficient_of_variation(side) ** 2 for side in sides) / 2)
    runs = 2 * len(old_s) * len(new_s) // (len(old_s) + len(new_s))  # of equal sides that would be as sure as these
    found = smallest_found(cv, runs)
    return Change(ratio.ratio, ratio, _verdict(ratio), found if math.isfinite(found) else None)


def independent_ratio(a: Sequence[float], b: Sequence[float]) -> Ratio | None:
    """Median of a / median of b with its interval; None: a side has fewer than MIN_RUNS runs.

    ValueError: a side without runs, or a time that is not positive.
    """
    sides: list[Array] = [np.asarray(side, np.float64) for side in (a, b)]
    if not all(len(side) and (np.isfinite(side) & (side > 0)).all() for side in sides):
        raise ValueError("a time is not positive, or there is none")
    if min(len(side) for side in sides) < MIN_RUNS:
        return None
    logs = [np.log(side) for side in sides]
    log_ratio = float(np.median(logs[0]) - np.median(logs[1]))
    variances = [float(_resampled_medians(side).var(ddof=1)) for side in logs]
    half_width = 0.0
    if sum(variances):
        shares = sum(variance**2 / (len(side) - 1) for variance, side in zip(variances, logs, strict=True))
        half_width = quantile_of_t(sum(variances) ** 2 / shares) * math.sqrt(sum(variances))
    return Ratio(*(math.exp(log) for log in (log_ratio, log_ratio - half_width, log_ratio + half_width)))


def _verdict(ratio: Ratio) -> Verdict:
    if ratio.low > 1:
        return "slower"
    return "faster" if ratio.high < 1 else "no difference"


def _resampled_medians(values: Array) -> Array:
    """(B,) medians of the values drawn with replacement: sorted once, then counted."""
    ordered = np.sort(values)
    count_BN = _counts(len(values))
    lower, upper = ((count_BN >= rank).argmax(axis=1) for rank in ((len(values) + 1) // 2, len(values) // 2 + 1))
    return np.asarray((ordered[lower] + ordered[upper]) / 2)


@lru_cache(maxsize=32)
def _counts(runs: int) -> NDArray[np.int32]:
    """(B, n) how many of the k smallest values are drawn, in each resample."""
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)
    return np.cumsum(draws, axis=1, dtype=np.int32)
