"""How does a training run survive? A checkpoint is a folder that is there whole or not at all, with a manifest.

`checkpoints/step-000500/`: `state.pt` (weights, optimizer, average, loss scale, where the data's lanes stand),
`student/` (the student as it would be used), `manifest.json` (bytes and sha256 of every file). It is written under
another name, synced, and renamed; then the oldest are removed. One that was damaged later is passed over, with a
warning, for the one before.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from turbo_train.errors import UserError
from turbo_train.weights.hashes import file_sha256

FOLDER, STATE_FILE, MANIFEST_FILE, STUDENT = "checkpoints", "state.pt", "manifest.json", "student"
SCHEMA_VERSION = 1


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run by rising step, whole ones and damaged ones."""
    return sorted(path for path in (run / FOLDER).glob("step-*") if (path / MANIFEST_FILE).is_file())


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that were taken before it."""
    return int(checkpoint.name.removeprefix("step-"))


def save_checkpoint(
    run: Path, step: int, state: Mapping[str, Any], write_student: Callable[[Path], object], keep: int
) -> Path:
    """Write one and remove all but the last `keep`. UserError: no room, or not writable; the ones before stay."""
    place = run / FOLDER / f"step-{step:06d}"
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with (partial / STATE_FILE).open("wb") as file:
            torch.save(dict(state), file)
        write_student(partial / STUDENT)
        manifest = {"schema_version": SCHEMA_VERSION, "step": step, "torch": torch.__version__}
        (partial / MANIFEST_FILE).write_text(json.dumps(manifest | {"files": _files(partial)}, indent=2) + "\n")
        for path in [*partial.rglob("*"), partial]:
            _sync(path)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
        _sync(place.parent)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        shutil.rmtree(partial, ignore_errors=True)
        before = checkpoints(run)
        kept = f"{before[-1]} is whole" if before else "there is none before it"
        raise UserError(
            found=f"checkpoint {place} cannot be written ({_reason(error)}); {kept}",
            expected="a writable disk with room for a checkpoint",
            run_next="free some room, then the same command again",
        ) from error
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return place


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
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST_FILE} cannot be read"
    for name, entry in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(getattr(error, "strerror", None) or str(error).splitlines()[0])
