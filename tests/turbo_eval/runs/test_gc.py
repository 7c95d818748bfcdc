"""Does gc remove what is of no use and nothing else, and does a run say the same afterwards?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import SUITE, add, clip_files, hand_over, key_fields, make_run, manifest_of, tree
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.leases import Session
from turbo_eval.runs.gc import collect, find_garbage
from turbo_eval.runs.status import status_of
from turbo_eval.store import Failure, Run, open_run


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A complete run with clips of a former seed, a lost process, doubled rows and what kills leave."""
    run = make_run(tmp_path / "run", "node1-1-aa", [0, 1], changed={"seed": 9}, shade=1)
    made = open_run(run, manifest_of({"fast": key_fields()}), SUITE)
    made.add_failures([Failure(("fast", "p-3", 0), made.keys["fast"], "generate", (), "ValueError: no", "", 3)])
    made.add_relief("fast", "some-unit", "smaller micro-batches")
    add(made, range(4))
    path = hand_over(made, "node2-1-bb", ended_at=None)
    os.utime(run / "sessions" / "node2-1-bb.json", (1.0, 1.0))
    copy = run / "ledger" / "node3-1-cc.jsonl"
    copy.write_bytes(path.read_bytes().splitlines(keepends=True)[-1] + b'{"torn')
    (run / "leases").mkdir()
    (run / "leases" / "some-unit.1").write_text("node2-1-bb")
    folder = clip_files(run)[0].parent
    (folder / "00009-00-abcdefabcdef.mp4").write_bytes(b"no row")
    (folder / ".00009-00.mp4.node2-1-bb.tmp").write_bytes(b"half")
    return run


def said(run: Path) -> tuple[Any, ...]:
    status = status_of(run)
    opened = Run(run, repair=False)
    return status.state, status.models, status.failures, status.reliefs, opened.clips(), opened.scores()


def test_a_dry_run_says_what_would_go_and_changes_nothing(littered: Path, call: Any) -> None:
    before = tree(littered)
    done = call("gc", littered, "--dry-run", "--json")
    assert done.code == 0 and done.document["dry_run"] and tree(littered) == before
    removed = {kind: found["count"] for kind, found in done.document["removed"].items()}
    assert removed == {"former_clips": 2, "unlisted_files": 1, "stale_temporaries": 1, "leases": 1, "ledgers": 3}
    size = sum((littered / path).stat().st_size for path in done.document["removed"]["former_clips"]["paths"])
    assert done.document["removed"]["former_clips"]["size_bytes"] == size > 0
    assert (done.document["rows_before"], done.document["rows_after"]) == (4 + 10 + 1, 9)
    assert "would free" in call("gc", littered, "--dry-run").stdout


def test_what_is_of_no_use_goes_and_the_run_says_the_same(littered: Path, call: Any) -> None:
    before, sessions = said(littered), tree(littered / "sessions")
    freed = call("gc", littered, "--dry-run", "--json").document["freed_bytes"]
    size = sum(map(len, tree(littered).values()))
    done = call("gc", littered, "--json")
    assert done.code == 0 and said(littered) == before and tree(littered / "sessions") == sessions
    assert size - sum(map(len, tree(littered).values())) == freed
    [ledger] = (littered / "ledger").iterdir()
    assert ledger.name == Path(done.document["compact"]).name and ledger.name.startswith("compact-")
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert sorted(row["kind"] for row in rows) == ["clip"] * 4 + ["relief"] + ["score"] * 4
    assert len(clip_files(littered)) == 4 and len(list((littered / "clips").iterdir())) == 1
    assert list((littered / "leases").iterdir()) == []
    assert call("verify", littered, "--json").document["findings"] == []
    again = call("gc", littered, "--json").document
    assert again["freed_bytes"] == 0 and again["compact"] is None


def former_clips(run: Path, call: Any) -> int:
    return int(call("gc", run, "--dry-run", "--json").document["removed"]["former_clips"]["count"])


def test_clips_that_a_process_of_the_last_day_has_made_stay(littered: Path, call: Any) -> None:
    path = littered / "sessions" / "node1-1-aa.json"
    run = Run(littered, repair=False)
    [former] = {clip.key for clip in run.rows()} - set(run.keys.values())
    path.write_text(json.dumps({**json.loads(path.read_text()), "keys": {"fast": former}}))
    done = call("gc", littered)
    assert done.code == 0 and len(clip_files(littered)) == 4 + 2
    assert "2 clips stay: made by a process of the last day" in done.stdout
    rows = (littered / "ledger").glob("*.jsonl")
    assert sum(former in row for ledger in rows for row in ledger.read_text().splitlines()) == 2
    os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    assert former_clips(littered, call) == 2


def test_clips_of_a_model_that_the_manifest_has_lost_stay(littered: Path, call: Any) -> None:
    path = littered / "manifest.json"
    whole = path.read_text()
    manifest = json.loads(whole)
    manifest["models"] = {"other": key_fields(seed=3)}
    path.write_text(json.dumps({**manifest, "scope": {**manifest["scope"], "models": ["other"]}}))
    done = call("gc", littered)
    assert done.code == 0 and "6 clips stay: the manifest knows no model fast" in done.stdout
    path.write_text(whole)
    assert status_of(littered).models[0].done == 4 and former_clips(littered, call) == 2


def test_a_row_cannot_make_gc_remove_another_file_of_the_run(littered: Path, call: Any) -> None:
    path = littered / "ledger" / "node1-1-aa.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(path.read_text() + json.dumps({**row, "path": "manifest.json"}) + "\n")
    done = call("gc", littered)
    assert done.code == 2 and "broken" in done.stderr and (littered / "manifest.json").exists()


def test_open_failures_and_scores_of_lost_rows_are_kept(tmp_path: Path, call: Any) -> None:
    run = make_run(tmp_path / "run", indices=[0])
    made = open_run(run, manifest_of({"fast": key_fields()}), SUITE)
    made.add_failures([Failure(("fast", "p-3", 0), made.keys["fast"], "generate", (), "ValueError: no", "", 3)])
    path = hand_over(made, "node1-2-bb")
    score = (run / "ledger" / "node1-1-aa.jsonl").read_text().splitlines()[-1]
    orphan = json.dumps({**json.loads(score), "clip_sha256": "0" * 64})
    path.write_text(path.read_text() + orphan + "\n")
    found = call("verify", run, "--json").document["findings"]
    assert call("gc", run).code == 0
    kinds = [(f["kind"], f["detail"]) for f in call("verify", run, "--json").document["findings"]]
    assert kinds == [(f["kind"], f["detail"]) for f in found] and "orphan_score" in dict(kinds)
    assert [failure.prompt_id for failure in status_of(run).failures] == ["p-3"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(8))
def test_a_kill_at_any_removal_harms_nothing(littered: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    before, unlink, left = said(littered), Path.unlink, step

    def counted(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if left == 0 and not path.name.startswith(".compact"):
            raise Killed
        left -= not path.name.startswith(".compact")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", counted)
        with pytest.raises(Killed):
            collect(find_garbage(littered))
    assert said(littered)[:-2] == before[:-2] and Run(littered).scores() == before[-1]
    collect(find_garbage(littered))
    assert said(littered) == before and len(list((littered / "ledger").iterdir())) == 1


def test_nothing_goes_while_somebody_works_or_a_line_is_broken(littered: Path, call: Any) -> None:
    before = tree(littered)
    with Session(littered, {}):
        done = call("gc", littered, "--dry-run")
        assert done.code == 2 and "being worked on" in done.stderr
    garbage = find_garbage(littered)
    with Session(littered, {}), pytest.raises(Exception, match="being worked on"):
        collect(garbage)
    assert {path.partition("/")[0] for path in tree(littered).keys() ^ before.keys()} == {"sessions"}
    path = littered / "ledger" / "node1-1-aa.jsonl"
    path.write_bytes(b"[]\n" + path.read_bytes())
    done = call("gc", littered)
    assert done.code == 2 and "verify" in done.stderr


def test_a_link_is_removed_and_not_what_it_points_to(littered: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.mp4"
    precious.write_bytes(b"dear")
    (littered / "clips" / "link.mp4").symlink_to(precious)
    collect(find_garbage(littered))
    assert precious.exists() and not (littered / "clips" / "link.mp4").is_symlink()


def test_a_run_that_cannot_be_written(read_only: Path, call: Any) -> None:
    assert call("gc", read_only, "--dry-run").code == 0
    done = call("gc", read_only)
    assert done.code == 2 and "cannot be written" in done.stderr
    assert "--out" not in done.stderr and "get the right to write" in done.stderr


def test_the_table_is_printed_again_byte_for_byte(run: Path, tmp_path: Path, call: Any) -> None:
    videos, suite = tmp_path / "videos", tmp_path / "suite.jsonl"
    videos.mkdir()
    for i, path in enumerate(clip_files(run)):
        (videos / f"p-{i}-0.mp4").write_bytes(path.read_bytes())
    suite.write_text("".join(json.dumps({"prompt_id": f"p-{i}", "prompt": f"a {i}"}) + "\n" for i in range(4)))
    out = tmp_path / "out"
    arguments = ["vbench", "--videos", str(videos), "--suite", str(suite), "--samples", "1", "--threads", "1"]
    arguments += ["--dimensions", "temporal_flickering", "--no-latency", "--out", str(out)]

    def printed() -> bytes:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return (out / "scores.jsonl").read_bytes()

    before = printed()
    assert call("status", out, "--json").document["state"] == "complete" and call("verify", out).code == 0
    assert call("gc", out).code == 0 and call("verify", out).code == 0
    assert printed() == before and len(list((out / "ledger").iterdir())) == 1


def test_none_of_the_commands_needs_torch(run: Path, tmp_path: Path, repository: Path) -> None:
    calls = [["status"], ["verify", "--repair"], ["explain"], ["gc"]]
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'cv2'): sys.modules[name] = None\n"
        "from turbo_eval.cli import app\n"
        f"calls = [[*call, {str(run)!r}] for call in {calls!r}]\n"
        f"for call in [*calls, ['merge', {str(tmp_path / 'out')!r}, {str(run)!r}]]:\n"
        "    try: app(['runs', *call])\n"
        "    except SystemExit as end: assert end.code == 0, (call, end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
