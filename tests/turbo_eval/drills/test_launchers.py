"""torchrun and accelerate start one process a GPU: does each find its part, without a line of theirs in our code?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill

ACCELERATE = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
LAUNCHERS = {
    "torchrun": (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], 2),
    "accelerate": ([*ACCELERATE, "--multi_gpu"], 2),  # starts two ranks with or without GPUs
    "accelerate-cpu": ([*ACCELERATE, "--cpu"], 1),  # starts one process and no rank, whatever --num_processes says
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launched_processes_make_the_same_bytes(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes], repository: Path, launcher: str
) -> None:
    """The real launcher, the real command; each rank's part is a shard, and who is last prints the table."""
    command, processes = LAUNCHERS[launcher]
    drill = new_drill(launcher, 16)
    script = drill.folder / "turbo_eval_main.py"
    script.write_text("from turbo_eval.cli import main\nmain()\n", encoding="utf-8")
    options = [
        "--model",
        drill.model,
        "--suite",
        drill.suite,
        "--samples",
        1,
        "--steps",
        1,
        "--batch",
        2,
        "--threads",
        1,
    ]
    metrics = ",".join(drill.fields()["dimensions"])
    arguments = [*options, "--no-latency", "--dimensions", metrics, "--out", drill.out]
    done = subprocess.run(
        [sys.executable, *command, str(script), "vbench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=drill.folder,
        env={**os.environ, "PYTHONPATH": str(repository), "HF_HOME": str(drill.folder)},
        timeout=280,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert drill.scores() == undisturbed(16)
    assert len(list((drill.out / "ledger").iterdir())) == processes, said
    assert len(drill.rows("clip")) == 16
    assert "temporal_flickering" in said
