"""How does a training run survive? A checkpoint is a folder that is there whole or not at all, with a manifest.

`checkpoints/step-000500/`: `state.pt` (weights, optimizer, average, loss scale, where the data's lanes stand),
`student/` (the student as it would be used), `manifest.json` (bytes and sha256 of every file). It is written under
another name, synced, and renamed; then the oldest are removed. One that was damaged later is passed over, with a
warning, for the one before; the run that goes on there takes its steps again and replaces it.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from turbo_train.errors import UserError
from turbo_train.video_io import sync
from turbo_train.weights.hashes import file_sha256

FOLDER, STATE_FILE, MANIFEST_FILE, STUDENT = "checkpoints", "state.pt", "manifest.json", "student"
SCHEMA_VERSION = 1


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run by rising step, whole ones and damaged ones."""
    found = [path for path in (run / FOLDER).glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that were taken before it."""
    return int(checkpoint.name.removeprefix("step-"))


def save_checkpoint(
    run: Path, step: int, state: Mapping[str, Any], write_student: Callable[[Path], object], keep: int
) -> Path:
    """Write one and remove all but the last `keep`. UserError: no room, or not writable; the ones before stay.

    Later ones are removed too: the run went on from before them, so they were damaged.
    """
    place = run / FOLDER / f"step-{step:06d}"

    def fill(folder: Path) -> None:
        with (folder / STATE_FILE).open("wb") as file:
            torch.save(dict(state), file)
        write_student(folder / STUDENT)
        manifest = {"schema_version": SCHEMA_VERSION, "step": step, "torch": torch.__version__}
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"files": _files(folder)}, indent=2) + "\n")

    before = [path for path in checkpoints(run) if step_of(path) < step]
    write_whole(place, fill, f"{before[-1]} is as it was" if before else "there is no checkpoint before it")
    later = [path for path in checkpoints(run) if step_of(path) > step]
    halves = (run / FOLDER).glob(".step-*.partial")  # of saves that a kill cut off
    for old in [*before[: max(0, len(before) + 1 - keep)], *later, *halves]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def write_whole(place: Path, fill: Callable[[Path], object], kept: str) -> None:
    """A folder that appears under its name when all of it is on the disk, in the place of what was there.

    kept: what is said to be left. UserError: no room, or not writable.
    """
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        for path in [*partial.rglob("*"), partial]:
            sync(path)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        sync(place.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # what a full disk becomes in torch's writer and that one
        raise UserError(
            found=f"{place} cannot be written ({_reason(error)}); {kept}",
            expected="a writable disk with room for it",
            run_next="free some room, then the same command again",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def last_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint; a damaged one is named in a warning. None: the run has none at all.

    UserError: there are some, and every one is damaged.
    """
    found = checkpoints(run)
    for path in reversed(found):
        if not (wrong := damage(path)):
            return path
        warnings.warn(f"{path} is damaged ({wrong}); going on from the one before", UserWarning, stacklevel=2)
    if found:
        raise UserError(
            found=f"no whole checkpoint in {run / FOLDER}",
            expected="one whose files are as they were written",
            run_next="a copy of the folder, or a new run with another --out",
        )
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files; None: nothing."""
    try:
        files = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        written = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST_FILE} cannot be read"
    if STATE_FILE not in written:
        return f"{MANIFEST_FILE} does not name {STATE_FILE}"
    for name, (size_bytes, sha256) in written.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size_bytes or file_sha256(path) != sha256:
            return f"{name} has other bytes than were written"
    return None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """state.pt: tensors and plain values, no code."""
    state: dict[str, Any] = torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True)
    return state


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    }


def _reason(error: BaseException) -> str:
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return str(getattr(error, "strerror", None) or str(error).splitlines()[0])
