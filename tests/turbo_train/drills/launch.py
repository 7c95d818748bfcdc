"""How is a training run started as processes? child.py, alone or by torchrun on this machine with gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_training import IMAGE, VIDEO, recipe

from turbo_train.config import TrainConfig

CHILD = Path(__file__).with_name("child.py")
TIMEOUT_S = 900  # of a machine with much else to do; nothing is measured by it


@dataclass(frozen=True)
class Done:
    """How a launch ended."""

    code: int
    text: str


def start(config: TrainConfig, folder: Path, processes: int = 1, **job: Any) -> subprocess.Popen[str]:
    """The processes, in a group of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    task = folder.with_suffix(".job.json")
    task.write_text(
        json.dumps(job | {"recipe": asdict(config), "folder": str(folder), "threads": torch.get_num_threads()})
    )
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "ACCELERATE_USE_CPU": "true",
    }
    return subprocess.Popen(
        [*command, str(CHILD), str(task)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def launch(config: TrainConfig, folder: Path, processes: int = 1, **job: Any) -> Done:
    """To the end. subprocess.TimeoutExpired: they hang."""
    process = start(config, folder, processes, **job)
    try:
        text, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return Done(process.returncode, text)


def six_steps(teacher: Path) -> TrainConfig:
    """The drills' recipe, with clips at the end."""
    prompts = ("a red circle", "a blue square", "a red square")
    more = {"validate_every": 6, "validation_prompts": prompts, "validation_steps": 1}
    return recipe(teacher, IMAGE, VIDEO, steps=6, **more)
