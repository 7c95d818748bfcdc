"""How is the text of a model's folder read, whose run is it of, and what can a user do where it is broken?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError
from turbo_train.nets.source import RECORD
from turbo_train.weights.table import weight_files

_DEEPEST = 3  # folders between the record of `world build` and a file: teacher/scheduler/


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file. UserError if it is absent or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = f"{path} cannot be read ({first_line(error)})"
        raise UserError(found=found, expected="a JSON object", run_next=remedy(path)) from error
    if not isinstance(content, dict):
        found = f"{path} holds {type(content).__name__}"
        raise UserError(found=found, expected="a JSON object", run_next=remedy(path))
    return content


def recipe_teacher(student: Path) -> str | None:
    """What the recipe of the training run around a student's folder calls the teacher: a name or a path.

    The run is known by its config.json; the student is RUN/student or RUN/checkpoints/STEP/student. None: there is no
    such run. UserError: a config.json that is no JSON object.
    """
    around = student.resolve().parents
    for run in (around[0], *around[2:3]):
        if (run / "config.json").is_file():
            values = read_json(run / "config.json")
            if "preset" in values and isinstance(values.get("teacher"), str):
                return str(values["teacher"])
    return None


def remedy(path: Path) -> str:
    """What mends a model's file or folder, by who put it there: our build, a pull of published files, or the user."""
    path = path.absolute()
    if any((folder / RECORD).is_file() for folder in list(path.parents)[:_DEEPEST]):
        return "turbo-train world build"
    where = f"{path.as_posix()}/"
    repositories = {file.repository for file in weight_files() if file.repository}
    if any(f"/{name}/" in where or f"/models--{name.replace('/', '--')}/" in where for name in repositories):
        return "turbo-eval weights verify"
    return "another model, or copy this one again"


def first_line(error: Exception) -> str:
    """Of what a library says; further on it may advise to open the file all the same."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
