"""Do intervals have their level, ratios their laws, and percentiles their floors?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_clock import Noise
from scipy.stats import binomtest

from turbo_eval.timing.intervals import (
    coefficient_of_variation,
    fewest_runs,
    median_interval,
    percentile,
    ratio_of_medians,
    theil_sen,
)


def test_the_floors_are_those_at_which_the_largest_run_is_a_95_percent_bound() -> None:
    assert [fewest_runs(p) for p in (90, 95, 99)] == [29, 59, 299]
    for p in (75, 90, 97.5, 99.9):
        assert 1 - (p / 100) ** fewest_runs(p) >= 0.95 > 1 - (p / 100) ** (fewest_runs(p) - 1)
    assert fewest_runs(10) == fewest_runs(90)
    for p in (0.9, 0, 100, -5):
        with pytest.raises(ValueError):
            fewest_runs(p)


def test_a_percentile_below_its_floor_is_none() -> None:
    runs = [float(k) for k in range(1, 60)]
    assert percentile(runs[:28], 90) is None and percentile(runs[:29], 90) is not None
    assert percentile(runs[:58], 95) is None
    assert percentile(runs, 95) == pytest.approx(0.95 * (59 + 1 / 3) + 1 / 3)
    assert percentile(runs, 99) is None


def test_the_median_needs_six_runs_for_an_interval() -> None:
    assert median_interval([3.0]) == (3.0, None, None)
    assert median_interval([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, None, None)
    median, low, high = median_interval([6.0, 5.0, 1.0, 2.0, 4.0, 3.0])
    assert median == 3.5 and low is not None and high is not None
    # Levels of 96.875 % and 78.125 %: at 5/14 of the way from the range to the next pair, by the formula of the paper.
    assert (low, high) == pytest.approx((1 + 5 / 14, 6 - 5 / 14))
    with pytest.raises(ValueError):
        median_interval([])


def test_intervals_move_and_scale_with_the_values_and_do_not_ask_for_their_order() -> None:
    runs = Noise("spiky", 0.05).draw((41,), np.random.default_rng(0))
    median, low, high = median_interval(runs)
    assert low is not None and high is not None and low < median < high
    assert median_interval(3 * runs[::-1] + 2) == pytest.approx((3 * median + 2, 3 * low + 2, 3 * high + 2))
    assert median_interval(np.ones(1500)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "spiky"])
@pytest.mark.parametrize("runs", [6, 9, 12, 25])
def test_the_median_s_interval_covers_it_in_95_of_100(kind: str, runs: int) -> None:
    noise = Noise(kind, 0.05)
    hits = 0
    for own in noise.draw((2000, runs), np.random.default_rng(20261123)):
        _, low, high = median_interval(own)
        assert low is not None and high is not None
        hits += low <= noise.median <= high
    covered = binomtest(hits, 2000).proportion_ci(0.99)
    assert covered.low <= 0.95 <= covered.high, hits / 2000


def test_a_ratio_turned_round_is_its_inverse_and_units_do_not_matter() -> None:
    a, b = Noise("lognormal", 0.03).draw((2, 20), np.random.default_rng(1)).tolist()
    ratio, inverse = ratio_of_medians(a, b), ratio_of_medians(b, a)
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((1 / inverse.ratio, 1 / inverse.high, 1 / inverse.low))
    in_ms = ratio_of_medians([1000 * s for s in a], [2000 * s for s in b])
    assert (in_ms.ratio, in_ms.low, in_ms.high) == pytest.approx((ratio.ratio / 2, ratio.low / 2, ratio.high / 2))
    assert ratio_of_medians(a, b) == ratio
    same = ratio_of_medians(a, a)
    assert (same.ratio, same.low, same.high) == (1, 1, 1)


def test_a_trend_that_both_share_changes_neither_the_ratio_nor_its_interval() -> None:
    a, b = Noise("normal", 0.02).draw((2, 20), np.random.default_rng(2))
    plain = ratio_of_medians(list(a), list(b))
    slower = np.exp(0.03 * (np.arange(20) // 2))
    drifted = ratio_of_medians(list(a * slower), list(b * slower))
    assert (drifted.ratio, drifted.low, drifted.high) == pytest.approx((plain.ratio, plain.low, plain.high))


def test_whole_rounds_are_drawn_so_what_a_round_s_runs_share_counts_once() -> None:
    own, other = Noise("normal", 0.02).draw((2, 20), np.random.default_rng(3))
    together, apart = np.repeat(own, 2), np.concatenate([own, own[::-1]])
    widths = []
    for a in (together, apart):
        ratio = ratio_of_medians(a.tolist(), np.full(40, other.mean()).tolist())
        widths.append(ratio.high - ratio.low)
    assert widths[0] > 1.2 * widths[1]


@pytest.mark.parametrize(
    "a,b",
    [([1.0] * 4, [1.0] * 4), ([1.0] * 7, [1.0] * 7), ([1.0] * 8, [1.0] * 6), ([1.0] * 5 + [0.0], [1.0] * 6)],
    ids=["two rounds", "half a round", "not interleaved", "no time"],
)
def test_what_has_no_ratio_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError):
        ratio_of_medians(a, b)


def test_spread_and_slope() -> None:
    assert coefficient_of_variation([1.0, 3.0]) == pytest.approx(math.sqrt(2) / 2)
    assert coefficient_of_variation([0.0, 0.0]) == 0
    with pytest.raises(ValueError):
        coefficient_of_variation([1.0])
    assert theil_sen(np.array([1.0, 3.0, 5.0, 100.0, 9.0])) == pytest.approx(2.0)
