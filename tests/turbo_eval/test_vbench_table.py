"""Does VBench's table hold VBench's own means, totals only when they are whole, and what may mislead in it?"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turbo_eval.records import ClipId, ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import aggregate
from turbo_eval.scorers.vbench.published import published
from turbo_eval.stats import MIN_CLUSTERS
from turbo_eval.table_text import to_csv, to_markdown
from turbo_eval.tables import Table
from turbo_eval.vbench_table import EMBEDDED_NOTE, TOTAL_GROUP, encoder_note, vbench_table

GOLDEN = Path(__file__).parent.parent / "golden" / "tables" / "vbench.md"
GROUPS = {d.name: str(d.group) for d in spec.DIMENSIONS}
VICLIP = "vbench/viclip@1-0123abcd+torch2.6"
EMBEDDED_ID = "embedded/judge-video@1+torch2.6"
ON_VICLIP = (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY)


def scorer_of(name: str) -> str:
    return VICLIP if name in ON_VICLIP else f"vbench/{name}@1"


def scores(model: str, names: Sequence[str] = spec.NAMES, prompts: int = 12) -> list[ScoreRecord]:
    """Two clips of each prompt in every dimension."""
    draw = random.Random(model)
    return [
        ScoreRecord(model, f"p{i:02d}", sample, name, scorer_of(name), draw.random())
        for name in names
        for i in range(prompts)
        for sample in range(2)
    ]


def frames_of(records: Sequence[ScoreRecord]) -> dict[ClipId, int]:
    """Second samples are three times as long; the clips of `slow` are longer still."""
    return {r.clip_id: (8 if r.sample_index == 0 else 24) + 2 * (r.model == "slow") for r in records}


def table_of(records: Sequence[ScoreRecord], models: Sequence[str] = ("fast", "slow"), **more: Any) -> Table:
    return vbench_table(records, models=models, suite="vbench", groups=GROUPS, frames=frames_of(records), **more)


def both() -> list[ScoreRecord]:
    return scores("fast") + scores("slow")


def note_of(table: Table, begin: str) -> str:
    return next((note for note in table.notes if note.startswith(begin)), "")


def test_every_cell_is_what_the_aggregate_says_to_the_last_digit() -> None:
    table = table_of(both())
    assert [row.metric for row in table.rows] == [*spec.NAMES, *spec.SCORES]
    for place, model in enumerate(table.models):
        own = scores(model)
        told = aggregate(own, frames={clip[1:]: count for clip, count in frames_of(own).items()})
        cells = {row.metric: row.cells[place].interval for row in table.rows}
        for dimension in told.dimensions:
            assert cells[dimension.dimension] == dimension.interval
        assert [cells[score] for score in spec.SCORES] == [told.intervals[score] for score in spec.SCORES]
        assert [told.intervals[score].mean for score in spec.SCORES] == [told.totals.of(score) for score in spec.SCORES]


def test_a_difference_of_whole_models_is_that_of_their_cells() -> None:
    for row in table_of(both()).rows:
        first, second = (cell.interval for cell in row.cells)
        assert first is not None and second is not None and row.difference is not None
        assert row.difference.mean == pytest.approx(first.mean - second.mean, abs=1e-12)
        assert row.difference.low is not None and row.difference.high is not None
        assert row.difference.low < row.difference.mean < row.difference.high


def test_a_difference_is_taken_over_the_clips_that_both_have() -> None:
    fewer = [s for s in both() if s.model == "fast" or s.prompt_id != "p00"]
    rows = {row.metric: row for row in table_of(fewer).rows}
    shared = {row.metric: row for row in table_of([s for s in both() if s.prompt_id != "p00"]).rows}
    for name in (*spec.NAMES, *spec.SCORES):
        assert rows[name].difference == shared[name].difference
        assert rows[name].cells[0] != shared[name].cells[0] and rows[name].cells[1] == shared[name].cells[1]


def test_totals_and_what_is_behind_them_are_in_the_documents() -> None:
    table = table_of(both())
    rows = {row["metric"]: row for row in json.loads(json.dumps(table.to_json()))["rows"]}
    total = rows[spec.TOTAL_SCORE]
    assert (total["group"], total["scorer"]) == (TOTAL_GROUP, "vbench/total@1")
    assert total["cells"][0]["interval"]["n"] == 24 and total["cells"][0]["interval"]["clusters"] == 12
    assert total["cells"][0]["interval"]["low"] < total["cells"][0]["interval"]["mean"] and total["difference"]["low"]
    assert note_of(table, "quality, semantic and total score") and not note_of(table, "no quality")


def test_one_missing_dimension_leaves_no_total_and_the_note_names_it() -> None:
    names = [name for name in spec.NAMES if name != spec.SCENE]
    table = table_of(scores("fast", names), ["fast"], unscored={spec.SCENE: "weights missing"})
    assert all(row.group != TOTAL_GROUP for row in table.rows)
    assert note_of(table, "no quality") == "no quality, semantic or total score: 1 dimension is unscored: scene"
    assert dict(table.unscored) == {spec.SCENE: "weights missing"}
    table = table_of(scores("fast", names[:14]), ["fast"], unscored={spec.SCENE: "weights missing"})
    gone = "1 dimension is unscored: scene; 1 dimension is asked of no clip: overall_consistency"
    assert note_of(table, "no quality") == f"no quality, semantic or total score: {gone}"


def test_a_dimension_of_which_no_clip_has_a_number_is_missing() -> None:
    silent = [replace(s, value=None, unscored="no decoder") if s.metric == spec.COLOR else s for s in scores("fast")]
    table = table_of(silent, ["fast"])
    assert note_of(table, "no quality") == "no quality, semantic or total score: 1 dimension is unscored: color"
    assert dict(table.unscored)[spec.COLOR] == "no decoder (24 clips)"


def test_a_model_that_lacks_a_dimension_has_no_total_beside_one_that_has_it() -> None:
    records = [
        replace(s, value=None, unscored="why") if (s.model, s.metric) == ("slow", spec.COLOR) else s for s in both()
    ]
    table = table_of(records)
    for row in table.rows[-3:]:
        assert row.group == TOTAL_GROUP and row.cells[0].interval is not None
        assert row.cells[1].interval is None and row.difference is None
    assert note_of(table, "no quality") == "no quality, semantic or total score of slow: 1 dimension is unscored: color"


def test_missing_clips_leave_no_total() -> None:
    table = table_of(both(), partial="PARTIAL: 70 of 72 clips")
    assert all(row.group != TOTAL_GROUP for row in table.rows)
    assert note_of(table, "no quality") == "no quality, semantic or total score: clips are missing"


def test_unscored_clips_are_counted_beside_the_totals_that_need_them() -> None:
    records = [
        replace(s, value=None, unscored="why") if s.metric == spec.COLOR and s.prompt_id == "p00" else s
        for s in scores("fast")
    ]
    counted = {row.metric: row.cells[0].unscored for row in table_of(records, ["fast"]).rows}
    assert [counted[score] for score in spec.SCORES] == [0, 2, 2]


def test_few_prompts_give_totals_without_an_interval() -> None:
    table = table_of(scores("fast", prompts=MIN_CLUSTERS - 1), ["fast"])
    interval = table.rows[-1].cells[0].interval
    assert interval is not None and interval.low is None and note_of(table, "no interval")


def test_metrics_that_are_not_vbenchs_are_left_alone() -> None:
    records = [ScoreRecord("fast", f"p{i}", 0, "oracle_all", "embedded/oracle@2", 1.0) for i in range(10)]
    table = table_of(records, ["fast"])
    assert [row.metric for row in table.rows] == ["oracle_all"] and not note_of(table, "no quality")
    assert all(type(cell).__name__ == "Cell" for row in table.rows for cell in row.cells)


@pytest.mark.parametrize(
    ("scorers", "altered", "note"),
    [
        ([EMBEDDED_ID, "vbench/temporal_flickering@1+numpy2"], [], EMBEDDED_NOTE),
        (["vbench/temporal_flickering@1+numpy2.4"], [], ""),
        ([VICLIP, "vbench/dino@1-0123abcd+torch2.6+timm1.0"], [], ""),
        (["vbench/clip-b32@2-0123abcd-bf16+torch2.6", VICLIP], [], "VBench's networks, bf16"),
        (["vbench/clip-b32@1-0123abcd-cuda-vbench-cuda+torch2"], [], "VBench's networks, cuda, vbench-cuda"),
        ([VICLIP], ["a", "b"], "weights that are not the published ones (a, b): not comparable with VBench"),
        (["vbench/x@1-0123abcd-bf16"], ["a"], "(a): not comparable with VBench; VBench's networks, bf16"),
        (["vbench/reported"], [], ""),
    ],
)
def test_the_note_depends_on_the_scorers_that_were_used(scorers: list[str], altered: list[str], note: str) -> None:
    found = encoder_note(scorers, altered)
    assert found == note or (bool(altered) and found.endswith(note))


def test_the_title_says_that_embedded_scores_are_not_vbenchs() -> None:
    assert EMBEDDED_NOTE == "embedded encoders: not comparable with VBench"
    records = [replace(s, scorer=EMBEDDED_ID) for s in both() if s.metric == spec.OVERALL_CONSISTENCY]
    assert table_of(records).title == f"fast against slow on vbench ({EMBEDDED_NOTE})"
    assert table_of(both()).title == "fast against slow on vbench"
    assert table_of(both(), note="of mine").title == "fast against slow on vbench (of mine)"


def test_viclips_rows_are_in_the_loop_of_a_model_that_was_trained_on_viclip() -> None:
    table = table_of(both(), trained={"fast": ("hpsv2.1", "viclip"), "slow": ("hpsv2.1",)})
    marks = {row.metric: tuple(cell.mark for cell in row.cells) for row in table.rows}
    assert {name for name, (first, _) in marks.items() if first} == set(ON_VICLIP)
    assert not any(second for _, second in marks.values()) and marks[spec.TEMPORAL_STYLE] == ("in_loop", "")
    assert "viclip, the network of this row; semantic and total score contain it" in note_of(table, "in_loop:")
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}
    assert (rows[spec.TEMPORAL_STYLE]["fast in_loop"], rows[spec.TEMPORAL_STYLE]["slow in_loop"]) == ("true", "false")
    assert (rows[spec.COLOR]["fast in_loop"], rows[spec.TOTAL_SCORE]["fast in_loop"]) == ("false", "")


def test_another_video_reward_the_embedded_judge_and_the_unknown_are_not_marked() -> None:
    table = table_of(both(), trained={"fast": ("internvideo2",), "slow": None})
    assert not any(cell.mark for row in table.rows for cell in row.cells) and not note_of(table, "in_loop")
    assert note_of(table, "not known") == "not known: the rewards that slow was trained on"
    judged = [replace(s, scorer=EMBEDDED_ID) for s in both() if s.metric in ON_VICLIP]
    table = table_of(judged, trained={"fast": ("viclip",), "slow": None})
    assert not any(cell.mark for row in table.rows for cell in row.cells)
    assert not note_of(table, "in_loop") and not note_of(table, "not known")


def test_published_scores_stand_beside_the_measured_ones_marked_as_such() -> None:
    row = published()["T2V-Turbo (MS)"]
    table = table_of(both(), trained={"fast": ("viclip",), "slow": ()}, published={"fast": row})
    cells = {r.metric: r.cells for r in table.rows}
    assert cells[spec.TOTAL_SCORE][0].mark == "(published 0.8062)" and cells[spec.TOTAL_SCORE][1].mark == ""
    assert cells[spec.TEMPORAL_STYLE][0].mark == "in_loop (published 0.2592)"
    assert "T2V-Turbo (MS)" in note_of(table, "published:") and "arXiv 2405.18750" in note_of(table, "published:")
    (line,) = [one for one in csv.DictReader(io.StringIO(to_csv(table))) if one["metric"] == spec.QUALITY_SCORE]
    assert (line["fast published"], line["slow published"]) == ("0.8215", "")


def test_the_whole_output_is_the_golden_file() -> None:
    table = table_of(
        both(), trained={"fast": ("viclip",), "slow": None}, published={"fast": published()["T2V-Turbo (MS)"]}
    )
    assert to_markdown(table) == GOLDEN.read_text(encoding="utf-8")
