"""Is everything found that can be wrong with a run, in one go, and mended without losing a clip?"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import METRIC, SUITE, add, clip_files, hand_over, key_fields, make_run, manifest_of, tree

from turbo_eval.leases import Session
from turbo_eval.provenance import environment
from turbo_eval.records import ScoreRecord
from turbo_eval.report import write_results
from turbo_eval.runs.repair import repair_run
from turbo_eval.runs.verify import Verified, verify_run
from turbo_eval.store import Failure, Run, open_run
from turbo_eval.tables import build_table


def verified(folder: Path) -> Verified:
    return verify_run(folder, lambda total: nullcontext(lambda count: None))


def counts(folder: Path) -> dict[str, int]:
    """kind -> findings, harmless ones in brackets."""
    groups = verified(folder).groups.items()
    return {f"({kind})" if harmless else kind: len(items) for (kind, harmless), items in groups}


def ledger(folder: Path) -> Path:
    [path] = (folder / "ledger").glob("*.jsonl")
    return path


def change(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Edits the rows of the ledger as data."""
    rows = [json.loads(line) for line in ledger(folder).read_text().splitlines()]
    edit(rows)
    ledger(folder).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_sound_run(run: Path, call: Any) -> None:
    before = tree(run)
    done = call("verify", run, "--json")
    assert done.code == 0 and done.document["sound"] and done.document["findings"] == []
    assert (done.document["lines"], done.document["clips"], done.document["wanted"]) == (8, 4, 4)
    assert call("verify", run).stdout.startswith("8 rows and 4 clips") and tree(run) == before


def test_a_read_only_run_is_verified(read_only: Path, call: Any) -> None:
    assert call("verify", read_only).code == 0
    done = call("verify", read_only, "--repair")
    assert done.code == 0  # there is nothing to mend


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: path.unlink(), "missing_file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "changed_file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"), "changed_file"),
        (lambda path: (path.rename(path.parents[3] / "x.mp4"), path.symlink_to(path.parents[3] / "x.mp4")), "outside"),
    ],
)
def test_a_damaged_clip(run: Path, call: Any, damage: Callable[[Path], object], kind: str) -> None:
    damage(clip_files(run)[1])
    assert counts(run) == {kind: 1}
    done = call("verify", run)
    assert done.code == 3 and kind in done.stdout and "again: it makes missing and damaged clips anew" in done.stderr
    done = call("verify", run, "--json")
    assert done.code == 3 and not done.document["sound"] and done.document["findings"][0]["kind"] == kind


def test_a_row_that_says_another_length_than_the_file(run: Path) -> None:
    change(run, lambda rows: rows[0].update(frames=9))
    change(run, lambda rows: rows[1].update(fps=25.0))
    assert counts(run) == {"unreadable_clip": 2}


def test_missing_clips_and_scores_with_their_reason(tmp_path: Path) -> None:
    made = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}), SUITE)
    add(made, [0])
    add(made, [1], score=None)
    made.add_failures([Failure(("fast", "p-2", 0), made.keys["fast"], "generate", (), "ValueError: no", "", 3)])
    hand_over(made, "node1-1-aa")
    assert counts(made.folder) == {"missing_clip": 2, "missing_score": 1}
    details = [finding.detail for finding in verified(made.folder).findings]
    assert details == [METRIC, "ValueError: no", "not made yet"]


def test_all_broken_lines_are_named_and_none_hides_another(run: Path) -> None:
    change(run, lambda rows: (rows[0].update(schema_version=1), rows[1].update(kind="song"), rows[2].pop("fps")))
    path = ledger(run)
    path.write_bytes(b"\xff\n[]\n" + path.read_bytes() + b'{"kind": "clip"')
    found = verified(run)
    reasons = [f.detail for f in found.findings if f.kind == "broken_line"]
    assert reasons == [
        "not a JSON object",
        "not a JSON object",
        "schema_version 1, this version reads 2",
        "a row of unknown kind 'song'",
        "no field 'fps'",
    ]
    expected = {"broken_line": 5, "torn_line": 1, "orphan_score": 3, "missing_clip": 3, "(unlisted_file)": 3}
    assert counts(run) == expected


def test_repair_moves_broken_lines_aside_and_keeps_every_clip(run: Path, call: Any) -> None:
    path = ledger(run)
    whole = path.read_bytes()
    path.write_bytes(b"\xffbad\n" + whole + b'{"torn')
    stale = run / "clips" / ".00000-00.mp4.node9-1-dead.tmp"
    stale.write_bytes(b"half")
    clips = clip_files(run)
    refused = call("verify", run)
    assert refused.code == 3 and "--repair first" in refused.stderr
    done = call("verify", run, "--repair", "--json")
    assert done.code == 0 and len(done.document["repaired"]) == 3
    assert path.read_bytes() == whole and clip_files(run) == clips and not stale.exists()
    kept = (run / "ledger" / "broken.txt").read_bytes()
    assert kept == b"# node1-1-aa.jsonl line 1: not a JSON object\n\xffbad\n"
    assert Run(run, repair=False).notes == [] and repair_run(run) == []


def test_a_repair_that_was_killed_writes_no_line_aside_twice(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger(run)
    path.write_bytes(b"bad\nbad\n" + path.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr("turbo_eval.runs.repair._drop", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            repair_run(run)
    repair_run(run)
    assert (run / "ledger" / "broken.txt").read_text().count("\nbad\n") == 2


def test_the_file_of_a_process_at_work_is_left_alone(tmp_path: Path) -> None:
    made = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}), SUITE)
    with Session(made.folder, {}):
        add(made, range(4))
        with made.ledger.own.open("ab") as stream:
            stream.write(b"bad\nhalf")
        before = made.ledger.own.read_bytes()
        assert counts(made.folder) == {"broken_line": 1}
        assert "is at work" in repair_run(made.folder)[0] and made.ledger.own.read_bytes() == before


def test_two_files_of_one_clip_are_a_conflict_until_one_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    made = open_run(run, manifest_of({"fast": key_fields()}), SUITE)
    [twin] = add(made, [0], shade=1)
    hand_over(made, "node2-1-bb")
    assert counts(run) == {"conflict": 1}
    (run / twin.record.path).unlink()
    assert counts(run) == {"(missing_file)": 1}


def test_rows_that_stand_twice_are_counted_and_harmless(run: Path, call: Any) -> None:
    change(run, lambda rows: rows.extend([dict(rows[0]), {**rows[-1], "at": 5.0}]))
    assert counts(run) == {"(duplicate_row)": 2} and call("verify", run).code == 0


def test_two_values_for_one_thing(run: Path) -> None:
    change(run, lambda rows: rows.append({**rows[-1], "value": 0.25}))
    assert counts(run) == {"score_conflict": 1}


def test_the_same_bytes_of_two_prompts_have_scores_of_their_own(tmp_path: Path) -> None:
    made = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}, limit=2), SUITE)
    first, second = add(made, [0], score=None), add(made, [1], score=None)
    for [clip], value in ((first, 0.1), (second, 0.2)):
        made.add_scores([(clip.record, [ScoreRecord(*clip.record.clip_id, METRIC, "s/1", value)])])
    hand_over(made, "node1-1-aa")
    change(made.folder, lambda rows: [row.update(clip_sha256="0" * 64) for row in rows if row["kind"] == "score"])
    assert counts(made.folder) == {"orphan_score": 2, "missing_score": 2}


def test_a_row_of_another_suite(run: Path) -> None:
    change(run, lambda rows: rows[0].update(suite_sha256="ab" * 32))
    assert counts(run) == {"foreign_row": 1}


def test_files_that_no_row_names_are_harmless(run: Path) -> None:
    clip = clip_files(run)[0]
    (clip.parent / "00009-00-abc.mp4").write_bytes(b"")
    (clip.parent / ".00009-00.mp4.node9-1-dead.tmp").write_bytes(b"")
    assert counts(run) == {"(stale_temporary)": 1, "(unlisted_file)": 1}


def test_damage_to_clips_of_a_former_key_is_harmless(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    clip_files(run)[0].unlink()
    make_run(run, "node1-2-bb", changed={"seed": 1})
    assert counts(run) == {"(missing_file)": 1}


def test_a_changed_suite_or_manifest_does_not_hide_the_rest(run: Path, call: Any) -> None:
    clip_files(run)[0].unlink()
    (run / "suite.jsonl").write_text('{"prompt_id": "p", "prompt": "other"}\n')
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace('"num_steps": 4', '"num_steps": 5'))
    done = call("verify", run, "--json")
    assert done.code == 3 and done.document["wanted"] is None
    assert [f["kind"] for f in done.document["findings"]] == ["manifest", "suite", "missing_file"]


def test_scores_that_are_not_the_ledgers(run: Path, call: Any) -> None:
    opened = Run(run, repair=False)
    scores = opened.scores()
    table = build_table(scores, models=["fast"], suite="tiny", groups={METRIC: "oracle"}, unscored={})
    write_results(run, scores=scores, table=table, manifest=opened.manifest, environment=environment(), timings={})
    assert call("verify", run).code == 0
    path = run / "scores.jsonl"
    path.write_text(path.read_text().replace("0.5", "0.75", 1))
    assert counts(run) == {"results": 1} and call("verify", run).code == 3
    (run / "results.json").write_text("{}")
    assert counts(run) == {"results": 1}


def test_advice_fits_what_was_found(run: Path, tmp_path: Path, call: Any) -> None:
    clip = clip_files(run)[0]
    clip.rename(tmp_path / "elsewhere.mp4")
    clip.symlink_to(tmp_path / "elsewhere.mp4")
    done = call("verify", run)
    assert done.code == 3 and "replace each link that leads out of the run by the file, by hand" in done.stderr
    assert "the command that made the run" in done.stderr
    (run / "imported.json").write_text("{}")
    done = call("verify", run)
    assert "runs import-vbench that brought them" in done.stderr and "the command that made the run" not in done.stderr
