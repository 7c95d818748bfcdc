"""A training run as a process of its own, by torchrun or alone: `child.py JOB.json`.

The job holds a recipe, a folder, torch's threads, and what goes wrong before which step: kill_at (SIGKILL to process
kill_rank), term_at (SIGTERM to process 1), nan_at (a reward that is no number, in process nan_rank), limit_at (from
then on no file may grow beyond file_limit_bytes).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from turbo_train.config import config_of
from turbo_train.exits import STOPPED, exit_code_of, finishing
from turbo_train.loop import Run
from turbo_train.step import RewardTerm
from turbo_train.trainer import Step, Trainer


class Broken:
    """A reward that is no number when it is told so."""

    broken = False

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: Any = None) -> Tensor:
        return clips_BTCHW.mean((1, 2, 3, 4)) * (float("nan") if self.broken else 1.0)


def watched(trainer: Trainer, job: dict[str, Any]) -> None:
    """Between two steps of this process, what the job wants to go wrong does."""
    rank, reward = trainer.accelerator.process_index, Broken()
    if "nan_at" in job:
        terms = (RewardTerm("broken", reward, "img", 1.0, 2),)
        trainer.parts = replace(trainer.parts, objective=replace(trainer.parts.objective, rewards=terms))
        trainer.rewards = ["broken"]
    take = trainer.step

    def step(*inputs: Any, **options: Any) -> Step:
        if (trainer.done, rank) == (job.get("kill_at"), job.get("kill_rank", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        if (trainer.done, rank) == (job.get("term_at"), 1):
            os.kill(os.getpid(), signal.SIGTERM)
        reward.broken = (trainer.done, rank) == (job.get("nan_at"), job.get("nan_rank", 0))
        if trainer.done == job.get("limit_at"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit_bytes"], resource.RLIM_INFINITY))
        return take(*inputs, **options)

    trainer.step = step  # type: ignore[method-assign]


def work(job: dict[str, Any]) -> int:
    run = Run(config_of(job["recipe"], "the job"), Path(job["folder"]))
    watched(run.trainer, job)
    with finishing(lambda text: None) as stop:
        ended = run.to_the_end(stop)
    told = {"step": ended.step, "nonfinite": run.nonfinite}
    Path(job["folder"], f"rank-{run.trainer.accelerator.process_index}.json").write_text(json.dumps(told))
    return STOPPED if ended.stopped else 0


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(given["threads"])  # sums of more threads are other sums
    sys.exit(exit_code_of(lambda: work(given)))
