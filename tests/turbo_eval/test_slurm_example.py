"""Does the Slurm example do what the README says, run here by several local processes?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COUNT = 3


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "six.txt"
    path.write_text("".join(f"a red circle number {k}\n" for k in range(6)))
    return path


def start(repository: Path, task: int, arguments: list[str]) -> subprocess.Popen[str]:
    """One task of the array, as Slurm would start it."""
    array = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(COUNT), "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [str(repository / "examples" / "slurm_array.sh"), *arguments],
        env={**os.environ, **array, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def options(student: Path, suite: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--samples", "1", "--batch", "2", "--threads", "1", "--dimensions", "temporal_flickering", "--no-latency"]
    return ["--model", str(student), "--suite", str(suite), "--out", str(out), *fixed, *more]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_an_array_makes_one_run_and_one_task_prints_the_table(
    tiny_student: Path, suite: Path, tmp_path: Path, repository: Path
) -> None:
    tasks = [start(repository, task, options(tiny_student, suite, tmp_path / "array")) for task in range(COUNT)]
    printed = [task.communicate(timeout=200)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0] * COUNT, printed
    assert any("temporal_flickering" in text for text in printed)
    assert all("temporal_flickering" in text or "is done; " in text for text in printed)
    assert len((tmp_path / "array" / "scores.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_slurms_notice_ends_a_task_with_75_and_keeps_its_work(
    tiny_teacher: Path, suite: Path, tmp_path: Path, repository: Path
) -> None:
    arguments = options(tiny_teacher, suite, tmp_path / "array", "--steps", "900")
    task = start(repository, 0, arguments)
    while task.poll() is None and not list(tmp_path.glob("array/leases/*")):
        time.sleep(0.02)
    task.send_signal(signal.SIGTERM)
    printed, _ = task.communicate(timeout=200)
    assert task.returncode == 75, printed
    assert "what was done is kept" in printed
    assert len(list((tmp_path / "array" / "clips").rglob("*.mp4"))) == 2  # the micro-batch in hand was finished
