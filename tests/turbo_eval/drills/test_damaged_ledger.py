"""A ledger that a crash, a full disk or a hand has damaged: is it noticed, said and mended, and is all else kept?"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drill import Drill, check_folder

from turbo_eval.ledger import Ledger
from turbo_eval.store import Run
from turbo_train.errors import UserError

Make = Callable[..., Drill]
Reference = Callable[[int], bytes]


def finished(new_drill: Make) -> tuple[Drill, Path]:
    """A run of four clips and the one file of its ledger."""
    drill = new_drill("run")
    assert drill.run().code == 0
    (ledger,) = (drill.out / "ledger").iterdir()
    return drill, ledger


def test_a_ledger_cut_anywhere_is_mended(new_drill: Make, undisturbed: Reference) -> None:
    """Cut at a random byte, eight times: what is lost of it is made again, with a word on stderr."""
    drill, ledger = finished(new_drill)
    data = ledger.read_bytes()
    whole = drill.folder / "whole"
    drill.out.rename(whole)
    for cut in random.Random(5).sample(range(1, len(data)), 8):
        shutil.copytree(whole, drill.out)
        ledger.write_bytes(data[:cut])
        again = drill.run()
        assert again.code == 0, again.log
        unfinished = len(data[:cut]) - (data[:cut].rfind(b"\n") + 1)
        assert (f"{ledger.name}: cut off an unfinished last line ({unfinished} bytes)" in again.log) == bool(unfinished)
        assert drill.scores() == undisturbed(4)
        check_folder(drill.out)
        shutil.rmtree(drill.out)


def test_zeros_after_a_power_cut_are_an_unfinished_line(new_drill: Make, undisturbed: Reference) -> None:
    """A file system may have given the file its length and not yet its bytes."""
    drill, ledger = finished(new_drill)
    with ledger.open("r+b") as stream:
        stream.truncate(ledger.stat().st_size + 4096)
    again = drill.run()
    assert (again.code, "(4096 bytes)" in again.log) == (0, True), again.log
    drill.check(undisturbed(4), 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"}{", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"kind": "clip"}', "no field 'schema_version'"),
        (b'{"kind": "poem"}', "a row of kind 'poem'"),
        (b"\xff\xfe", "not a JSON object"),
    ],
)
def test_a_whole_line_that_is_no_row_is_refused(new_drill: Make, line: bytes, reason: str) -> None:
    """Not a crash's doing: the file and the line are named, and nothing is written."""
    drill, ledger = finished(new_drill)
    data = ledger.read_bytes()
    ledger.write_bytes(data + line + b"\n")
    before = (ledger.read_bytes(), drill.scores())
    again = drill.run()
    number = data.count(b"\n") + 1
    assert again.code == 2
    assert f"{ledger} line {number}: " in again.log
    assert reason in again.log
    assert (ledger.read_bytes(), drill.scores()) == before


def test_looking_at_a_run_mends_nothing(new_drill: Make) -> None:
    """`repair=False`, as a reader opens it: the same bytes afterwards, and the damage is reported."""
    drill, ledger = finished(new_drill)
    with ledger.open("ab") as stream:
        stream.write(b'{"kind": "cl')
    stale = drill.out / "clips" / ".00000-00.mp4.gone-1-abcd.tmp"
    stale.write_bytes(b"half")
    data = ledger.read_bytes()
    run = Run(drill.out, repair=False)
    assert run.notes == [f"{ledger.name}: has an unfinished last line (12 bytes)"]
    assert (len(run.clips()), ledger.read_bytes(), stale.exists()) == (4, data, True)
    assert Run(drill.out).notes == [
        f"{ledger.name}: cut off an unfinished last line (12 bytes)",
        "swept 1 unfinished files that an earlier process has left",
    ]
    assert not stale.exists()


def rows_of(ledger: Ledger) -> list[dict[str, Any]]:
    return [dict(line.data) for line in ledger.read_new()]


def test_the_line_that_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Its rows count when it is finished; once its writer is gone, it is cut off."""
    living = {"other-1-ab"}
    ledger = Ledger(tmp_path / "ledger", lambda name: name in living)
    ledger.folder.mkdir()
    other = ledger.folder / "other-1-ab.jsonl"
    other.write_bytes(b'{"n": 1}\n{"n": 2')
    assert rows_of(ledger) == [{"n": 1}]
    assert other.read_bytes().endswith(b"2")
    with other.open("ab") as stream:
        stream.write(b'}\n{"n": 3}\n{"n"')
    assert rows_of(ledger) == [{"n": 2}, {"n": 3}]
    living.clear()
    assert rows_of(ledger) == []
    assert (ledger.repaired, other.read_bytes()) == ([(other, 4)], b'{"n": 1}\n{"n": 2}\n{"n": 3}\n')


def test_each_line_is_read_once_however_often_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger", lambda name: False)
    parsed: list[str] = []
    loads = json.loads
    monkeypatch.setattr("turbo_eval.ledger.json.loads", lambda raw: parsed.append(raw) or loads(raw))
    for n in range(50):
        ledger.append([{"n": 2 * n}, {"n": 2 * n + 1}])
        assert rows_of(ledger) == [{"n": 2 * n}, {"n": 2 * n + 1}]
        assert rows_of(ledger) == []
    assert len(parsed) == 100


def test_a_broken_line_does_not_hide_the_lines_of_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", lambda name: False)
    ledger.folder.mkdir()
    (ledger.folder / "a-1-a.jsonl").write_bytes(b'{"n": 1}\nnonsense\n{"n": 2}\n')
    (ledger.folder / "b-1-b.jsonl").write_bytes(b'{"n": 3}\n')
    with pytest.raises(UserError, match=r"a-1-a\.jsonl line 2: not a JSON object"):
        rows_of(ledger)
    (ledger.folder / "a-1-a.jsonl").write_bytes(b'{"n": 1}\n{"n": 2}\n')
    assert [row["n"] for row in rows_of(ledger)] == [1, 2, 3]
