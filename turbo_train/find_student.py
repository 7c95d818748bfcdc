"""Which student does a path mean, and which teacher does it belong to? Its folder, a training run, or a checkpoint.

A run's folder has `student/` when it is finished, and `checkpoints/step-000500/student/` (checkpoint.py); its recipe
in config.json names the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from turbo_train.assembly import TEACHER_NAMES, teacher_source
from turbo_train.checkpoint import FOLDER, MANIFEST_FILE, STUDENT, checkpoints, damage, last_checkpoint, step_of
from turbo_train.errors import UserError
from turbo_train.nets.folder_files import read_json, recipe_teacher
from turbo_train.nets.source import Source, teacher_at
from turbo_train.nets.student_adapter import ADAPTER_FILE
from turbo_train.nets.student_config import CONFIG_FILE, StudentConfig

_OURS = {theirs: ours for ours, theirs in TEACHER_NAMES.items()}


@dataclass(frozen=True)
class Found:
    """A student's folder, what to call it, and the teacher that its run's recipe names, if it lies in a run."""

    folder: Path
    name: str
    teacher: str | None


def find_student(path: Path, step: int | None = None) -> Found:
    """The student of a student's folder, of a checkpoint, or of a run: its finished one, else its last checkpoint's.

    step: the run's checkpoint after so many steps. UserError: nothing there; no such checkpoint, or a damaged one.
    """
    if (path / ADAPTER_FILE).is_file():
        _no_step(path, step, "a student's folder")
        return Found(path, path.resolve().name, recipe_teacher(path))
    if (path / MANIFEST_FILE).is_file():
        _no_step(path, step, "a checkpoint")
        return _of_checkpoint(path)
    if not _is_run(path):
        raise UserError(
            found=f"{path}, which is no folder of a student" if path.is_dir() else f"no folder {path}",
            expected=f"a student ({CONFIG_FILE}, {ADAPTER_FILE}), a training run, or one of its checkpoints",
            run_next="the folder that turbo-train run --out named",
        )
    if step is None and (path / STUDENT / ADAPTER_FILE).is_file():
        return Found(path / STUDENT, path.resolve().name, recipe_teacher(path / STUDENT))
    steps = {step_of(checkpoint): checkpoint for checkpoint in checkpoints(path)}
    if step is not None and step not in steps:
        known = ", ".join(map(str, steps)) or "none at all"
        raise UserError(found=f"no checkpoint after step {step} in {path}", expected=f"one of its steps: {known}")
    last = last_checkpoint(path) if step is None else steps[step]
    if last is None:
        raise UserError(
            found=f"{path}, a run without checkpoints",
            expected="a run that has saved one",
            run_next=f"turbo-train resume {path}",
        )
    return _of_checkpoint(last)


def teacher_of(found: Found, config: StudentConfig, named: str | None) -> Source:
    """The files of a student's teacher. named: by the user, a name or a path. UserError: they are not there."""
    if named is not None:
        return teacher_source(named)
    beside = found.folder.resolve().parent / config.teacher
    if beside.exists():
        return teacher_at(beside)
    try:
        return teacher_source(found.teacher or _OURS.get(config.teacher, config.teacher))
    except UserError as error:
        again = f"the same command with --teacher PATH; or {error.run_next}" if error.run_next else "--teacher PATH"
        raise UserError(found=error.found, expected=error.expected, run_next=again) from error


def _is_run(path: Path) -> bool:
    """Whether a folder is a training run's: it has checkpoints or a recipe."""
    if any((path / name).is_dir() for name in (FOLDER, STUDENT)):
        return True
    return (path / CONFIG_FILE).is_file() and "preset" in read_json(path / CONFIG_FILE)


def _of_checkpoint(checkpoint: Path) -> Found:
    if wrong := damage(checkpoint):
        raise UserError(
            found=f"{checkpoint} is damaged ({wrong})",
            expected="a checkpoint as it was written",
            run_next="another checkpoint of the run (--step N)",
        )
    folder, run = checkpoint / STUDENT, checkpoint.resolve().parent.parent
    return Found(folder, f"{run.name}-{checkpoint.resolve().name}", recipe_teacher(folder))


def _no_step(path: Path, step: int | None, what: str) -> None:
    if step is not None:
        raise UserError(found=f"--step {step} for {path}, {what}", expected="--step with a training run's folder")
