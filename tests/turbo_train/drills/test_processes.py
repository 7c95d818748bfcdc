"""Are two processes with half the batch each one training run: the same samples, draws, weights, and end?"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from launch import TIMEOUT_S, launch, six_steps
from tiny_training import check_same, logged, outcome, quietly
from torch.testing import assert_close

from turbo_train.checkpoint import checkpoints, read_state, step_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * TIMEOUT_S)]


def check_close(folder: Path, other: Path) -> None:
    """The same run up to the order of float32 sums."""
    here, there = outcome(folder), outcome(other)
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert_close(value.float(), there[name].float(), atol=2e-5, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")
    states = [read_state(checkpoints(place)[-1]) for place in (folder, other)]
    assert states[0]["positions"] == states[1]["positions"]
    losses = [[entry["loss"] for entry in logged(place, "step")] for place in (folder, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_they_match_one_process(two_processes: Path, loop_teacher: Path, tmp_path: Path) -> None:
    quietly(six_steps(loop_teacher), tmp_path / "one")
    check_close(tmp_path / "one", two_processes)
    entry = logged(two_processes, "start")[0]
    assert (entry["processes"], entry["passes_per_step"]) == (2, 2)
    clips = sorted(path.name for path in (two_processes / "validation" / "step-000006").iterdir())
    assert clips == ["00 a red circle.mp4", "01 a blue square.mp4", "02 a red square.mp4"]


def test_a_run_of_one_goes_on_with_two(two_processes: Path, loop_teacher: Path, tmp_path: Path) -> None:
    config = six_steps(loop_teacher)
    quietly(config, tmp_path, lambda done, *more: os.kill(os.getpid(), signal.SIGTERM) if done == 2 else None)
    done = launch(config, tmp_path, 2)
    assert done.code == 0, done.text
    assert [entry["processes"] for entry in logged(tmp_path, "start")] == [1, 2]
    check_close(tmp_path, two_processes)


def test_a_reward_that_is_no_number_in_one_stops_the_step_of_both(loop_teacher: Path, tmp_path: Path) -> None:
    done = launch(six_steps(loop_teacher), tmp_path, 2, nan_at=1, nan_rank=1)
    assert done.code == 0, done.text
    told = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert told == [{"step": 6, "nonfinite": 1}] * 2
    assert [(e["step"], e["wrong"]) for e in logged(tmp_path, "nonfinite")] == [(2, ["loss", "broken"])]
    assert all(torch.isfinite(value).all() for value in outcome(tmp_path).values())


def test_a_signal_to_one_saves_and_stops_both(two_processes: Path, loop_teacher: Path, tmp_path: Path) -> None:
    config = six_steps(loop_teacher)
    done = launch(config, tmp_path, 2, term_at=2)
    assert done.code != 0 and done.text.count(": 75 (pid") == 2, done.text
    told = [json.loads((tmp_path / f"rank-{rank}.json").read_text())["step"] for rank in (0, 1)]
    stopped = told[0]
    assert told == [stopped] * 2 and stopped in (3, 4) and step_of(checkpoints(tmp_path)[-1]) == stopped
    done = launch(config, tmp_path, 2)
    assert done.code == 0, done.text
    check_same(two_processes, tmp_path)


def test_a_full_disk_ends_both_and_the_next_run_goes_on(
    two_processes: Path, loop_teacher: Path, tmp_path: Path
) -> None:
    config = six_steps(loop_teacher)
    done = launch(config, tmp_path, 2, limit_at=3, file_limit_bytes=50_000)
    assert done.code != 0 and done.text.count("step-000004 cannot be written (File too large); ") == 2, done.text
    assert "exitcode  : 2" in done.text and "RuntimeError" not in done.text
    assert [step_of(path) for path in checkpoints(tmp_path)] == [2]
    done = launch(config, tmp_path, 2)
    assert done.code == 0, done.text
    check_same(two_processes, tmp_path)
