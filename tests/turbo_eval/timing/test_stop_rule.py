"""Does every measurement end, and for the reason that it gives?"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from fake_clock import FakeClock, Noise

from turbo_eval.timing.intervals import median_interval
from turbo_eval.timing.measure import measure_rounds
from turbo_eval.timing.record import WALL
from turbo_eval.timing.stop_rule import Rules, relative_half_width


def test_warm_is_when_the_last_three_differ_by_less_than_two_percent() -> None:
    rules = Rules()
    assert not rules.is_warm([[1.0, 1.0]], 0.0)
    assert rules.is_warm([[1.0, 1.0, 1.019]], 0.0)
    assert not rules.is_warm([[1.0, 1.0, 1.021]], 0.0)
    assert not rules.is_warm([[3.0, 2.0, 1.0, 1.0]], 0.0) and rules.is_warm([[3.0, 2.0, 1.0, 1.0, 1.0]], 0.0)


def test_each_work_warms_in_its_own_time() -> None:
    rules = Rules()
    early, late = [1.0, 1.0, 1.0, 1.5], [3.0, 2.0, 2.0, 2.0]
    assert rules.is_warm([early, late], 0.0)
    assert not rules.is_warm([early[:3], late[:3]], 0.0)


def test_warm_up_ends_at_its_most_calls_and_at_its_share_of_the_time() -> None:
    rules = Rules(max_s=40.0, warmup_share=0.25, max_warmups=6)
    noisy = [1.0, 2.0] * 3
    assert not rules.is_warm([noisy[:5]], 9.9) and rules.is_warm([noisy[:5]], 10.0)
    assert rules.is_warm([noisy], 0.0)
    assert not rules.is_warm([noisy[:2]], 1000.0)
    assert Rules(min_warmups=0).is_warm([[], []], 0.0)


def test_the_reason_is_the_rule_that_ended_it() -> None:
    rules = Rules(min_runs=6, max_s=60.0, max_runs=100)
    steady, noisy = [1.0] * 6, [1.0, 2.0] * 3
    assert rules.why_stop([steady], 0.0, look=True) == "interval within +-1.0%"
    assert rules.why_stop([steady], 0.0, look=False) == ""
    assert rules.why_stop([steady, noisy], 0.0, look=True) == ""
    assert rules.why_stop([steady, noisy], 60.0, look=False) == "time limit of 60 s, with the fewest runs (6)"
    assert rules.why_stop([noisy, noisy * 2], 60.0, look=False).startswith("time limit")
    assert rules.why_stop([noisy * 2], 60.0, look=False) == "time limit of 60 s"
    assert rules.why_stop([steady, steady], 60.0, look=False) == "interval within +-1.0%"
    assert rules.why_stop([noisy * 17], 0.0, look=False) == "limit of 100 runs"
    assert rules.why_stop([steady[:4]], 1000.0, look=True) == ""


def test_beyond_the_time_limit_a_very_slow_work_is_called_the_fewest_times_and_no_more() -> None:
    clock = FakeClock()
    rules = Rules(max_s=10.0)
    works = {"slow": clock.staged([100.0, 150.0] * 50), "fast": clock.staged([0.1] * 100)}
    measured = measure_rounds(works, rules, clock)
    assert measured.stopped_by == "time limit of 10 s, with the fewest runs (12)"
    assert {len(own) for own in measured.warmups_s.values()} == {rules.min_warmups}
    assert {len(own[WALL]) for own in measured.runs_s.values()} == {rules.fewest_runs}


def test_the_fewest_runs_are_whole_rounds_and_enough_for_an_interval() -> None:
    assert [Rules(min_runs=count).fewest_runs for count in (0, 6, 7, 12)] == [6, 6, 8, 12]


def test_looks_are_ever_rarer_and_at_whole_rounds() -> None:
    looks = [Rules().fewest_runs]
    while looks[-1] < 1000:
        looks.append(Rules().next_look(looks[-1]))
    assert all(one % 2 == 0 and one < other for one, other in pairwise(looks))
    assert len(looks) < 25


def test_the_width_is_never_less_than_the_interval_s_own() -> None:
    for runs in Noise("spiky", 0.03).draw((200, 15), np.random.default_rng(3)):
        median, low, high = median_interval(runs)
        assert low is not None and high is not None
        assert relative_half_width(runs.tolist()) >= (high - low) / 2 / median > 0
    lucky = [0.9, 0.9, *[1.0] * 8, 1.1, 1.1]
    assert median_interval(lucky) == (1.0, 1.0, 1.0) and relative_half_width(lucky) > 0.05
    assert relative_half_width([0.0] * 8) == 0
    assert relative_half_width([1.0] * 5) == math.inf
    assert relative_half_width([-1.0, 1.0] * 4) == math.inf


WORKS = {
    "constant": [1.0],
    "nothing": [0.0],
    "ever slower": [1.0 + k for k in range(60)],
    "two speeds": [1.0, 2.0],
    "one stall": [1.0] * 11 + [500.0],
    "tiny": [1e-9, 3e-9],
}


@pytest.mark.parametrize("seconds", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("stands_still", [False, True])
def test_it_ends_for_any_work_even_by_a_clock_that_stands_still(seconds: list[float], stands_still: bool) -> None:
    clock = FakeClock()
    work = clock.staged(seconds[k % len(seconds)] for k in range(10**6))
    rules = Rules(max_runs=200, max_s=30.0)
    measured = measure_rounds({"work": work}, rules, (lambda: 0.0) if stands_still else clock)
    runs = len(measured.runs_s["work"][WALL])
    assert rules.fewest_runs <= runs <= rules.max_runs
    assert len(measured.warmups_s["work"]) <= rules.max_warmups
    why = measured.stopped_by.partition(",")[0]
    assert why in {"interval within +-1.0%", "time limit of 30 s", "limit of 200 runs"}
    if measured.stopped_by.startswith("limit"):
        assert runs == 200
    if measured.stopped_by.startswith("time"):
        assert clock.now >= 30.0 and not stands_still
