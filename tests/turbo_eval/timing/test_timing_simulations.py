"""Do intervals, verdicts and the plan hold in whole measurements, through the engine and its stop rule?

Works with known noise on a clock that only they move. Seeds were fixed beforehand; rates are judged by their binomial
interval. The slow test prints the whole grid: `pytest -m slow -s tests/turbo_eval/timing/test_timing_simulations.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from fake_clock import Array, Noise, simulate
from scipy.stats import binomtest

from turbo_eval.timing.drift import drift_of
from turbo_eval.timing.intervals import median_interval, ratio_of_medians
from turbo_eval.timing.measure import Measured, collector_off
from turbo_eval.timing.power import power
from turbo_eval.timing.record import WALL
from turbo_eval.timing.speed_ups import verdict
from turbo_eval.timing.stop_rule import Rules
from turbo_eval.timing.validity import ALLOWED

N, SEED = 2000, 20261124
FOREVER = 1e9


def fixed(runs: int) -> Rules:
    """So many runs of each, whatever they say."""
    return Rules(min_runs=runs, max_runs=runs, max_warmups=3)


def two_rows(noise: Noise, most: int, slower: float = 1.0, count: int = N) -> Array:
    """(M, 2, N) seconds; the second row's longer."""
    return noise.draw((count, 2, most), np.random.default_rng(SEED)) * np.array([[1.0], [slower]])


def holds(hits: int, low: float, high: float, count: int = N) -> bool:
    """Whether a true rate within [low, high] may give so many hits (99 %)."""
    interval = binomtest(hits, count).proportion_ci(0.99)
    return bool(interval.low <= high and interval.high >= low)


def tally(measurements: Iterable[Measured], median: float, ratio: float) -> Counter[str]:
    """How often each interval covered, each verdict came, each rule ended it; runs."""
    found: Counter[str] = Counter()
    with collector_off():
        for measured in measurements:
            first, *others = (own[WALL] for own in measured.runs_s.values())
            _, low, high = median_interval(first)
            assert low is not None and high is not None
            found["median"] += low <= median <= high
            found[measured.stopped_by] += 1
            found["runs"] += len(first)
            if not others:
                continue
            between = ratio_of_medians(first, others[0])
            found["ratio"] += between.low <= ratio <= between.high
            found[verdict(between)] += 1
    return found


def test_under_the_stop_rule_intervals_cover_and_a_model_does_not_differ_from_itself() -> None:
    noise = Noise("spiky", 0.01)
    found = tally(simulate(two_rows(noise, 400), Rules(max_s=FOREVER)), noise.median, 1.0)
    assert found["interval within +-1.0%"] == N
    assert holds(found["median"], 0.93, 0.97) and holds(found["ratio"], 0.93, 0.97)
    assert holds(found["no difference"], 0.94, 0.96), found


def test_a_slow_down_of_five_percent_is_found_as_often_as_the_plan_says() -> None:
    found = tally(simulate(two_rows(Noise("normal", 0.04), 23, slower=1.05), fixed(20)), 1.0, 1 / 1.05)
    planned = power(0.04, 0.05, 20)
    assert 0.7 < planned < 0.9
    assert holds(found["slower"], planned - 0.03, planned + 0.03), (found, planned)
    assert found["faster"] <= 0.001 * N and holds(found["ratio"], 0.93, 0.97)


KINDS, CVS = ("normal", "lognormal", "spiky"), (0.01, 0.015, 0.02, 0.03, 0.05)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_coverage_and_false_alarms_over_the_grid() -> None:
    print("\nunder the stop rule\nnoise      cv %  alone %  runs  median %  ratio %  runs  ended by")
    wrong = []
    for kind in KINDS:
        for cv in CVS:
            noise = Noise(kind, cv)
            runs = two_rows(noise, 1010)
            alone = tally(simulate(runs[:, :1], Rules(max_s=FOREVER)), noise.median, 1.0)
            found = tally(simulate(runs, Rules(max_s=FOREVER)), noise.median, 1.0)
            median, ratio = (100 * found[what] / N for what in ("median", "ratio"))
            reasons = {why: times for why, times in found.items() if "interval" in why or "limit" in why}
            first = f"{kind:10} {100 * cv:4.1f}  {100 * alone['median'] / N:7.1f}  {alone['runs'] / N:4.0f}"
            print(f"{first}  {median:8.1f}  {ratio:7.1f}  {found['runs'] / N:4.0f}  {reasons}")
            if not all(holds(hits, 0.93, 0.97) for hits in (alone["median"], found["median"], found["ratio"])):
                wrong.append((kind, cv, alone, found))
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ratios_of_few_rounds_and_under_a_drift_that_both_share() -> None:
    print("\nfew rounds\nnoise      cv %  drift %  rounds  ratio %")
    wrong = []
    for kind, cv, drift in [(kind, 0.03, 0.0) for kind in KINDS] + [("normal", 0.02, 0.03), ("normal", 0.01, 0.1)]:
        for rounds in (5, 6, 8, 10, 15):
            each_100 = drift * 100 / (2 * rounds)
            runs = two_rows(Noise(kind, cv), 2 * rounds + 3)
            found = tally(simulate(runs, fixed(2 * rounds), each_100), 1.0, 1.0)
            covered = 100 * found["ratio"] / N
            print(f"{kind:10} {100 * cv:4.1f}  {100 * drift:7.1f}  {rounds:6}  {covered:7.1f}")
            if not holds(found["ratio"], 0.93, 0.97):
                wrong.append((kind, cv, drift, rounds, covered))
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_plan_is_within_three_points_over_the_grid() -> None:
    print("\na slow-down of 5 %\nruns  cv %  found %  planned %")
    wrong = []
    for runs in (10, 12, 16, 20, 30, 40, 60):
        for cv in (0.01, 0.02, 0.03, 0.04, 0.06, 0.08):
            found = tally(simulate(two_rows(Noise("normal", cv), runs + 3, slower=1.05), fixed(runs)), 1.0, 1 / 1.05)
            planned = power(cv, 0.05, runs)
            print(f"{runs:4}  {100 * cv:4.0f}  {100 * found['slower'] / N:7.1f}  {100 * planned:9.1f}")
            if not holds(found["slower"], planned - 0.03, planned + 0.03):
                wrong.append((runs, cv, found["slower"] / N, planned))
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_drift_is_flagged_through_the_engine() -> None:
    print("\ndrift\ncv %  runs  drift %  significant %  flagged %")
    wrong = []
    for cv in (0.01, 0.03):
        for runs in (12, 20, 40):
            for drift in (0.0, 0.05, 0.1):
                noise = two_rows(Noise("normal", cv), runs + 3)
                seen = simulate(noise, fixed(runs), drift * 100 / runs)
                with collector_off():
                    found = [drift_of(measured.runs_s["0"][WALL]) for measured in seen]
                certain, flagged = sum(d.significant for d in found), sum(d.exceeds(ALLOWED.drift) for d in found)
                shares = f"{100 * certain / N:13.1f}  {100 * flagged / N:9.1f}"
                print(f"{100 * cv:4.0f}  {runs:4}  {100 * drift:7.0f}  {shares}")
                if (not drift and not holds(certain, 0.04, 0.06)) or (
                    drift > 0.05 and cv < 0.02 and flagged < 0.99 * N
                ):
                    wrong.append((cv, runs, drift, certain, flagged))
    assert not wrong
