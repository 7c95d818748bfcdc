r"""How small a slow-down can so many runs find, and how many runs find one of 5 %?

Found: the interval of `intervals.ratio_of_medians` excludes 1. Two rows of n runs each, K = n / 2 rounds, noise of
coefficient of variation cv. The median of an even number n of normal values has the variance
    v = pi sigma^2 / (2 n + pi):
the median of n uniform numbers has n / (4 (n + 1) (n + 2)); divided by the squared normal density at 0, with the same
expansion in 1 / n that gives the known pi sigma^2 / (2 n + pi - 2) of an odd n (Kenney and Keeping 1962). So the
logarithm of the ratio has the standard deviation sqrt(2 v), and 1 is excluded as by a two-sided t test:
    power = P(|Z + log(1 + slow_down) / sqrt(2 v)| > t_{0.975, nu} sqrt(chi^2_nu / nu))
    nu = min(K - 1.25, 2.25 sqrt(K)).
nu: how well the resampled spread of a median is known. For many runs it grows as sqrt(n), because its relative error
falls only as n^(-1/4) (Hall and Martin 1988); both numbers were fitted to simulation. It is within 2.5 points of the
simulated ratio (12,000 pairs of rows each, cv 1-8 %, a slow-down of 5 %, n from 10 to 60).
Noise with heavier tails has a larger cv than its middle deserves: then more is found than is said here.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turbo_eval.timing.intervals import LEVEL

MIN_RUNS = 10
MOST_RUNS = 1_000_000
_CELLS = 400


def power(cv: float, slow_down: float, runs: int) -> float:
    """Probability that a slow-down is found. slow_down: 0.05 is 5 %. runs: of each row, two a round.

    With no slow-down it is the rate of false alarms. 0 with fewer than MIN_RUNS, for which the formula does not hold.
    """
    return _power(cv, slow_down, runs)


def _power(cv: float, slow_down: float, runs: int) -> float:
    rounds = runs // 2
    if runs < MIN_RUNS:
        return 0.0
    if cv <= 0:
        return float(slow_down != 0)
    from scipy.special import ndtr

    far = math.log1p(slow_down) / (cv * math.sqrt(2 * math.pi / (4 * rounds + math.pi)))
    bounds = _bounds(rounds)
    return float(np.mean(ndtr(far - bounds) + ndtr(-far - bounds)))


@lru_cache(maxsize=64)
def _bounds(rounds: int) -> NDArray[np.float64]:
    """t quantile x estimated / true standard deviation, at the middles of cells of equal probability."""
    from scipy.special import gammaincinv, stdtrit

    degrees = min(rounds - 1.25, 2.25 * math.sqrt(rounds))
    chi_squared = 2 * gammaincinv(degrees / 2, (np.arange(_CELLS) + 0.5) / _CELLS)
    return np.asarray(stdtrit(degrees, (1 + LEVEL) / 2) * np.sqrt(chi_squared / degrees), np.float64)


def runs_needed(cv: float, slow_down: float = 0.05, power: float = 0.8) -> int | None:
    """Fewest runs of each row (even) that find it so often, or None: more than MOST_RUNS."""
    low, high = MIN_RUNS // 2 - 1, MIN_RUNS // 2
    while _power(cv, slow_down, 2 * high) < power:
        if 2 * high > MOST_RUNS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(cv, slow_down, 2 * middle) >= power else (middle, high)
    return 2 * high


def smallest_found(cv: float, runs: int, power: float = 0.8) -> float:
    """Smallest slow-down that is found so often; inf with fewer than MIN_RUNS, 0 without noise."""
    if runs < MIN_RUNS:
        return math.inf
    if cv <= 0:
        return 0.0
    low, high = 0.0, cv
    while _power(cv, high, runs) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(cv, middle, runs) >= power else (middle, high)
    return high
