"""Are the points of a scored run those of the rows that were timed, and are mistakes named?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turbo_eval.tables import build_table
from turbo_eval.timing.quality import Score, quality_of
from turbo_eval.timing.row_names import contestant_of, with_batch, without_dtype
from turbo_train.errors import UserError


def vaes(*names: str, vae: str = "full") -> dict[str, str]:
    return dict.fromkeys(names, vae)


def mean(row: str, metric: str, value: float | None, group: str = "quality", **fields: Any) -> dict[str, Any]:
    usual = {"kind": "mean", "part": "all", "low": None, "high": None, "members": [row]}
    return {**usual, "row": row, "metric": metric, "group": group, "mean": value, **fields}


def lineup(folder: Path, *means: dict[str, Any]) -> Path:
    (folder / "results.json").write_text(json.dumps({"schema_version": 2, "lineup": means}))
    return folder


def vbench(folder: Path, models: list[str], rows: dict[str, tuple[str, list[float | None]]]) -> Path:
    """As tables.py leaves it; its own fields are compared below."""
    cells = {
        metric: [
            {"interval": None if v is None else {"mean": v, "low": v - 1, "high": v + 1, "n": 2, "clusters": 2}}
            for v in values
        ]
        for metric, (_, values) in rows.items()
    }
    table = {
        "models": models,
        "rows": [{"metric": m, "group": group, "cells": cells[m]} for m, (group, _) in rows.items()],
    }
    (folder / "results.json").write_text(json.dumps({"schema_version": 2, "table": table}))
    return folder


def test_a_run_of_vbench_gives_its_total(tmp_path: Path) -> None:
    rows = {"subject_consistency": ("quality", [0.9, 0.95]), "total_score": ("total", [80.0, 82.0])}
    found = quality_of(vbench(tmp_path, ["vc2-turbo", "vc2"], rows), vaes("vc2-turbo", "vc2", "ms"))
    assert found.metric == "total_score"
    assert found.of_row == {"vc2-turbo": Score(80.0, 79.0, 81.0), "vc2": Score(82.0, 81.0, 83.0)}
    assert any("not in the scatter: ms" in note for note in found.notes)


def test_a_table_has_the_fields_that_are_read(tmp_path: Path) -> None:
    from turbo_eval.records import ScoreRecord

    fields = {"metric": "scene", "clip_id": "c", "prompt_id": "p", "sample_index": 0, "model": "vc2-turbo"}
    names = set(ScoreRecord.__dataclass_fields__)
    given = {name: value for name, value in fields.items() if name in names}
    score = ScoreRecord(**given, scorer="s/1", value=0.5, unscored=None)  # type: ignore[arg-type]
    table = build_table([score], models=["vc2-turbo"], suite="vbench", groups={"scene": "semantic"})
    (tmp_path / "results.json").write_text(json.dumps({"table": table.to_json()}))
    assert quality_of(tmp_path, vaes("vc2-turbo")).of_row["vc2-turbo"].mean == 0.5


def test_the_oracle_goes_before_a_dimension_and_before_a_metric_that_not_all_have(tmp_path: Path) -> None:
    means = [mean("a", "total_score", 80.0, "total")]
    means += [mean(name, metric, 0.5, group) for name in "ab" for metric, group in (("s", "semantic"), ("o", "oracle"))]
    means += [mean("b", "total_score", None, "total")]
    assert quality_of(lineup(tmp_path, *means), vaes("a", "b")).metric == "o"
    chosen = quality_of(tmp_path, vaes("a", "b"), "total_score")
    assert list(chosen.of_row) == ["a"]


def test_rows_with_options_stand_at_their_contestants_score_but_not_those_with_the_tiny_vae(tmp_path: Path) -> None:
    means = [mean("world-turbo-8steps", "o", 0.5, "oracle"), mean("world-turbo", "o", 0.4, "oracle")]
    rows = ("world-turbo", "world-turbo-8steps-compiled-batch4", "world-turbo-8steps-all-options")
    found = quality_of(lineup(tmp_path, *means), vaes(*rows))
    assert [score.mean for score in found.of_row.values()] == [0.4, 0.5, 0.5]
    with pytest.raises(UserError, match="no model in common"):
        quality_of(tmp_path, vaes(*rows, vae="tiny"))


def test_other_precisions_and_groups_of_seeds_are_found_and_said(tmp_path: Path) -> None:
    means = [mean("vc2-turbo-bfloat16-8steps", "o", 0.5), mean("turbo", "o", 0.6, members=["world-turbo", "b", "c"])]
    found = quality_of(lineup(tmp_path, *means), vaes("vc2-turbo-8steps", "world-turbo"))
    assert [score.mean for score in found.of_row.values()] == [0.5, 0.6]
    assert any("vc2-turbo-8steps stands at the score of vc2-turbo-bfloat16-8steps" in n for n in found.notes)
    assert any("turbo, the mean of 3 seeds" in note for note in found.notes)
    means += [mean("vc2-turbo-8steps", "o", 0.7), mean("world-turbo", "o", 0.8)]
    exact = quality_of(lineup(tmp_path, *means), vaes("vc2-turbo-8steps", "world-turbo"))
    assert [score.mean for score in exact.of_row.values()] == [0.7, 0.8]
    assert not any("stands at" in note for note in exact.notes)


def test_the_lines_of_a_lineup_alone_are_read_and_parts_are_not(tmp_path: Path) -> None:
    lines = [mean("a", "o", 0.5), mean("a", "o", 0.1, part="held_out"), {"kind": "cost", "row": "a"}]
    (tmp_path / "PARTIAL-lineup.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = quality_of(tmp_path, vaes("a"))
    assert found.of_row == {"a": Score(0.5, None, None)}
    assert any("PARTIAL" in note for note in found.notes)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results\.json"):
        quality_of(tmp_path, vaes("a"))
    (tmp_path / "results.json").write_text('{"table": {"rows": [{}]}}')
    with pytest.raises(UserError, match="KeyError"):
        quality_of(tmp_path, vaes("a"))
    lineup(tmp_path, mean("a", "oracle_colour", 0.5), mean("z", "other", 0.5))
    with pytest.raises(UserError, match=r"did you mean oracle_colour\?.*expected one of oracle_colour"):
        quality_of(tmp_path, vaes("a"), "oracle_color")
    with pytest.raises(UserError, match=r"no model in common: a, z scored in .* b timed"):
        quality_of(tmp_path, vaes("b"))
    lineup(tmp_path, mean("a", "m", 0.5), mean("b", "n", 0.5))
    with pytest.raises(UserError, match="no metric that all of a, b have"):
        quality_of(tmp_path, vaes("a", "b"))


@pytest.mark.parametrize("name", ["world-turbo", "world-turbo-8steps", "vc2-turbo-320x512", "x-all", "batch4"])
def test_suffixes_of_rows_come_off_again(name: str) -> None:
    assert contestant_of(name) == name
    assert contestant_of(with_batch(f"{name}-cached-text", 4)) == name
    assert without_dtype(name.replace("world-turbo", "world-turbo-float16")) == name
