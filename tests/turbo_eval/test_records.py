"""Are records refused when they lie, and equal bytes when they are equal?"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from turbo_eval.records import ClipRecord, Prompt, ScoreRecord, canonical_line

SHA = "ab" * 32


def a_clip(**changes: Any) -> ClipRecord:
    fields: dict[str, Any] = {"model": "m", "prompt_id": "p-1", "sample_index": 0, "path": "clips/m/00000-00.mp4"}
    fields |= {"sha256": SHA, "size_bytes": 900, "frames": 8, "height_px": 32, "width_px": 32, "fps": 8.0}
    fields |= {"key": SHA, "suite_sha256": SHA}
    return ClipRecord(**(fields | changes))


@pytest.mark.parametrize(
    "value,unscored", [(None, None), (1.0, "both"), (math.nan, None), (math.inf, None), (None, " ")]
)
def test_a_score_is_either_a_finite_number_or_a_reason(value: float | None, unscored: str | None) -> None:
    with pytest.raises(ValueError):
        ScoreRecord("m", "p", 0, "sharpness", "s/1", value, unscored)


def test_zero_is_a_score_and_not_an_absence() -> None:
    assert ScoreRecord("m", "p", 0, "sharpness", "s/1", 0.0).unscored is None


@pytest.mark.parametrize(
    "record",
    [
        ScoreRecord("m", "p", 0, "sharpness", "s/1", 0.1 + 0.2),
        ScoreRecord("m", "p", 3, "sharpness", "s/1", unscored="one frame"),
        a_clip(),
        Prompt("p-1", "a cat é", ("sharpness",), {"colour": "red"}, True),
    ],
)
def test_a_record_comes_back_from_its_line(record: ScoreRecord | ClipRecord | Prompt) -> None:
    line = canonical_line(record)
    assert type(record).from_json(json.loads(line)) == record
    assert "\n" not in line and list(json.loads(line)) == sorted(json.loads(line))


def test_equal_values_of_different_types_are_equal_bytes() -> None:
    lines = {canonical_line(ScoreRecord("m", "p", 0, "a", "s", value)) for value in (1, 1.0, np.float64(1))}
    assert lines == {
        '{"metric": "a", "model": "m", "prompt_id": "p", "sample_index": 0, "schema_version": 2, "scorer": "s",'
        ' "suite_sha256": null, "unscored": null, "value": 1.0}'
    }


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema_version 1"):
        ScoreRecord.from_json(ScoreRecord("m", "p", 0, "a", "s", 1.0).to_json() | {"schema_version": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../escaped.mp4"},
        {"path": "/etc/passwd"},
        {"path": "C:/x.mp4"},
        {"path": "clips/a\\b/c.mp4"},
        {"path": "clips/../manifest.json"},
        {"path": "manifest.json"},
        {"path": "clips/x.mp4"},
        {"path": "ledger/a/x.mp4"},
        {"path": "clips/a/b/x.mp4"},
        {"model": "a/b"},
        {"prompt_id": ".."},
        {"sha256": "no"},
        {"frames": -1},
        {"fps": math.nan},
    ],
)
def test_a_clip_record_cannot_point_outside_its_folder_or_hold_nonsense(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        a_clip(**changes)


@pytest.mark.parametrize(
    "data", [{}, {"prompt": 3}, {"prompt": " "}, {"prompt": "a", "promt": "b"}, {"prompt": "a", "dimensions": [1]}]
)
def test_a_prompt_outside_the_schema_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Prompt.from_json(data, default_id="x")
