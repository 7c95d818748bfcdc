"""Are differences, verdicts and times of two engines what they should be, and is nothing left out in silence?"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from turbo_eval.parity import FLOOR, Row, exit_code, groups_of, row_of, speeds
from turbo_eval.parity_text import lines, table, to_csv, to_json, to_markdown
from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.official import ClipFile, Measured

NAMES = ("a.mp4", "b.mp4", "c.mp4")
PATHS = tuple(Path("clips") / name for name in NAMES)
CLIPS = tuple(ClipFile(path, Prompt(f"p{n}", "a cat")) for n, path in enumerate(PATHS))
IDENTITY = {"clips": 3, "device": "cpu", "threads": 2, "early_exit": False}


def said(*values: float | None, seconds: float | None = 1.0, why: str = "broken") -> Measured:
    pairs = list(zip(PATHS, values, strict=True))
    return Measured(
        values={path: value for path, value in pairs if value is not None},
        unscored={path: why for path, value in pairs if value is None},
        load_s=0.5,
        score_s=seconds,
        peak_bytes=2_000_000_000,
    )


def row(official: Measured, ours: Measured, dimension: str = spec.SUBJECT_CONSISTENCY, tolerance: float = 1e-3) -> Row:
    return row_of(dimension, CLIPS, official, ours, tolerance)


def test_largest_differences_and_agreement() -> None:
    found = row(said(0.5, 0.8, 0.001), said(0.5, 0.8004, 0.001005))
    assert found.largest_absolute == pytest.approx(4e-4)
    assert found.largest_relative == pytest.approx(5e-4)  # of 0.8; the third is held against FLOOR
    assert found.compared == 3 and found.agrees and found.is_whole and exit_code([found]) == 0
    near_zero = row(said(0.5, 0.8, 0.0), said(0.5, 0.8, 2e-5))
    assert near_zero.largest_relative == pytest.approx(2e-5 / FLOOR) and not near_zero.agrees
    assert exit_code([found, near_zero]) == 1
    assert row(said(0.5, 0.8, 0.1), said(0.5, 0.8004, 0.1), tolerance=1e-4).agrees is False


@pytest.mark.parametrize("dimension", [spec.DYNAMIC_DEGREE, spec.HUMAN_ACTION])
def test_a_verdict_that_flips_is_named(dimension: str) -> None:
    found = row(said(1.0, 0.0, 1.0), said(1.0, 1.0, 1.0), dimension)
    assert found.flipped == ("b.mp4",) and found.agrees is False and exit_code([found]) == 1
    assert "verdicts differ on b.mp4" in to_markdown([found], IDENTITY)
    assert row(said(1.0, 0.0, 1.0), said(1.0, 0.0, 1.0), dimension, tolerance=0).agrees
    assert row(said(1.0, 0.0, 1.0), said(1.0, 1.0, 1.0)).flipped is None  # not a dimension of verdicts


def test_a_clip_that_one_engine_alone_scores_is_named_and_not_compared() -> None:
    found = row(said(0.5, None, 0.7), said(0.5, 0.6, 0.7))
    assert found.compared == 2 and found.agrees and not found.is_whole and exit_code([found]) == 3
    assert [(clip.clip, clip.official, clip.ours) for clip in found.one_sided] == [("b.mp4", None, 0.6)]
    assert table([found])[0]["clips"] == "2 of 3" and speeds([found]) == []
    assert "subject_consistency: b.mp4: official: broken" in lines([found], IDENTITY)


def test_a_clip_that_neither_mentions_is_still_told() -> None:
    found = row(said(0.5, 0.6, 0.7), Measured({PATHS[0]: 0.5}, {}))
    assert [clip.why for clip in found.clips] == ["", "ours: no word of it", "ours: no word of it"]


def test_an_engine_that_fails_leaves_a_row_with_its_reason() -> None:
    found = row(Measured({}, {}, failed="ImportError: no x"), said(0.5, 0.6, 0.7))
    assert found.why_not == "official: ImportError: no x" and found.agrees is None and exit_code([found]) == 3
    nothing = row(said(None, None, None), said(None, None, None, why="needs at least two frames"))
    assert nothing.agrees is None and "needs at least two frames" in nothing.why_not and exit_code([nothing]) == 3
    differs = row(said(0.5, 0.8, 0.1), said(0.6, 0.8, 0.1))
    assert exit_code([found, differs]) == 1  # a difference is said before what is missing
    assert exit_code([]) == 3


def test_dimensions_of_one_computation_share_their_times() -> None:
    names = (spec.SUBJECT_CONSISTENCY, spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY)
    assert groups_of(names) == [names[:1], names[1:]]
    assert groups_of((spec.OVERALL_CONSISTENCY,)) == [(spec.OVERALL_CONSISTENCY,)]
    both = said(0.1, 0.2, 0.3, seconds=6.0)
    rows = [
        row(both, said(0.1, 0.2, 0.3, seconds=seconds), name)
        for name, seconds in zip(names, (2.0, 5.0, 1.0), strict=True)
    ]
    assert [(one.dimensions, one.times_faster) for one in speeds(rows)] == [(names[:1], 3.0), (names[1:], 2.0)]
    assert [line["times faster"] for line in table(rows)] == ["3.00", "2.00", "with temporal_style"]
    assert any(line.startswith("3 dimensions together: VBench 18.0 s, ours 8.0 s") for line in lines(rows, IDENTITY))
    untimed = row(said(0.1, 0.2, 0.3, seconds=None), both, spec.OVERALL_CONSISTENCY)
    assert [one.dimensions for one in speeds([*rows[:2], untimed])] == [names[:1]]


def test_rows_come_back_from_their_file_and_clips_stand_in_the_csv() -> None:
    rows = [row(said(0.5, None, 0.7), said(0.5, 0.6, 0.70007)), row(said(1, 0, 1), said(1, 0, 1), spec.DYNAMIC_DEGREE)]
    document = json.loads(json.dumps(to_json(rows, IDENTITY)))
    assert [Row.from_json(data) for data in document["rows"]] == rows
    assert document["rows"][0]["largest_relative"] == pytest.approx(1e-4) and document["identity"] == IDENTITY
    found = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [(line["dimension"], line["clip"]) for line in found] == [
        (r.dimension, name) for r in rows for name in NAMES
    ]
    assert found[1]["official"] == "" and found[1]["why"] == "official: broken"
    assert float(found[2]["relative"]) == pytest.approx(1e-4)
