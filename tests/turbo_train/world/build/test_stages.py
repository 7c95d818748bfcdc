"""Does a build do what is left to do, and say what is wrong with its arguments?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbo_train.errors import UserError
from turbo_train.world.build.stages import RECORD, STAGES, build


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(json.dumps({name: {} for name in STAGES}), encoding="utf-8")
    assert build(tmp_path, tmp_path / "work") == ()
    assert not (tmp_path / "work").exists()


def test_an_unknown_stage_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean teacher") as caught:
        build(tmp_path, tmp_path / "work", ["techer"])
    assert caught.value.exit_code == 2


def test_a_stage_without_its_forerunner_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--stages vae"):
        build(tmp_path, tmp_path / "work", ["teacher"])


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="a writable folder"):
        build(tmp_path / "file" / "out", tmp_path / "work")
