"""Is a machine that slows down told from one that is noisy?"""

from __future__ import annotations

import numpy as np
import pytest
from fake_clock import Noise
from scipy.stats import binomtest

from turbo_eval.timing.drift import Drift, drift_of
from turbo_eval.timing.validity import ALLOWED


def test_the_change_is_that_from_the_first_run_to_the_last() -> None:
    rising = drift_of([1.0 + 0.01 * k for k in range(11)])
    assert rising.relative == pytest.approx(0.1 / 1.05) and rising.significant and rising.exceeds(ALLOWED.drift)
    falling = drift_of([1.0 - 0.01 * k for k in range(11)])
    assert falling.relative == pytest.approx(-0.1 / 0.95) and falling.exceeds(ALLOWED.drift)


def test_a_small_change_may_be_certain_and_is_not_flagged() -> None:
    small = drift_of([1.0 + 0.001 * k for k in range(21)])
    assert small.significant and not small.exceeds(ALLOWED.drift)


def test_a_single_stall_and_too_few_runs_are_no_drift() -> None:
    assert not drift_of([1.0] * 10 + [9.0]).significant
    assert drift_of([1.0, 2.0, 3.0, 4.0]) == Drift(0.0, False)
    assert drift_of([]) == drift_of([1.0] * 9) == Drift(0.0, False)
    assert drift_of([1.0, 2.0, 3.0, 4.0, 5.0]).exceeds(ALLOWED.drift)


def test_no_drift_is_called_one_at_the_nominal_rate_and_one_of_ten_percent_is_found() -> None:
    noise = Noise("normal", 0.03).draw((2000, 20), np.random.default_rng(4))
    still = [drift_of(runs.tolist()) for runs in noise]
    alarms = binomtest(sum(drift.significant for drift in still), 2000).proportion_ci(0.99)
    assert alarms.low <= 0.05 <= alarms.high
    assert sum(drift.exceeds(ALLOWED.drift) for drift in still) <= sum(drift.significant for drift in still)
    rising = noise[:500] * np.linspace(0.95, 1.05, 20)
    found = binomtest(sum(drift_of(runs.tolist()).exceeds(ALLOWED.drift) for runs in rising), 500).proportion_ci(0.99)
    assert found.low > 0.9
