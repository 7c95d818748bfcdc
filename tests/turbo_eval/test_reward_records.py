"""Does a rewards.jsonl come back as the records that were written, and nothing else?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turbo_eval.reward_records import RewardDifference, RewardMean, read_rewards
from turbo_train.errors import UserError

MEAN = RewardMean("0" * 64, "m", "clip", "reward/clip@1", "reward", None, 0.5, None, None, 3, 3, 1)
DIFFERENCE = RewardDifference("0" * 64, "m", "n", "clip", "reward/clip@1", 0.1, 0.05, 0.15, 9, 9, True, False)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_there_and_back(tmp_path: Path) -> None:
    path = write(tmp_path / "rewards.jsonl", MEAN.to_json(), DIFFERENCE.to_json())
    assert read_rewards(path) == ((MEAN,), (DIFFERENCE,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "line 2 of .*: schema_version 2, this version reads 1"),
        ({"kind": "median"}, "kind 'median'"),
        ({"median": 0.5}, "median"),
    ],
)
def test_other_records_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rewards.jsonl", MEAN.to_json(), {**MEAN.to_json(), **changes})
    with pytest.raises(UserError, match=message):
        read_rewards(path)


def test_a_line_that_lacks_a_field_or_is_no_object_is_refused(tmp_path: Path) -> None:
    short = MEAN.to_json()
    del short["mean"]
    for text in (json.dumps(short), "[1]", "{", "{}"):
        (tmp_path / "rewards.jsonl").write_text(text + "\n", encoding="utf-8")
        with pytest.raises(UserError, match="line 1 of"):
            read_rewards(tmp_path / "rewards.jsonl")
