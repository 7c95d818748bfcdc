"""Do the aggregates agree with the published ones, and refuse what is incomplete?"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from turbo_eval.records import ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import NO_CLIP, aggregate, normalised, totals
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
