"""When the asked batch does not fit, is the largest that does named, and really the largest?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from turbo_eval.generators.largest_batch import largest_batch, too_large, trial
from turbo_eval.generators.timed import load_timed
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_train.nets.cuda_graph import GraphedDenoiser
from turbo_train.nets.fast_path import FastPath
from turbo_train.nets.quickened import quicken

PROGRAM = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from turbo_eval.generators.largest_batch import too_large, trial
from turbo_eval.generators.timed import load_timed
from turbo_eval.models import find_model
from turbo_eval.records import Prompt

folder, out, asked, frames, room_mb = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
entry = find_model(folder)

def of_length(frames):
    setting = replace(entry.setting, frames=frames, size=(64, 64))
    model = load_timed(replace(entry, setting=setting), "cpu").model
    return trial(model, setting, Prompt("p", "a red circle"), out)

assert of_length(2)(1)  # whatever is loaded at the first use is loaded
fits = of_length(frames)
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + room_mb * 2**20,) * 2)
assert not fits(asked)
error = too_large("teacher", asked, fits)
print(error, flush=True)
if error.run_next.startswith("--batch"):
    most = int(error.run_next.split()[1])
    assert fits(most) and not fits(2 * most + 2), most
"""


def test_bisection_finds_every_limit_in_few_tries() -> None:
    for asked in range(1, 40):
        for limit in range(asked):
            tried: list[int] = []

            def fits(batch: int, limit: int = limit, tried: list[int] = tried) -> bool:
                tried.append(batch)
                return batch <= limit

            assert largest_batch(fits, asked) == limit
            assert len(tried) <= asked.bit_length() and all(0 < batch < asked for batch in tried)


@pytest.mark.parametrize(
    ("asked", "limit", "words"),
    [
        (64, 23, "found vc2: out of memory at --batch 64; expected at most 23 clips in a call; try: --batch 23"),
        (2, 1, "found vc2: out of memory at --batch 2; expected at most 1 clip in a call; try: --batch 1"),
        (4, 0, "found vc2: out of memory at --batch 4, and at --batch 1; expected a device with more free memory"),
        (1, 0, "found vc2: out of memory at --batch 1; expected a device with more free memory"),
    ],
)
def test_what_is_said(asked: int, limit: int, words: str) -> None:
    error = too_large("vc2", asked, lambda batch: batch <= limit)
    assert str(error).startswith(words) and error.exit_code == 2
    if not limit:
        assert error.run_next == "a smaller --size, --dtype bfloat16, or --vae tiny"


def test_another_error_is_not_taken_for_memory(tiny_student: Path, tmp_path: Path) -> None:
    entry = find_model(str(tiny_student))
    model = load_timed(entry, "cpu").model
    assert trial(model, entry.setting, Prompt("p", "a red circle"), tmp_path)(2)
    with pytest.raises(OSError):
        trial(model, entry.setting, Prompt("p", "a red circle"), tmp_path / "none")(1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is set as Linux has it")
@pytest.mark.parametrize(("asked", "frames", "said"), [(64, 16, "in a call"), (2, 512, "and at --batch 1")])
def test_memory_that_really_runs_out(tiny_student: Path, tmp_path: Path, asked: int, frames: int, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tiny_student), *map(str, (tmp_path, asked, frames, 100))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"out of memory at --batch {asked}" in done.stdout and said in done.stdout


@pytest.mark.gpu
def test_on_a_gpu_what_was_recorded_for_a_try_is_forgotten(tiny_student: Path, tmp_path: Path) -> None:
    entry = find_model(str(tiny_student))
    quick = quicken(load_timed(entry, "cuda").model, FastPath(cuda_graphs=True), "cuda")
    assert trial(quick.model, entry.setting, Prompt("p", "a red circle"), tmp_path)(2)
    assert isinstance(quick.model.denoiser, GraphedDenoiser) and not quick.model.denoiser._recordings
