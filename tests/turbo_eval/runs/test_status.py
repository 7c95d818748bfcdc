"""Does status say how far a run is, who works on it and what failed, without touching it?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import METRIC, SUITE, add, hand_over, key_fields, make_run, manifest_of, tree

from turbo_eval.leases import Session, boot_id
from turbo_eval.runs.status import status_of
from turbo_eval.store import Failure, open_run
from turbo_train.exits import exit_code_of


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_complete_run(run: Path, call: Any) -> None:
    done = call("status", run, "--json")
    assert done.code == 0 and done.stderr == ""
    status = done.document
    assert status["state"] == "complete" and status["suite"] == "tiny"
    [model] = status["models"]
    assert (model["model"], model["done"], model["wanted"], model["failed"], model["percent"]) == ("fast", 4, 4, 0, 100)
    assert model["scores"] == [{"metric": METRIC, "done": 4, "wanted": 4}]
    [worker] = status["workers"]
    assert (worker["writer"], worker["host"], worker["pid"], worker["state"]) == ("node1-1-aa", "node1", 7, "ended")
    assert status["clips_per_minute"] is None and status["eta_s"] is None
    assert status["clips_bytes"] == sum(p.stat().st_size for p in (run / "clips").rglob("*.mp4"))
    assert status["total_bytes"] == sum(map(len, tree(run).values()))
    printed = call("status", run)
    assert printed.code == 0 and "complete" in printed.stdout and "4/4" in printed.stdout
    assert "1 ended" in printed.stdout


def test_missing_clips_and_missing_scores_are_not_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", indices=[0, 1])
    status = status_of(run)
    assert status.state == "stopped"
    assert (status.models[0].done, status.models[0].wanted, status.models[0].metrics) == (2, 4, {METRIC: (2, 4)})
    make_run(run, "node1-2-bb", [2, 3], score=None)
    status = status_of(run)
    assert (status.models[0].done, status.models[0].metrics[METRIC], status.state) == (4, (2, 4), "stopped")


def test_a_run_without_any_score_is_not_complete(tmp_path: Path) -> None:
    status = status_of(make_run(tmp_path / "run", score=None))
    assert (status.state, status.models[0].metrics) == ("stopped", {METRIC: (0, 4)})


def test_only_the_newest_commands_models_and_prompts_are_wanted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(run, "node1-2-bb", [0], model="slow", limit=2)
    [model] = status_of(run).models
    assert (model.model, model.done, model.wanted) == ("slow", 1, 2)


def test_clips_of_a_former_key_do_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(run, "node1-2-bb", [0], changed={"seed": 1})
    assert status_of(run).models[0].done == 1


def test_a_worker_at_work_its_unit_throughput_and_time_left(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}), SUITE)
    with Session(run.folder, {"host": "here", "pid": os.getpid()}) as session:
        unit = f"fast-{run.keys['fast'][:12]}-00-00002"
        assert session.acquire(unit) is not None
        assert status_of(run.folder).eta_s is None  # nothing was made yet
        add(run, [0])
        status = status_of(run.folder)
        assert status.state == "running"
        [worker] = status.workers
        assert (worker.state, worker.unit, worker.ended_by) == ("alive", unit, None)
        assert worker.heartbeat_age_s is not None and worker.heartbeat_age_s < 60
        assert status.window_s is not None and 1 <= status.window_s < 60
        assert status.clips_per_minute == pytest.approx(60 / status.window_s, rel=1e-3)
        assert status.eta_s == pytest.approx(3 * status.window_s, rel=1e-3)
        assert "clips per minute" in "\n".join(status.lines())
    status = status_of(run.folder)
    assert (status.state, status.eta_s, status.workers[0].state) == ("stopped", None, "ended")


def test_a_dead_process_and_the_unit_it_held(tmp_path: Path, call: Any) -> None:
    run = make_run(tmp_path / "run", indices=[0])
    session = {"host": "here", "pid": 1, "started_at": 1.0, "ended_at": None, "boot_id": boot_id()}
    path = run / "sessions" / "here-1-cc.json"
    path.write_text(json.dumps(session))
    os.utime(path, (1.0, 1.0))
    (run / "leases").mkdir()
    (run / "leases" / "some-unit.1").write_text("here-1-cc")
    status = call("status", run, "--json").document
    assert status["state"] == "stopped" and status["lapsed_units"] == ["some-unit"]
    [worker] = [w for w in status["workers"] if w["writer"] == "here-1-cc"]
    assert (worker["state"], worker["unit"]) == ("lost", "some-unit")
    assert "some-unit" in call("status", run).stdout


def test_failures_with_their_unit_and_at_will_their_traceback(tmp_path: Path, call: Any) -> None:
    made = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}), SUITE)
    add(made, [0, 1])
    key = made.keys["fast"]
    made.add_failures(
        [Failure(("fast", f"p-{i}", 0), key, "generate", (), "ValueError: no", "Trace\n", 3) for i in (2, 3)]
    )
    made.add_relief("fast", "u", "smaller micro-batches")
    hand_over(made, "node1-1-aa")
    done = call("status", made.folder, "--json")
    assert done.code == 0 and done.document["state"] == "failed parts" and done.document["models"][0]["failed"] == 2
    assert done.document["reliefs"] == [{"unit": "u", "what": "smaller micro-batches"}]
    first = done.document["failures"][0]
    assert (first["prompt_id"], first["unit"], first["stage"]) == ("p-2", f"fast-{key[:12]}-00-00002", "generate")
    assert first["attempts"] == 3 and first["error"] == "ValueError: no" and "traceback" not in first
    full = call("status", made.folder, "--json", "--traceback").document
    assert full["failures"][0]["traceback"] == "Trace\n"
    assert "Trace" in call("status", made.folder, "--traceback").stdout
    assert "Trace" not in call("status", made.folder).stdout


def test_nothing_is_written_and_a_read_only_folder_is_read(read_only: Path, call: Any) -> None:
    before = stamps(read_only)
    assert call("status", read_only).code == 0
    assert stamps(read_only) == before


def test_broken_and_torn_lines_do_not_stop_it_and_stay(run: Path, call: Any) -> None:
    [ledger] = (run / "ledger").glob("*.jsonl")
    ledger.write_bytes(b"nonsense\n" + ledger.read_bytes() + b'{"kind": "cl')
    before = tree(run)
    done = call("status", run)
    assert done.code == 0 and "1 broken and 1 torn lines; turbo-eval runs verify" in done.stdout
    assert tree(run) == before


def test_a_link_that_leads_out_of_the_run_is_no_clip(run: Path, tmp_path: Path) -> None:
    clip = next((run / "clips").rglob("*.mp4"))
    clip.rename(tmp_path / "elsewhere.mp4")
    clip.symlink_to(tmp_path / "elsewhere.mp4")
    assert status_of(run).models[0].done == 3


@pytest.mark.parametrize("command", ["status", "verify", "gc"])
def test_what_is_no_run_is_a_mistake(tmp_path: Path, call: Any, command: str) -> None:
    done = call(command, tmp_path / "nothing", "--json")
    assert done.code == 2 and "no manifest.json" in done.stderr and done.stdout == ""
    (tmp_path / "manifest.json").write_text("{}")
    assert call(command, tmp_path).code == 2


def test_a_process_that_writes_meanwhile_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", manifest_of({"fast": key_fields()}), SUITE)
    with Session(run.folder, {}):
        add(run, [0, 1])
        with run.ledger.own.open("ab") as stream:
            stream.write(b'{"half": ')
        status = status_of(run.folder)
    assert (status.models[0].done, status.broken_lines, status.torn_lines) == (2, 0, 0)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_pipes_and_folders_are_no_ledgers_and_no_sessions(run: Path, call: Any) -> None:
    os.mkfifo(run / "ledger" / "pipe.jsonl")
    os.mkfifo(run / "sessions" / "pipe.json")
    (run / "ledger" / "folder.jsonl").mkdir()
    (run / "sessions" / "folder.json").mkdir()
    assert call("status", run, "--json").document["state"] == "complete"
    assert call("verify", run, "--repair").code == 0


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE")
def test_a_reader_that_leaves_is_no_bug(run: Path) -> None:
    reader, pipe = os.pipe()
    os.close(reader)
    program = "from turbo_eval.cli import app; app()"
    command = [sys.executable, "-c", program, "runs", "status", str(run)]
    done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise BrokenPipeError("of a worker")

    assert exit_code_of(work) == 4 and "of a worker" in capsys.readouterr().err
