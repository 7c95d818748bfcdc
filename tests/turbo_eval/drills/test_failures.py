"""What happens when a micro-batch cannot be made, or when somebody asks to stop?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill, check_folder

from turbo_train.exits import finishing

Make = Callable[..., Drill]
Reference = Callable[[int], bytes]


def test_two_failures_are_retried(new_drill: Make, undisturbed: Reference) -> None:
    drill = new_drill("twice")
    done = drill.run(patches={"failing": {"times": 2}})
    assert done.code == 0, done.log
    assert "attempt 2 of 3 to generate failed: RuntimeError: a bug" in done.log
    assert drill.scores() == undisturbed(4)
    assert drill.rows("failed") == []
    check_folder(drill.out)


def test_a_third_failure_is_a_row_with_its_traceback(new_drill: Make, undisturbed: Reference) -> None:
    """The others go on; the command ends with 3 and names the clips; the same command tries again."""
    drill = new_drill("thrice", 8)
    broken = drill.run(patches={"failing": {"times": 3}})
    assert broken.code == 3
    assert "world-000" in broken.log
    rows = drill.rows("failed")
    assert [(r["prompt_id"], r["stage"], r["attempts"], r["error"]) for r in rows] == [
        (f"world-00{i}", "generate", 3, "RuntimeError: a bug") for i in range(2)
    ]
    assert all("Traceback" in row["traceback"] and "raise kind(message)" in row["traceback"] for row in rows)
    assert len(drill.rows("clip")) == 6
    assert not (drill.out / "scores.jsonl").exists()
    again = drill.run()
    assert again.code == 0, again.log
    assert drill.scores() == undisturbed(8)
    assert len(drill.rows("clip")) == 8


@pytest.mark.parametrize(("allowed", "code"), [(1, 3), (2, 0)])
def test_max_failures_decides_the_exit_code(new_drill: Make, allowed: int, code: int) -> None:
    """Two clips of eight fail. What is printed without them says so in every name and head."""
    drill = new_drill("allowed", 8, max_failures=allowed)
    done = drill.run(patches={"failing": {"times": 3}})
    assert done.code == code, done.log
    assert (drill.out / "PARTIAL-scores.jsonl").exists() == (code == 0)
    assert not (drill.out / "scores.jsonl").exists()


def test_allow_missing_prints_and_still_ends_with_three(new_drill: Make) -> None:
    drill = new_drill("allow", 8, allow_missing=True)
    done = drill.run(patches={"failing": {"times": 3}})
    assert done.code == 3, done.log
    assert "PARTIAL: 6 of 8 clips" in done.log
    results = json.loads((drill.out / "PARTIAL-results.json").read_text(encoding="utf-8"))
    assert len(results["partial"]["missing"]) == 2


def test_three_failed_micro_batches_in_a_row_stop_the_command(new_drill: Make) -> None:
    """No accident: nine hundred more would fail the same way."""
    drill = new_drill("systematic", 16)
    done = drill.run(patches={"failing": {"times": 99}})
    assert done.code == 3
    assert "3 micro-batches failed one after the other" in done.log
    assert len(drill.starts()) == 3
    assert len(drill.rows("failed")) == 6


def test_a_scorer_that_fails_costs_no_clip(new_drill: Make, undisturbed: Reference) -> None:
    """The clips stay; the next command only scores. A command that does not ask the metric is complete."""
    drill = new_drill("scorer")
    broken = drill.run(patches={"scoring_fails": {"metric": "motion_smoothness", "times": 3}})
    assert broken.code == 3
    assert {(row["stage"], "motion_smoothness" in row["metrics"]) for row in drill.rows("failed")} == {("score", True)}
    assert len(drill.rows("clip")) == 4
    other = drill.run(request={"dimensions": ["temporal_flickering"]})
    assert other.code == 0, other.log
    starts = drill.starts()
    again = drill.run()
    assert again.code == 0, again.log
    assert drill.starts() == starts
    drill.check(undisturbed(4), 2)


def test_other_workers_do_not_repeat_a_failure(new_drill: Make) -> None:
    """What one of three processes has given up, the others leave; each tells of it."""
    drill = new_drill("shared-failure", 8)
    patches = {"failing": {"times": 3, "prompt": "world-002"}, "slow": {"seconds": 0.02}}
    workers = [drill.start(patches=patches) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [3, 3, 3]
    assert len(drill.rows("clip")) == 6
    assert all("world-002" in worker.log for worker in workers)


# --------------------------------------------------------------------------------------------------- out of memory


@pytest.mark.parametrize(
    ("frames", "reliefs"),
    [
        (4, ["decoding 4 frames at a time"]),
        (1, ["decoding 4 frames at a time", "decoding 1 frame at a time, with the other networks off the device"]),
    ],
)
def test_out_of_memory_is_relieved_by_smaller_pieces(
    new_drill: Make, undisturbed: Reference, frames: int, reliefs: list[str]
) -> None:
    """The decoder is given 8 frames and holds fewer. Here its kernels do not depend on the number: the same bytes."""
    drill = new_drill("memory")
    done = drill.run(patches={"decoder_memory": {"frames": frames}})
    assert done.code == 0, done.log
    assert [(row["unit"][-8:], row["what"]) for row in drill.rows("relief")] == [("00-00000", what) for what in reliefs]
    assert all(f"out of memory: {what}" in done.log for what in reliefs)
    assert drill.scores() == undisturbed(4)
    check_folder(drill.out)
    assert drill.starts() == {"world-000 0": 1 + len(reliefs), "world-002 0": 1}  # once relieved, it stays so


@pytest.mark.parametrize(
    ("error", "message"),
    [("MemoryError", "no room"), ("torch", "no room"), ("RuntimeError", "DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_errors_of_every_kind_are_relieved(
    new_drill: Make, undisturbed: Reference, error: str, message: str
) -> None:
    drill = new_drill("kinds")
    done = drill.run(patches={"failing": {"times": 1, "error": error, "message": message}})
    assert done.code == 0, done.log
    assert len(drill.rows("relief")) == 1
    assert drill.scores() == undisturbed(4)


def test_memory_that_never_suffices_is_a_failure(new_drill: Make) -> None:
    drill = new_drill("never")
    done = drill.run(patches={"decoder_memory": {"frames": 0}})
    assert done.code == 3
    assert {row["error"] for row in drill.rows("failed")} == {"OutOfMemoryError: no memory for 1 frames"}


# --------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_micro_batch_finish(new_drill: Make, undisturbed: Reference, number: int) -> None:
    """Exit code 75; the batch in hand is published and scored, its lease given back; nothing is made twice."""
    drill = new_drill("signal", 8)
    stopped = drill.run(patches={"signals": {"numbers": [number], "at": 2}})
    assert stopped.code == 75, stopped.log
    assert "finishing the micro-batch in hand" in stopped.log
    assert len(drill.rows("clip")) == 4
    assert {row["prompt_id"] for row in drill.rows("score")} == {row["prompt_id"] for row in drill.rows("clip")}
    check_folder(drill.out)
    assert drill.run().code == 0
    drill.check(undisturbed(8), 4)


def test_a_second_signal_stops_at_once(new_drill: Make, undisturbed: Reference) -> None:
    """Still 75, and still nothing lost but the batch in hand."""
    drill = new_drill("twice", 8)
    stopped = drill.run(patches={"signals": {"numbers": [signal.SIGTERM, signal.SIGTERM], "at": 2}})
    assert stopped.code == 75, stopped.log
    assert len(drill.rows("clip")) == 2
    check_folder(drill.out)
    drill.kills = 1  # what was in hand is made again
    assert drill.run().code == 0
    drill.check(undisturbed(8), 4)


@pytest.mark.parametrize(
    "place",
    [
        "turbo_eval.encoder_choice.build_scorers",
        "turbo_eval.pipeline.open_run",
        "turbo_eval.clip_files.encode_mp4",
        "turbo_eval.scoring.score_clips",
        "turbo_eval.collect.shortfall",
        "turbo_eval.vbench_run.vbench_table",
        "turbo_eval.report.write_atomically",
    ],
)
def test_a_signal_at_any_place_ends_with_75(new_drill: Make, undisturbed: Reference, place: str) -> None:
    drill = new_drill(place.rpartition(".")[2])
    stopped = drill.run(patches={"signal_in": {"place": place, "number": signal.SIGTERM}})
    assert stopped.code == 75, stopped.log
    assert "Run the same command again" in stopped.log
    assert drill.run().code == 0
    drill.check(undisturbed(4), 2)


def test_a_signal_in_the_middle_of_a_line_on_stderr() -> None:
    """Python forbids to write to a stream whose write the signal has interrupted; that is no reason to fail."""

    def say(text: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    with finishing(say) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.requested


def test_signals_while_a_stopped_program_ends_change_nothing(repository: Path) -> None:
    """Interpreters with networks in them take long to end; the exit code stays what it was."""
    script = """
import atexit, sys, time
from turbo_train.exits import exit_code_of, program

def work():
    print("at work", flush=True)
    time.sleep(600)

atexit.register(lambda: (print("ending", flush=True), time.sleep(0.5)))
program(lambda: sys.exit(exit_code_of(work)))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (75, 1), said


def test_who_waits_for_others_stops_when_asked(new_drill: Make) -> None:
    drill = new_drill("waiting")
    busy = drill.start(patches={"slow": {"seconds": 600}})
    while not drill.starts():
        assert busy.is_running(), busy.log
        time.sleep(0.005)
    waiting = drill.start(patches={})
    while "waiting for 1 micro-batches" not in waiting.log:
        assert waiting.is_running(), waiting.log
        time.sleep(0.005)
    waiting.send(signal.SIGTERM)
    assert waiting.wait() == 75, waiting.log
    assert busy.is_running()
    drill.kill(busy)
