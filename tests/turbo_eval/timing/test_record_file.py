"""Does a record come back from its file as it was, and nothing else as a record?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speed_records import cpu_record, gpu_record

from turbo_eval.timing.fingerprints import code, hardware, software
from turbo_eval.timing.intervals import median_interval
from turbo_eval.timing.record import WALL, SpeedRecord
from turbo_eval.timing.record_file import read_record, write_record
from turbo_train.errors import UserError


@pytest.mark.parametrize("make", [cpu_record, gpu_record])
def test_a_record_comes_back_exactly(make: Callable[[], SpeedRecord], tmp_path: Path) -> None:
    record = replace(make(), hardware=hardware("cpu"), software=software(), code=code())
    third = replace(record.rows[0], load_s=1 / 3, first_call_s=5e-324, name="Gänse")
    record = replace(record, rows=(*record.rows, third), harness_s=0.1 + 0.2)
    path = write_record(record, tmp_path / "deep" / "speed.json")
    assert read_record(path) == record
    again = write_record(read_record(path), tmp_path / "again.json")
    assert again.read_bytes() == path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["speed.json"]


def test_what_follows_from_the_runs_is_beside_and_not_read(tmp_path: Path) -> None:
    record = cpu_record()
    path = write_record(record, tmp_path / "speed.json")
    whole = json.loads(path.read_text())
    for row, beside in zip(record.rows, whole["derived"], strict=True):
        wall = beside["stages"][WALL]
        assert (wall["median_s"], wall["low_s"], wall["high_s"]) == median_interval(row.runs_s[WALL])
        assert beside["verdict"] == ("VALID" if row.valid else "INVALID")
        assert beside["codes"] == [reason.code for reason in row.reasons]
        assert beside["recipe_fingerprint"] == row.recipe.fingerprint
    whole["derived"] = "changed"
    path.write_text(json.dumps(whole))
    assert read_record(path) == record


def test_an_interrupted_record_is_kept_too(tmp_path: Path) -> None:
    record = cpu_record()
    few = [replace(record.rows[0], runs_s={k: v[:n] for k, v in record.rows[0].runs_s.items()}) for n in range(2)]
    kept = replace(record, rows=tuple(few))
    path = write_record(kept, tmp_path / "speed.json")
    assert read_record(path) == kept
    none, one = json.loads(path.read_text())["derived"]
    assert none["stages"] == {} and one["stages"][WALL]["cv"] is one["stages"][WALL]["low_s"] is None


def damaged(change: Callable[[dict[str, Any]], object], folder: Path) -> str:
    """What reading says of a file with a change in it."""
    path = write_record(cpu_record(), folder / "speed.json")
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(path) in str(caught.value) and caught.value.run_next
    return str(caught.value)


def test_every_damage_is_named_with_its_place(tmp_path: Path) -> None:
    def said(change: Callable[[dict[str, Any]], object]) -> str:
        return damaged(change, tmp_path)

    row: Callable[[dict[str, Any]], dict[str, Any]] = lambda whole: whole["record"]["rows"][1]  # noqa: E731
    assert "no field 'load_s' at record.rows[1]" in said(lambda whole: row(whole).pop("load_s"))
    assert "no field 'stamp' at record" in said(lambda whole: whole["record"].pop("stamp"))
    assert "no field 'derived'" in said(lambda whole: whole.pop("derived"))
    unknown = said(lambda whole: row(whole)["recipe"].update(num_step=3))
    assert "unknown field 'num_step' at record.rows[1].recipe (did you mean num_steps?)" in unknown
    assert "'4' at record.rows[1].recipe.num_steps" in said(lambda whole: row(whole)["recipe"].update(num_steps="4"))
    assert "True at record.rows[1].network_calls" in said(lambda whole: row(whole).update(network_calls=True))
    assert "True at record.harness_s" in said(lambda whole: whole["record"].update(harness_s=True))
    assert "1 at record.rows[1].recipe.cuda_graphs" in said(lambda whole: row(whole)["recipe"].update(cuda_graphs=1))
    assert "None at record.rows[1].runs_s" in said(lambda whole: row(whole).update(runs_s=None))
    assert "record.rows[1].runs_s.wall[0]" in said(lambda whole: row(whole)["runs_s"]["wall"].insert(0, "1.0"))
    assert "{} at record.rows" in said(lambda whole: whole["record"].update(rows={}))
    assert "NaN is no number" in said(lambda whole: row(whole).update(load_s=float("nan")))
    runs = "record.rows[1].runs_s"
    assert f"no field 'wall' at {runs}" in said(lambda whole: row(whole)["runs_s"].pop("wall"))
    assert f"unknown field 'decode' at {runs}" in said(lambda whole: row(whole)["runs_s"].update(decode=[]))
    assert f"not as many runs of each stage at {runs}" in said(lambda whole: row(whole)["runs_s"]["wall"].pop())
    assert f"took no time at {runs}.wall" in said(lambda whole: row(whole)["runs_s"]["wall"].__setitem__(0, 0.0))
    assert "schema_version 2" in said(lambda whole: whole.update(schema_version=2))
    assert "no schema_version" in said(lambda whole: whole.pop("schema_version"))


def test_what_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_record(tmp_path / "nothing.json")
    for text in ("", "[]", "{", '{"schema_version": 1, "record": 3, "derived": []}'):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(UserError, match=r"odd\.json"):
            read_record(tmp_path / "odd.json")
    huge = write_record(cpu_record(), tmp_path / "huge.json")
    huge.write_text(huge.read_text().replace('"load_s": 1.31', '"load_s": 1e999', 1))
    with pytest.raises(UserError, match="inf at record"):
        read_record(huge)


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_record(replace(cpu_record(), harness_s=float("nan")), tmp_path / "speed.json")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_record(cpu_record(), tmp_path / "file" / "speed.json")


def test_a_whole_number_is_read_as_the_double_that_is_meant(tmp_path: Path) -> None:
    path = write_record(replace(cpu_record(), harness_s=2.0), tmp_path / "speed.json")
    path.write_text(path.read_text().replace('"harness_s": 2.0', '"harness_s": 2'))
    found = read_record(path).harness_s
    assert found == 2.0 and isinstance(found, float)
