"""Do intervals of sums of means cover the truth where the means share prompts? On a suite shaped like VBench's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

from turbo_eval.joint_bootstrap import (
    Array,
    Column,
    Weighted,
    column_of,
    combined_bounds,
    combined_interval,
    strata_of,
    stratified_weights,
    weighted_difference,
)
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.total import coefficients, total_differences, total_intervals
from turbo_eval.stats import MIN_CLUSTERS, cluster_bootstrap_mean, paired_difference
from turbo_eval.suites import load_suite

DATA_SETS, SEED = 2000, 20261123
# A sixth of VBench's suite: how many prompts are asked of which dimensions.
SMALL = {
    (spec.SUBJECT_CONSISTENCY, spec.MOTION_SMOOTHNESS, spec.DYNAMIC_DEGREE): 12,
    (spec.BACKGROUND_CONSISTENCY, spec.SCENE): 14,
    (spec.TEMPORAL_FLICKERING,): 12,
    (spec.AESTHETIC_QUALITY, spec.IMAGING_QUALITY, spec.OVERALL_CONSISTENCY): 15,
    (spec.AESTHETIC_QUALITY, spec.IMAGING_QUALITY, spec.OVERALL_CONSISTENCY, spec.APPEARANCE_STYLE): 2,
    (spec.APPEARANCE_STYLE,): 13,
    (spec.OBJECT_CLASS,): 13,
    (spec.MULTIPLE_OBJECTS,): 14,
    (spec.HUMAN_ACTION,): 16,
    (spec.COLOR,): 14,
    (spec.SPATIAL_RELATIONSHIP,): 14,
    (spec.TEMPORAL_STYLE,): 16,
}
OWN = [f"{'+'.join(names)}/{i:02d}" for names, count in SMALL.items() for i in range(count)]
CLIPS = 5


def members(names: tuple[str, ...] = spec.NAMES) -> list[Column]:
    """A column of each dimension, without numbers."""
    return [{prompt: (0.0, 1.0) for prompt in OWN if name in prompt.split("/")[0].split("+")} for name in names]


@cache
def simulated() -> tuple[Array, Array]:
    """Sums (C, K, N) and weights (C, K); the truth of every mean is 0.

    A prompt's effect has variance 1, of which 0.6 is common to all its dimensions; a clip's has 1. Clips have 8, 16 or
    24 frames, and weigh as VBench weighs them. Raw scores are on the scale of their dimension.
    """
    rng = np.random.default_rng(SEED)
    order = [prompt for stratum in strata_of(members()) for prompt in stratum]
    common = rng.normal(size=(len(order), DATA_SETS))
    frames = rng.choice([8, 16, 24], size=(len(order), CLIPS))
    sums, counts = [], []
    for d, column in zip(spec.DIMENSIONS, members(), strict=True):
        asked = np.array([prompt in column for prompt in order])
        effect = 0.6**0.5 * common + 0.4**0.5 * rng.normal(size=common.shape)
        weights = {"clips": np.ones_like(frames), "frames": frames, "frame_pairs": frames - 1}[d.averaging]
        clips = effect[:, None] + rng.normal(size=(len(order), CLIPS, DATA_SETS))
        total = (clips * weights[:, :, None]).sum(axis=1) * (d.maximum - d.minimum)
        sums.append(total * asked[:, None])
        counts.append(weights.sum(axis=1) * asked)
    return np.stack(sums), np.stack(counts).astype(np.float64)


def sizes() -> list[int]:
    return [len(stratum) for stratum in strata_of(members())]


def coverage(bounds: Array) -> tuple[int, tuple[float, float]]:
    """How many data sets' intervals hold the truth, and the 99 % interval of their share."""
    hits = int(((bounds[0] <= 0) & (bounds[1] >= 0)).sum())
    interval = binomtest(hits, bounds.shape[1]).proportion_ci(0.99)
    return hits, (interval.low, interval.high)


@pytest.mark.parametrize("score", [*spec.SCORES, spec.SUBJECT_CONSISTENCY, spec.APPEARANCE_STYLE])
def test_the_interval_covers_the_truth_in_95_of_100_data_sets(score: str) -> None:
    sums, counts = simulated()
    shares = coefficients(score) if score in spec.SCORES else {score: 1.0}
    rows = [spec.NAMES.index(name) for name in shares]
    bounds = combined_bounds(sums[rows], counts[rows], list(shares.values()), sizes(), resamples=1000)
    hits, (low, high) = coverage(bounds)
    assert low <= 0.95 <= high, hits / DATA_SETS


@pytest.mark.parametrize("score", [spec.QUALITY_SCORE, spec.TOTAL_SCORE])
def test_drawing_each_dimensions_prompts_apart_would_cover_far_less(score: str) -> None:
    sums, counts = simulated()
    shares = coefficients(score)
    rows = [spec.NAMES.index(name) for name in shares]
    asked = counts[rows] > 0
    alone = [int(own.sum()) for own in asked]
    place = np.concatenate([[0], np.cumsum(alone)])
    apart, weights = np.zeros((len(rows), place[-1], DATA_SETS)), np.zeros((len(rows), place[-1]))
    for c, row in enumerate(rows):
        apart[c, place[c] : place[c + 1]] = sums[row, asked[c]]
        weights[c, place[c] : place[c + 1]] = counts[row, asked[c]]
    bounds = combined_bounds(apart, weights, list(shares.values()), alone, resamples=1000)
    assert coverage(bounds)[1][1] < 0.92


def columns(count: int, seed: int, first: int = 0) -> Column:
    rng = np.random.default_rng(seed)
    return {f"p{i:03d}": (float(rng.normal()), 1.0) for i in range(first, first + count)}


def test_every_dimension_keeps_its_number_of_prompts_in_vbenchs_suite_but_one() -> None:
    prompts = load_suite("vbench").prompts
    asked = [{p.prompt_id: (0.0, 1.0) for p in prompts if name in p.dimensions} for name in spec.NAMES]
    strata = strata_of(asked)
    assert sorted(map(len, strata)) == [72, 75, 79, 82, 84, 85, 86, 88, 93, 100, 100]
    weights = stratified_weights(tuple(map(len, strata)), seed=0, resamples=200)
    order = [prompt for stratum in strata for prompt in stratum]
    for name, column in zip(spec.NAMES, asked, strict=True):
        drawn = weights[:, [prompt in column for prompt in order]].sum(axis=1)
        if name == spec.APPEARANCE_STYLE:
            assert drawn.min() == 88 and abs(drawn.mean() - 90) < 0.5
        else:
            assert (drawn == spec.dimension(name).prompts).all()


def test_small_groups_join_their_kin_and_no_others() -> None:
    a, b = columns(20, 0), columns(20, 1, first=15)  # p015 to p019 are in both
    assert [len(stratum) for stratum in strata_of([a, b])] == [20, 15]
    assert [len(stratum) for stratum in strata_of([columns(3, 0), columns(20, 1, first=50)])] == [3, 20]
    few = [{f"p{i}": (0.0, 1.0) for i in range(12)}, *({f"p{i}": (0.0, 1.0)} for i in range(12))]
    assert min(map(len, strata_of(few))) >= MIN_CLUSTERS  # twelve prompts, each with columns of its own


def test_one_mean_has_the_interval_of_stats() -> None:
    column = columns(20, 0)
    values = [v for v, _ in column.values()]
    expected = cluster_bootstrap_mean(values, list(column))
    found = combined_interval(expected.mean, [column], [1.0], clips=20)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.n, found.clusters) == (expected.mean, 20, 20)


def test_a_mean_minus_itself_is_0_without_any_width_and_shifts_carry_over() -> None:
    column, other = columns(20, 0), columns(20, 1, first=10)
    nothing = combined_interval(0.0, [column, column], [1.0, -1.0], clips=20)
    assert (nothing.low, nothing.high) == pytest.approx((0.0, 0.0), abs=1e-15)
    mean = sum(v for v, _ in column.values()) / 20 - 2 * sum(v for v, _ in other.values()) / 20
    base = combined_interval(mean, [column, other], [1.0, -2.0], clips=40)
    moved = combined_interval(mean + 5, [column, other], [1.0, -2.0], clips=40)
    assert base.low is not None and base.high is not None and base.low < mean < base.high
    assert (moved.low, moved.high) == pytest.approx((base.low + 5, base.high + 5))


def test_what_is_added_to_every_score_moves_the_interval_and_does_not_widen_it() -> None:
    """Added to all scores, whatever their weights; or to those of one stratum of two, of which as many are drawn."""
    first = {f"p{i:03d}": (value * (1.0 + i % 3), 1.0 + i % 3) for i, (value, _) in enumerate(columns(20, 0).values())}
    second = columns(10, 1)
    assert [len(stratum) for stratum in strata_of([first, second])] == [10, 10]
    bounds = []
    for shift in (0.0, 5.0):
        moved = {prompt: (s + shift * w, w) for prompt, (s, w) in first.items()}
        beside = {prompt: (s + shift, w) for prompt, (s, w) in columns(20, 0).items()}
        half = {prompt: pair if prompt in second else columns(20, 0)[prompt] for prompt, pair in beside.items()}
        found = [combined_interval(0.0, [one, second], [1.0, 1.0], clips=30) for one in (moved, half)]
        bounds.append([bound for one in found for bound in (one.low, one.high)])
    assert None not in bounds[0] and bounds[0] == pytest.approx(bounds[1])


def test_the_order_of_the_prompts_changes_nothing() -> None:
    column, other = columns(20, 0), columns(20, 1, first=10)
    turned = [dict(reversed(one.items())) for one in (column, other)]
    first, second = (combined_interval(0.3, pair, [1.0, 1.0], clips=40) for pair in ([column, other], turned))
    assert first == second


def test_one_column_with_few_prompts_leaves_no_interval() -> None:
    found = combined_interval(0.5, [columns(20, 0), columns(MIN_CLUSTERS - 1, 1)], [1.0, 1.0], clips=27)
    assert (found.mean, found.low, found.high) == (0.5, None, None)


def test_a_resample_in_which_a_column_is_absent_is_left_out() -> None:
    sums = np.random.default_rng(0).normal(size=(2, 20, 1))
    counts = np.ones((2, 20))
    sums[1, 1:], counts[1, 1:] = 0, 0  # of one prompt, which a third of the resamples do not draw
    assert np.isfinite(combined_bounds(sums, counts, [1.0, 1.0], [20])).all()


def clips(seed: int, weight: float = 1.0, count: int = 20) -> Weighted:
    rng = np.random.default_rng(seed)
    return {(f"p{i:02d}", s): (float(rng.normal()), weight) for i in range(count) for s in range(2)}


def test_a_weighted_difference_is_that_of_the_weighted_means_of_the_shared_clips() -> None:
    ours, theirs = clips(0, 7.0), clips(1, 15.0)
    plain = paired_difference({k: v for k, (v, _) in ours.items()}, {k: v for k, (v, _) in theirs.items()})
    found = weighted_difference(ours, theirs)
    assert plain is not None and found is not None and found.n == 40
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))
    longer = {key: (v, 1.0 + key[1]) for key, (v, _) in ours.items()}  # every second clip is twice as long
    mean = sum(v * w for v, w in longer.values()) / 60 - sum(v for v, _ in theirs.values()) / 40
    found = weighted_difference(longer, theirs)
    assert found is not None and found.low is not None and found.mean == pytest.approx(mean)
    assert weighted_difference(clips(0, count=1), {("p00", 0): (1.0, 1.0)}) is not None
    assert weighted_difference(ours, {("q", 0): (1.0, 1.0)}) is None
    assert weighted_difference(ours, {("p00", 0): (1.0, 0.0)}) is None


def test_column_of_weighs_clips_and_passes_over_those_without_weight() -> None:
    held = {("a", 0): (0.5, 2.0), ("a", 1): (1.0, 1.0), ("b", 0): (3.0, 0.0)}
    assert column_of(held) == {"a": (2.0, 3.0)}


def test_the_whole_suite_is_drawn_three_times_for_two_models_and_their_difference() -> None:
    rng = np.random.default_rng(0)
    asked = {n: [p.prompt_id for p in load_suite("vbench").prompts if n in p.dimensions] for n in spec.NAMES}
    both = [
        {name: {(p, s): (float(rng.random()), 15.0) for p in ids for s in range(5)} for name, ids in asked.items()}
        for _ in range(2)
    ]
    stratified_weights.cache_clear()
    assert set(total_intervals(both[0])) == set(total_intervals(both[1])) == set(spec.SCORES)
    assert set(total_differences(*both)) == set(spec.SCORES)
    assert stratified_weights.cache_info().misses == 3  # the prompts of Quality, of Semantic and of both
