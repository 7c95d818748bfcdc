"""Do runs from machines without a shared disk become one, whole or not at all, and never a contradiction?"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import clip_files, key_fields, make_run, tree

from turbo_eval.leases import Session
from turbo_eval.manifest import Scope, read_manifest
from turbo_eval.runs.agreement import merged_scope
from turbo_eval.runs.imported import ImportedFile, read_imported, write_imported
from turbo_eval.runs.merge import Merged, merge_runs
from turbo_eval.store import Run


def merged(out: Path, *sources: Path) -> Merged:
    return merge_runs(out, sources, lambda total: nullcontext(lambda count: None))


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Path, Path]:
    """Two halves of one run; the first process has done one clip of the second half, too."""
    first = make_run(tmp_path / "first", "node1-1-aa", [0, 1, 2])
    return first, make_run(tmp_path / "second", "node2-1-bb", [2, 3])


def test_halves_become_a_whole_run(nodes: tuple[Path, Path], tmp_path: Path, call: Any) -> None:
    out = tmp_path / "out"
    done = call("merge", out, *nodes, "--json")
    assert done.code == 0, done.stderr
    document = done.document
    assert (document["clips_copied"], document["clips_there"], document["ledgers_copied"]) == (4, 1, 2)
    assert document["models"] == ["fast"] and document["damaged"] == [] and document["sessions_copied"] == 2
    assert call("verify", out).code == 0 and call("status", out, "--json").document["state"] == "complete"
    for node in nodes:
        for name, data in tree(node).items():
            if name not in ("manifest.json", ".lock") and not name.startswith("sessions/"):
                assert (out / name).read_bytes() == data
    assert len(Run(out, repair=False).scores()) == 4
    assert "the command that made the runs with --out" in call("merge", out, *nodes).stdout


def test_merging_again_copies_nothing(nodes: tuple[Path, Path], tmp_path: Path) -> None:
    merged(tmp_path / "out", *nodes)
    before = tree(tmp_path / "out")
    again = merged(tmp_path / "out", *nodes)
    assert (again.clips_copied, again.ledgers_copied, again.sessions_copied) == (0, 0, 0)
    assert (again.clips_there, again.ledgers_there) == (5, 2)
    assert tree(tmp_path / "out") == before


def test_a_source_that_went_on_is_merged_further(tmp_path: Path) -> None:
    source, out = make_run(tmp_path / "source", indices=[0, 1]), tmp_path / "out"
    merged(out, source)
    earlier = shutil.copytree(source, tmp_path / "earlier")
    longer = make_run(tmp_path / "longer", indices=[2])
    with (source / "ledger" / "node1-1-aa.jsonl").open("ab") as stream:  # as if the process had gone on
        stream.write((longer / "ledger" / "node1-1-aa.jsonl").read_bytes())
    shutil.copytree(longer / "clips", source / "clips", dirs_exist_ok=True)
    again = merged(out, source)
    assert (again.clips_copied, again.ledgers_copied) == (1, 1) and len(Run(out, repair=False).clips()) == 3
    assert merged(out, earlier).ledgers_there == 1 and len(Run(out, repair=False).clips()) == 3
    path = earlier / "ledger" / "node1-1-aa.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(Exception, match="goes on otherwise"):
        merged(out, earlier)


class Killed(BaseException):
    pass


def test_a_merge_killed_at_any_step_is_finished_by_the_next(
    nodes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged(tmp_path / "whole", *nodes)
    expected, replace, steps = tree(tmp_path / "whole"), os.replace, 0
    while True:
        left = steps

        def counted(source: Any, target: Any) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            replace(source, target)

        out = tmp_path / f"out-{steps}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted)
            try:
                merged(out, *nodes)
            except Killed:
                pass
            else:
                break
        if (out / "manifest.json").is_file():  # a run from the first moment on, without a row whose file is missing
            half = Run(out, repair=False)
            assert half.clips() == half.rows()
        merged(out, *nodes)
        assert tree(out) == expected
        steps += 1
    assert steps >= 10


def test_different_identities_and_keys_are_refused_with_their_fields(run: Path, tmp_path: Path, call: Any) -> None:
    for other, fields in (
        (make_run(tmp_path / "batch", batch=4), "batch: 2 and 4"),
        (make_run(tmp_path / "seed", changed={"seed": 1}), "models.fast.seed: 0 and 1"),
    ):
        done = call("merge", tmp_path / "out", run, other)
        assert done.code == 2 and fields in done.stderr and "runs explain" in done.stderr
        assert not (tmp_path / "out").exists()
        assert call("merge", other, run).code == 2


def test_different_models_are_united(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "node2-1-bb", model="slow", limit=2, indices=[0, 1])
    assert merged(tmp_path / "out", run, other).models == ("fast", "slow")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.models == {"fast": key_fields(), "slow": key_fields()}
    assert (manifest.scope.models, manifest.scope.limit) == (("fast", "slow"), None)


def test_the_merged_scope_is_all_that_any_run_wanted() -> None:
    a, b = Scope(("m",), 2, 5, ("x",)), Scope(("m", "n"), 3, 7, ("y", "x"))
    assert merged_scope([a, b]) == Scope(("m", "n"), 3, 7, ("x", "y"))
    assert merged_scope([a, Scope(("m",))]) == Scope(("m",), None, None, ())
    made, scored = Scope(("m",), score=False), Scope(("m",), encoders="vbench")
    assert merged_scope([made, scored]) == merged_scope([scored, made]) == scored


def test_a_clip_with_other_bytes_is_a_conflict_before_anything_is_copied(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other", "node2-1-bb", [0], shade=1)
    done = call("merge", tmp_path / "out", run, other)
    assert done.code == 2 and "fast p-0-0 has other bytes" in done.stderr and not (tmp_path / "out").exists()
    clip_files(other)[0].unlink()  # its row alone contradicts nobody
    assert call("merge", tmp_path / "out", run, other).code == 0


def test_two_values_of_one_score_are_a_conflict(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other", "node2-1-bb", [1], score=0.25)
    done = call("merge", tmp_path / "out", run, other)
    assert done.code == 2 and "oracle_colour is 0.5 in" in done.stderr and not (tmp_path / "out").exists()


def test_a_clip_that_is_damaged_everywhere_is_said_and_the_rest_merged(
    nodes: tuple[Path, Path], tmp_path: Path, call: Any
) -> None:
    first, _ = nodes
    for path in (clip_files(first)[0], clip_files(first)[2]):  # the second node has the latter, too
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    done = call("merge", tmp_path / "out", *nodes)
    assert done.code == 3 and "fast p-0-0" in done.stderr and "p-2" not in done.stderr
    assert [clip.prompt_id for clip in Run(tmp_path / "out", repair=False).clips()] == ["p-1", "p-2", "p-3"]


def test_a_run_at_work_and_a_broken_one_are_refused(run: Path, tmp_path: Path, call: Any) -> None:
    with Session(run, {}):
        done = call("merge", tmp_path / "out", run)
        assert done.code == 2 and "worked on" in done.stderr
    assert call("merge", tmp_path / "out", run).code == 0
    [ledger] = (run / "ledger").glob("*.jsonl")
    ledger.write_bytes(b"nonsense\n" + ledger.read_bytes())
    done = call("merge", tmp_path / "out", run)
    assert done.code == 2 and "--repair" in done.stderr


def test_a_torn_line_of_a_source_is_left_behind(run: Path, tmp_path: Path) -> None:
    [ledger] = (run / "ledger").glob("*.jsonl")
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"torn')
    merged(tmp_path / "out", run)
    assert (tmp_path / "out" / "ledger" / ledger.name).read_bytes() == whole


def test_a_lost_process_is_copied_as_ended(run: Path, tmp_path: Path) -> None:
    path = run / "sessions" / "node1-1-aa.json"
    path.write_text(json.dumps({"host": "node1", "ended_at": None}))
    os.utime(path, (5.0, 5.0))
    merged(tmp_path / "out", run)
    copied = json.loads((tmp_path / "out" / "sessions" / path.name).read_text())
    assert copied == {"host": "node1", "ended_at": 5.0, "ended_by": "lost"}


def test_mistaken_folders(run: Path, tmp_path: Path, call: Any) -> None:
    assert call("merge", run, run).code == 2
    assert call("merge", tmp_path / "out", run, run).code == 2
    assert call("merge", tmp_path / "out", tmp_path / "nothing").code == 2
    assert call("merge", tmp_path / "out").code == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("dear")
    done = call("merge", tmp_path / "thesis", run)
    assert done.code == 2 and "holds files but no manifest.json" in done.stderr


def test_an_output_folder_that_cannot_be_written(read_only: Path, tmp_path: Path, call: Any) -> None:
    done = call("merge", read_only.parent / "new", read_only)
    assert done.code == 2 and "cannot be written" in done.stderr


def test_a_run_inside_another_is_refused(run: Path, tmp_path: Path, call: Any) -> None:
    before = tree(tmp_path)
    for out, source in ((run / "out", run), (tmp_path, run)):
        done = call("merge", out, source)
        assert done.code == 2 and "lies in" in done.stderr and tree(tmp_path) == before


def test_what_was_imported_goes_along(nodes: tuple[Path, Path], tmp_path: Path, call: Any) -> None:
    first, second = (ImportedFile(f"{name}.json", name * 64, {"color": 0.5}) for name in "ab")
    write_imported(nodes[0], {"fast": {first.sha256: first}})
    write_imported(nodes[1], {"fast": {second.sha256: second}})
    assert call("merge", tmp_path / "out", *nodes).code == 0
    assert read_imported(tmp_path / "out") == {"fast": {first.sha256: first, second.sha256: second}}
    write_imported(nodes[1], {"fast": {first.sha256: replace(first, reported={"color": 0.25})}})
    done = call("merge", tmp_path / "other", *nodes)
    assert done.code == 2 and "reports other scores of a.json" in done.stderr and not (tmp_path / "other").exists()
