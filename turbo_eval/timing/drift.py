"""Does the machine become slower or faster while it is measured?

Relative: the Theil-Sen slope (median of the slopes of all pairs of runs: Theil 1950, Sen 1968) from the first run to
the last, over the median run. Significant: Kendall's tau between a run's place and its time, p < 5 %, which is the same
pairs' test and asks nothing of the noise but that runs do not depend on one another. Flagged: both, more than 3 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from turbo_eval.timing.intervals import theil_sen

LEVEL = 0.05
MIN_RUNS = 5  # of 4 runs even the steadiest rise has p = 0.083


@dataclass(frozen=True)
class Drift:
    """relative: change from first to last run, over the median; 0.05: 5 % slower at the end."""

    relative: float
    significant: bool

    def exceeds(self, share: float) -> bool:
        """Whether there is one for sure, and larger than this share of the median."""
        return self.significant and abs(self.relative) > share


def drift_of(values: Sequence[float]) -> Drift:
    """values: in measured order, positive. Fewer than MIN_RUNS tell nothing: no drift."""
    runs = np.asarray(values, np.float64)
    if len(runs) < MIN_RUNS or not np.ptp(runs):
        return Drift(0.0, False)
    from scipy.stats import kendalltau

    relative = theil_sen(runs) * (len(runs) - 1) / float(np.median(runs))
    return Drift(relative, bool(kendalltau(np.arange(len(runs)), runs).pvalue < LEVEL))
