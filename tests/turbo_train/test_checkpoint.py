"""Is a checkpoint there whole or not at all, whatever the disk does, and is a damaged one passed over?"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import check_same, logged, quietly, recipe

from turbo_train.checkpoint import (
    MANIFEST_FILE,
    STATE_FILE,
    checkpoints,
    damage,
    last_checkpoint,
    read_state,
    save_checkpoint,
    step_of,
)
from turbo_train.errors import UserError


def save(run: Path, step: int, keep: int = 5, state: int = 10, student: int = 10) -> Path:
    """A checkpoint of so many numbers."""

    def write_student(folder: Path) -> None:
        folder.mkdir()
        save_file({"a": torch.full((student,), float(step))}, folder / "adapter.safetensors")

    return save_checkpoint(run, step, {"step": step, "a": torch.full((state,), float(step))}, write_student, keep)


def steps(run: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(run)]


def test_the_last_ones_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (999_998, 999_999, 1_000_000):
        save(tmp_path, step, keep=2)
    for name in ("step-notes", ".step-000007.partial"):
        (tmp_path / "checkpoints" / name).mkdir()
    save(tmp_path, 1_000_000, keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir())[1:] == ["step-999999", "step-notes"]
    assert steps(tmp_path) == [999_999, 1_000_000]
    found = last_checkpoint(tmp_path)
    assert found is not None and read_state(found)["step"] == 1_000_000
    manifest = json.loads((found / MANIFEST_FILE).read_text())
    assert set(manifest["files"]) == {STATE_FILE, "student/adapter.safetensors"}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "cut": (STATE_FILE, cut, "other bytes"),
    "flipped": ("student/adapter.safetensors", flip, "other bytes"),
    "missing": (STATE_FILE, Path.unlink, "is missing"),
    "no manifest": (MANIFEST_FILE, Path.unlink, "cannot be read"),
    "empty manifest": (MANIFEST_FILE, lambda path: path.write_text("{}"), "cannot be read"),
    "a list": (MANIFEST_FILE, lambda path: path.write_text('{"files": [1]}'), "cannot be read"),
    "no hashes": (MANIFEST_FILE, lambda path: path.write_text('{"files": {"state.pt": {}}}'), "cannot be read"),
    "no files": (MANIFEST_FILE, lambda path: path.write_text('{"files": {}}'), "does not name state.pt"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_warning(name: str, tmp_path: Path) -> None:
    file, harm, told = DAMAGES[name]
    for step in (1, 2):
        save(tmp_path, step)
    newest = checkpoints(tmp_path)[-1]
    harm(newest / file)
    assert told in str(damage(newest))
    with pytest.warns(UserWarning, match=f"step-000002 is damaged.*{told}.*the one before"):
        found = last_checkpoint(tmp_path)
    assert found is not None and step_of(found) == 1
    harm(found / file)
    with pytest.warns(UserWarning), pytest.raises(UserError, match="no whole checkpoint"):
        last_checkpoint(tmp_path)


def test_damaged_ones_of_later_steps_do_not_push_out_whole_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=3)
    for path in checkpoints(tmp_path)[1:]:
        (path / STATE_FILE).unlink()
    save(tmp_path, 2, keep=1)  # the run goes on from step 1, and takes the second again
    assert steps(tmp_path) == [2] and damage(checkpoints(tmp_path)[0]) is None


@contextmanager
def file_limit(size_bytes: int) -> Iterator[None]:
    """No file grows beyond it in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("limit", "state", "student"),
    [(0, 10, 10), (50_000, 100_000, 10), (100_000, 20_000, 10), (50_000, 10, 100_000), (300, 10, 10)],
)
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(
    limit: int, state: int, student: int, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE: in the middle of state.pt, of the student, or nowhere (the third fits)."""
    save(tmp_path, 1)
    if (limit, state) == (100_000, 20_000):
        with file_limit(limit):
            save(tmp_path, 2, 5, state, student)
        assert steps(tmp_path) == [1, 2]
        return
    with file_limit(limit), pytest.raises(UserError) as told:
        save(tmp_path, 2, 5, state, student)
    assert told.value.exit_code == 2
    assert re.search(r"step-000002 cannot be written \(.*File too large", told.value.found)
    assert "step-000001 is as it was" in told.value.found
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    assert damage(checkpoints(tmp_path)[0]) is None
    assert steps(tmp_path) == [1] and save(tmp_path, 2, 5, state, student).is_dir()


SAVE = """
import importlib.util, sys
from pathlib import Path
from turbo_train.errors import UserError
spec = importlib.util.spec_from_file_location("tests_of_checkpoints", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
try:
    module.save(Path(sys.argv[2]), 2, 5, 20_000, 100_000)
except UserError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
@pytest.mark.parametrize("size_kb", [24, 60, 200, 480])
def test_a_full_disk_leaves_the_one_before(size_kb: int, tmp_path: Path) -> None:
    """A real one of a few pages, full in state.pt (80 kB) or in the student (400 kB); in a process that may crash."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        save(disk, 1)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", SAVE, __file__, str(disk)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0 and "No space left on device" in done.stdout, done.stdout + done.stderr
        assert [path.name for path in (disk / "checkpoints").iterdir()] == ["step-000001"]
        assert damage(checkpoints(disk)[0]) is None
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_stopped_by_a_full_disk_goes_on(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    config, largest = recipe(loop_teacher), (checkpoints(undisturbed)[0] / STATE_FILE).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(done: int, *more: object) -> None:
        if done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, before[1]))

    try:
        with pytest.raises(
            UserError, match=r"step-000004 cannot be written \(File too large.*step-000002 is as it was"
        ):
            quietly(config, tmp_path, fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert steps(tmp_path) == [2]
    quietly(config, tmp_path)
    check_same(undisturbed, tmp_path)


@pytest.mark.slow
def test_a_checkpoint_of_another_recipe_is_refused(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    config = recipe(loop_teacher)
    with pytest.raises(UserError, match=r"preset 'other', lr 0\.5 for .*step-000004; expected preset 'tiny', lr 0\.01"):
        quietly(replace(config, preset="other", lr=0.5), tmp_path / "run")
    with pytest.raises(UserError, match=r"steps 3, and .*step-000004 is 4 steps on; expected at least 4"):
        quietly(replace(config, steps=3), tmp_path / "run")
    ended = quietly(replace(config, steps=5, keep=1, log_every=2), tmp_path / "run")
    assert ended.step == 5 and steps(tmp_path / "run") == [5]
    assert [entry["step"] for entry in logged(tmp_path / "run", "end")] == [4, 5]
