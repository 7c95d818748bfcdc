"""Do the aggregates agree with the published ones, and refuse what is incomplete?"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from turbo_eval.records import ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import aggregate, weighted_clips
from turbo_eval.scorers.vbench.total import (
    NO_CLIP,
    coefficients,
    normalised,
    total_differences,
    total_intervals,
    totals,
)
from turbo_eval.stats import cluster_bootstrap_mean
from turbo_train.errors import UserError

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
with (GOLDEN / "vbench_leaderboard.csv").open(encoding="utf-8") as lines:
    LEADERBOARD = list(csv.DictReader(lines))


def record(metric: str, value: float | None, prompt: str = "p", scorer: str = "s@1", model: str = "m") -> ScoreRecord:
    reason = "why" if value is None else None
    return ScoreRecord(model, prompt, 0, metric, scorer, value, reason)


def all_records() -> list[ScoreRecord]:
    return [record(name, 0.1 * i + 0.01, f"p{i}") for name in spec.NAMES for i in range(7)]


@pytest.mark.parametrize("row", LEADERBOARD, ids=[row["model"] for row in LEADERBOARD])
def test_published_triples_come_out(row: dict[str, str]):
    result = totals({name: float(row[name.replace("_", " ")]) / 100 for name in spec.NAMES})
    for column, value in (("total", result.total), ("quality", result.quality), ("semantic", result.semantic)):
        assert value is not None
        for source in ("reported", "recomputed"):
            if row[f"{column}_{source}"]:
                assert 100 * value == pytest.approx(float(row[f"{column}_{source}"]), abs=0.01)
    assert not result.missing


def test_the_triples_are_many():
    assert len(LEADERBOARD) == 30
    assert sum(bool(row["total_reported"]) for row in LEADERBOARD) == 25


def test_the_means_over_frame_pairs_are_the_packages_own():
    golden = json.loads((GOLDEN / "vbench" / "eleven_dimensions_four_clips.json").read_text())
    pairs = {v["video_path"]: v["cnt_per_video"] for v in golden[spec.BACKGROUND_CONSISTENCY]["videos"]}
    assert len(set(pairs.values())) > 1
    for name in (spec.SUBJECT_CONSISTENCY, spec.BACKGROUND_CONSISTENCY, spec.TEMPORAL_FLICKERING):
        names = {path: f"p{i}" for i, path in enumerate(pairs)}
        records = [record(name, v["video_results"], names[v["video_path"]]) for v in golden[name]["videos"]]
        frames = {(names[path], 0): count + 1 for path, count in pairs.items()}
        (score,) = [s for s in aggregate(records, frames=frames).dimensions if s.dimension == name]
        assert score.mean == pytest.approx(golden[name]["score"], rel=1e-12)


def test_normalised_scores_are_not_clamped():
    assert normalised(spec.MOTION_SMOOTHNESS, 0.9975) == pytest.approx(1)
    assert normalised(spec.MOTION_SMOOTHNESS, 1.0) > 1
    assert normalised(spec.SUBJECT_CONSISTENCY, 0.0) < 0


def test_the_order_of_the_records_changes_no_bit():
    records = all_records()
    shuffled = random.Random(0).sample(records, len(records))
    assert aggregate(shuffled) == aggregate(records)
    assert aggregate(records).totals.total is not None


def test_one_missing_dimension_leaves_no_total_and_says_why():
    records = [r for r in all_records() if r.metric != spec.SCENE]
    result = aggregate(records, unscored={spec.SCENE: "no places here"}).totals
    assert (result.total, result.semantic) == (None, None)
    assert result.quality is not None
    assert result.missing == {spec.SCENE: "no places here"}
    assert aggregate(records).totals.missing == {spec.SCENE: NO_CLIP}


def test_unscored_clips_are_counted_and_are_not_zeros():
    records = [record(spec.SCENE, 0.5, "p0"), record(spec.SCENE, None, "p1"), record(spec.COLOR, None, "p0")]
    result = aggregate(records)
    scene, color = (next(s for s in result.dimensions if s.dimension == name) for name in (spec.SCENE, spec.COLOR))
    assert (scene.mean, scene.scored, scene.unscored, scene.reasons) == (0.5, 1, 1, {"why": 1})
    assert (color.mean, color.scored) == (None, 0)
    assert result.totals.missing[spec.COLOR] == "why (1 clips)"


def test_scores_of_two_scorers_or_two_models_are_never_averaged():
    with pytest.raises(UserError, match=r"scored by a@1 and b@1") as error:
        aggregate([record(spec.SCENE, 0.5, "p0", "a@1"), record(spec.SCENE, 0.5, "p1", "b@1")])
    assert error.value.exit_code == 2
    with pytest.raises(UserError, match="2 models"):
        aggregate([record(spec.SCENE, 0.5), record(spec.SCENE, 0.5, model="other")])


def test_an_unknown_dimension_is_refused():
    with pytest.raises(UserError, match="did you mean scene"):
        totals({"scen": 0.5})


def clips(model: str = "m", prompts: int = 10, seed: int = 0) -> tuple[list[ScoreRecord], dict[tuple[str, int], int]]:
    """Every dimension on the same prompts, two clips each, the second one three times as long."""
    draw = random.Random(seed)
    keys = [(f"p{i:02d}", sample) for i in range(prompts) for sample in range(2)]
    records = [ScoreRecord(model, *key, name, "s@1", draw.random()) for name in spec.NAMES for key in keys]
    return records, {key: 8 if key[1] == 0 else 24 for key in keys}


@pytest.mark.parametrize("score", spec.SCORES)
def test_the_coefficients_are_those_of_the_published_rule(score: str):
    zero = totals(dict.fromkeys(spec.NAMES, 0.0)).of(score)
    assert zero is not None
    for name in spec.NAMES:
        one = totals({n: float(n == name) for n in spec.NAMES}).of(score)
        assert one is not None
        assert one - zero == pytest.approx(coefficients(score).get(name, 0.0), abs=1e-12)


def test_every_dimension_has_the_interval_of_its_own_weighted_mean():
    records, frames = clips()
    result = aggregate(records, frames=frames)
    weigh = {"clips": lambda n: 1, "frames": lambda n: n, "frame_pairs": lambda n: n - 1}
    for score in result.dimensions:
        own = [r for r in records if r.metric == score.dimension]
        weights = [weigh[spec.dimension(score.dimension).averaging](frames[r.prompt_id, r.sample_index]) for r in own]
        values = [r.value for r in own if r.value is not None]
        expected = cluster_bootstrap_mean(values, [r.prompt_id for r in own], weights=weights)
        assert score.interval == expected and score.mean == expected.mean
        plain = cluster_bootstrap_mean(values, [r.prompt_id for r in own])
        assert (plain == expected) is (spec.dimension(score.dimension).averaging == "clips")


def test_the_totals_intervals_stand_around_the_totals():
    records, frames = clips()
    result = aggregate(records, frames=frames)
    assert list(result.intervals) == list(spec.SCORES)
    for score, interval in result.intervals.items():
        assert interval.mean == result.totals.of(score) and (interval.n, interval.clusters) == (20, 10)
        assert interval.low is not None and interval.high is not None and interval.low < interval.mean < interval.high


def test_an_incomplete_group_has_no_interval_and_few_prompts_have_none():
    records, frames = clips()
    result = aggregate([r for r in records if r.metric != spec.SCENE], frames=frames)
    assert set(result.intervals) == {spec.QUALITY_SCORE}
    few = [r for r in records if r.metric != spec.SCENE or r.prompt_id < "p07"]
    bounds = {score: interval.low for score, interval in aggregate(few, frames=frames).intervals.items()}
    assert bounds[spec.QUALITY_SCORE] is not None
    assert bounds[spec.SEMANTIC_SCORE] is None and bounds[spec.TOTAL_SCORE] is None


def test_a_clip_without_a_pair_of_frames_weighs_nothing_in_a_mean_over_pairs():
    name = spec.SUBJECT_CONSISTENCY
    records = [record(name, 0.5, "p0"), record(name, 0.9, "p1")]
    (score,) = [s for s in aggregate(records, frames={("p0", 0): 8, ("p1", 0): 1}).dimensions if s.dimension == name]
    assert (score.mean, score.scored) == (0.5, 2)
    (score,) = [s for s in aggregate(records, frames={("p0", 0): 1, ("p1", 0): 1}).dimensions if s.dimension == name]
    assert (score.mean, score.interval) == (None, None)


def test_the_totals_count_the_clips_that_have_a_weight_and_differences_leave_the_others_out():
    records, frames = clips()
    names = {name: [r for r in records if r.metric == name] for name in spec.NAMES}
    whole = {name: weighted_clips(name, own, frames) for name, own in names.items()}
    only = {name: {**clips_of, ("q", 0): (0.5, 0.0)} for name, clips_of in whole.items()}  # one frame, no pair
    assert {score: i.n for score, i in total_intervals(only).items()} == dict.fromkeys(spec.SCORES, 20)
    found = total_differences(only, {name: {**w, ("q", 0): (0.9, 23.0)} for name, w in whole.items()})
    assert {score: (i.mean, i.n, i.clusters) for score, i in found.items()} == dict.fromkeys(spec.SCORES, (0, 20, 10))


def test_a_clip_scored_twice_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="two scores"):
        aggregate([record(spec.SCENE, 0.5), record(spec.SCENE, 0.5)])
