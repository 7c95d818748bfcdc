"""Do the intervals mean what they say? Laws of the estimator, and coverage over simulated data sets."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.stats import binomtest

from turbo_eval.stats import (
    MIN_CLUSTERS,
    bootstrap_bounds,
    cluster_bootstrap_mean,
    paired_difference,
    resampling_weights,
)


def prompts(count: int, samples: int) -> list[str]:
    return [f"p{i:03d}" for i in range(count) for _ in range(samples)]


def test_the_order_of_the_clips_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    pairs = list(zip(rng.normal(size=60).tolist(), prompts(20, 3), strict=True))
    straight = cluster_bootstrap_mean([v for v, _ in pairs], [p for _, p in pairs])
    random.Random(1).shuffle(pairs)
    assert cluster_bootstrap_mean([v for v, _ in pairs], [p for _, p in pairs]) == straight


def test_shift_and_scale_carry_over() -> None:
    values = np.random.default_rng(0).normal(size=40)
    base = cluster_bootstrap_mean(values.tolist(), prompts(40, 1))
    moved = cluster_bootstrap_mean((3 + 2 * values).tolist(), prompts(40, 1))
    assert base.low is not None and base.high is not None and base.low < base.mean < base.high
    assert (moved.low, moved.high) == pytest.approx((3 + 2 * base.low, 3 + 2 * base.high))


def test_equal_values_have_an_interval_of_no_width() -> None:
    interval = cluster_bootstrap_mean([0.1] * 30, prompts(10, 3))
    assert interval.mean == pytest.approx(0.1)
    assert interval.low == pytest.approx(0.1, abs=1e-15) and interval.high == pytest.approx(0.1, abs=1e-15)


def test_another_seed_gives_other_draws_and_the_same_seed_the_same() -> None:
    values = np.random.default_rng(0).normal(size=40).tolist()
    first, again, other = (cluster_bootstrap_mean(values, prompts(40, 1), seed=s) for s in (0, 0, 1))
    assert first == again and first.mean == other.mean and first.low != other.low


def test_too_few_prompts_have_a_mean_but_no_interval() -> None:
    few = cluster_bootstrap_mean([1.0, 2.0] * (MIN_CLUSTERS - 1), prompts(MIN_CLUSTERS - 1, 2))
    assert (few.mean, few.low, few.high, few.n) == (1.5, None, None, 2 * MIN_CLUSTERS - 2)
    assert cluster_bootstrap_mean([1.0] * MIN_CLUSTERS, prompts(MIN_CLUSTERS, 1)).low == 1.0


@pytest.mark.parametrize("values,clusters", [([], []), ([1.0], []), ([math.nan], ["p"])])
def test_no_values_and_no_numbers_are_refused(values: list[float], clusters: list[str]) -> None:
    with pytest.raises(ValueError):
        cluster_bootstrap_mean(values, clusters)


def test_every_resample_draws_as_many_prompts_as_there_are() -> None:
    weights = resampling_weights(12, seed=0, resamples=500)
    assert (weights.sum(axis=1) == 12).all() and weights.mean() == 1.0


def simulate(count: int, samples: int, datasets: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """(prompts, samples, datasets): a prompt's effect with variance 1 and a clip's with variance 1; mean 0."""
    rng = np.random.default_rng(20250101)
    return rng.normal(size=(count, 1, datasets)) + rng.normal(size=(count, samples, datasets))


@pytest.mark.parametrize("count", [36, 72])
def test_the_interval_covers_the_truth_in_95_of_100_data_sets(count: int) -> None:
    data = simulate(count, 5, 4000)
    sums, counts = data.sum(axis=1), np.full((count, 4000), 5.0)
    low, high = bootstrap_bounds(sums, counts, seed=0, resamples=2000, level=0.95)
    hits = int(((low <= 0) & (high >= 0)).sum())
    interval = binomtest(hits, 4000).proportion_ci(0.99)
    assert interval.low <= 0.95 <= interval.high, hits / 4000
    # The simulated path is the public one: the same bounds for single data sets.
    single = cluster_bootstrap_mean(data[:, :, 7].ravel().tolist(), prompts(count, 5))
    assert (single.low, single.high) == pytest.approx((low[7], high[7]))


def test_at_the_fewest_prompts_it_covers_the_stated_942_in_1000_and_a_plain_percentile_interval_far_less() -> None:
    data = simulate(MIN_CLUSTERS, 5, 4000)
    sums, counts = data.sum(axis=1), np.full((MIN_CLUSTERS, 4000), 5.0)
    low, high = bootstrap_bounds(sums, counts, seed=0, resamples=2000, level=0.95)
    stated = binomtest(int(((low <= 0) & (high >= 0)).sum()), 4000).proportion_ci(0.99)
    assert stated.low <= 0.942 <= stated.high
    weights = resampling_weights(MIN_CLUSTERS, seed=0, resamples=2000)
    plain_low, plain_high = np.quantile((weights @ sums) / (weights @ counts), (0.025, 0.975), axis=0)
    plain = binomtest(int(((plain_low <= 0) & (plain_high >= 0)).sum()), 4000).proportion_ci(0.99)
    assert plain.high < stated.low


def test_taking_clips_for_independent_would_cover_far_less() -> None:
    data = simulate(36, 5, 2000).reshape(180, 2000)
    low, high = bootstrap_bounds(data, np.ones_like(data), seed=0, resamples=2000, level=0.95)
    assert binomtest(int(((low <= 0) & (high >= 0)).sum()), 2000).proportion_ci(0.99).high < 0.8


def test_the_paired_difference_is_that_of_the_pairs_and_uses_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    keys = [(f"p{i:02d}", s) for i in range(20) for s in range(2)]
    first = {key: float(rng.normal()) for key in keys}
    second = {key: value - 0.25 for key, value in first.items()}
    difference = paired_difference(first, second)
    assert difference is not None and difference.low is not None and difference.n == 40 and difference.clusters == 20
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))
    alone = cluster_bootstrap_mean(list(first.values()), [p for p, _ in first])
    assert paired_difference(first, dict.fromkeys(keys, 0.0)) == alone


def test_only_clips_that_both_models_have_are_paired() -> None:
    difference = paired_difference({("a", 0): 1.0, ("b", 0): 5.0}, {("a", 0): 0.5, ("a", 1): 9.0})
    assert difference is not None and (difference.mean, difference.n) == (0.5, 1)
    assert paired_difference({("a", 0): 1.0}, {("b", 0): 1.0}) is None


def test_a_weighted_mean_is_that_of_as_many_copies() -> None:
    values = np.random.default_rng(0).normal(size=40).tolist()
    counts = [1 + i % 3 for i in range(40)]
    found = cluster_bootstrap_mean(values, prompts(20, 2), weights=counts)
    copied = [(v, p) for v, p, n in zip(values, prompts(20, 2), counts, strict=True) for _ in range(n)]
    copies = cluster_bootstrap_mean([v for v, _ in copied], [p for _, p in copied])
    assert (found.mean, found.low, found.high) == pytest.approx((copies.mean, copies.low, copies.high))
    assert (found.n, found.clusters) == (40, 20)
    assert cluster_bootstrap_mean(values, prompts(20, 2), weights=[1.0] * 40) == cluster_bootstrap_mean(
        values, prompts(20, 2)
    )


def test_a_value_of_no_weight_does_not_count() -> None:
    found = cluster_bootstrap_mean([1.0, 2.0, 9.0], ["a", "b", "c"], weights=[1, 1, 0])
    assert (found.mean, found.n, found.clusters) == (1.5, 2, 2)
    for weights in ([0, 0], [1, -1], [1, math.inf], [1]):
        with pytest.raises(ValueError):
            cluster_bootstrap_mean([1.0, 2.0], ["a", "b"], weights=weights)
