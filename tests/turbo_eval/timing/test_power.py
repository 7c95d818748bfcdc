"""Does the plan keep its laws? (That the figures are right: test_timing_simulations.py.)"""

from __future__ import annotations

import math

import pytest

from turbo_eval.timing.power import power, runs_needed, smallest_found


def test_without_a_slow_down_it_is_the_rate_of_false_alarms() -> None:
    for runs in (10, 12, 60, 400):
        assert power(0.03, 0.0, runs) == pytest.approx(0.05, abs=0.002)


def test_more_runs_less_noise_and_a_larger_slow_down_are_found_more_often() -> None:
    assert all(power(0.04, 0.05, n) < power(0.04, 0.05, n + 2) for n in range(10, 80, 2))
    assert all(power(cv / 100, 0.05, 20) >= power((cv + 1) / 100, 0.05, 20) for cv in range(1, 12))
    assert all(power(0.04, d / 100, 20) < power(0.04, (d + 1) / 100, 20) for d in range(8))


def test_the_runs_that_are_needed_are_enough_and_two_fewer_are_not() -> None:
    for cv in (0.01, 0.03, 0.05, 0.08):
        needed = runs_needed(cv)
        assert needed is not None and needed % 2 == 0
        assert power(cv, 0.05, needed) >= 0.8
        assert needed == 10 or power(cv, 0.05, needed - 2) < 0.8


def test_the_smallest_that_is_found_is_found_four_times_of_five() -> None:
    for runs in (10, 12, 40):
        assert power(0.03, smallest_found(0.03, runs), runs) == pytest.approx(0.8, abs=1e-6)
    assert power(0.03, smallest_found(0.03, 20, 0.95), 20) == pytest.approx(0.95, abs=1e-6)


def test_the_ends_of_the_scale() -> None:
    assert power(0.03, 0.05, 8) == 0 and smallest_found(0.03, 8) == math.inf
    assert power(0.0, 0.05, 10) == 1 and power(0.0, 0.0, 10) == 0 and smallest_found(0.0, 10) == 0
    assert runs_needed(0.05, 0.0) is None
