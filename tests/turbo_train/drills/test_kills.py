"""Does a run that is killed at any moment end with the bytes of an undisturbed one, in one process and in two?"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from launch import TIMEOUT_S, launch, six_steps, start
from tiny_training import check_same, logged, quietly

from turbo_train.checkpoint import checkpoints, damage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * TIMEOUT_S)]


def progress(folder: Path) -> int:
    """How much there is of a run so far, in bytes of its log and files of its checkpoints."""
    log = folder / "log.jsonl"
    return (log.stat().st_size if log.is_file() else 0) + len(list(folder.rglob("*")))


def kill_soon(process: subprocess.Popen[str], folder: Path, moves: int, wait_s: float) -> bool:
    """SIGKILL a while after so many changes of its folder. Whether it was still alive."""
    last, seen, deadline = progress(folder), 0, time.monotonic() + TIMEOUT_S
    while process.poll() is None and seen < moves and time.monotonic() < deadline:
        now = progress(folder)
        seen, last = seen + (now != last), now
        time.sleep(0.002)
    time.sleep(wait_s)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def test_one_process_killed_at_random_moments(loop_teacher: Path, tmp_path: Path) -> None:
    config = six_steps(loop_teacher)
    quietly(config, tmp_path / "undisturbed")
    rng, folder = random.Random(6), tmp_path / "killed"
    kills = 0
    for _ in range(4):
        process = start(config, folder)
        kills += kill_soon(process, folder, rng.randint(1, 6), rng.random() * 0.3)
        assert all(damage(path) is None for path in checkpoints(folder))
    done = launch(config, folder)
    assert done.code == 0 and kills >= 2, (done.text, kills)
    check_same(tmp_path / "undisturbed", folder)
    assert [entry["step"] for entry in logged(folder, "step")] == [1, 2, 3, 4, 5, 6]


def test_two_processes_killed_twice(two_processes: Path, loop_teacher: Path, tmp_path: Path) -> None:
    """The second time after a checkpoint that a resumed run wrote: it has to hold where every lane stands by then."""
    config, folder = six_steps(loop_teacher), tmp_path / "killed"
    for kill_at, rank in ((3, 1), (5, 0)):
        done = launch(config, folder, 2, kill_at=kill_at, kill_rank=rank)
        assert done.code != 0 and "SIGKILL" in done.text, done.text
    done = launch(config, folder, 2)
    assert done.code == 0, done.text
    assert [entry["step"] for entry in logged(folder, "start")] == [0, 2, 4]
    check_same(two_processes, folder)
