"""Are VBench's scores the same bytes with one, two and three processes, and in shards of any order?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.vbench_checkpoints import write_ours
from turbo_train.video_io import write_mp4

pytestmark = pytest.mark.slow

PROGRAM = "from turbo_eval.cli import main; main()"
DIMENSIONS = "motion_smoothness,dynamic_degree,imaging_quality"
CLIPS = 6


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("weights")
    for table in ("raft_things", "amt_s", "musiq_spaq"):
        write_ours(table, root)
    return {**os.environ, "TURBO_WEIGHTS": str(root), "HOME": str(root / "home"), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for number in range(CLIPS):
        frames = draw.integers(0, 256, (3 + number % 2, 128, 128 + 8 * (number % 2), 3), dtype=np.uint8)
        write_mp4(folder / f"clip number {number}-0.mp4", frames, 8.0)
    return folder


def start(videos: Path, out: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = ["vbench", "--videos", str(videos), "--suite", "file-names", "--out", str(out), "--batch", "2"]
    command += ["--dimensions", DIMENSIONS, "--threads", str(torch.get_num_threads()), "--device", "cpu", *options]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said


def test_the_number_of_processes_changes_no_byte(videos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    written = {}
    for count in (1, 2, 3):
        finish([start(videos, tmp_path / str(count), environment) for _ in range(count)])
        written[count] = (tmp_path / str(count) / "scores.jsonl").read_bytes()
    for shard in ("2/3", "0/3", "1/3"):
        finish([start(videos, tmp_path / "shards", environment, "--shard", shard)])
    finish([start(videos, tmp_path / "shards", environment)])
    assert len(written[1].splitlines()) == CLIPS * 3 and b'"value": null' not in written[1]
    assert written[1] == written[2] == written[3] == (tmp_path / "shards" / "scores.jsonl").read_bytes()
