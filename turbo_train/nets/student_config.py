"""What does a student's config.json say? Which teacher it is an addition to, its sizes, and the guidance it learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from turbo_train.diffusion.prediction import PREDICTION_TYPES
from turbo_train.diffusion.schedule import Schedule
from turbo_train.errors import UserError
from turbo_train.nets.folder_files import read_json, remedy

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
_TEXTS = "teacher", "teacher_sha256", "prediction_type", "notes"
_SIZES = {"rank": 0, "time_cond_dim": 1}  # name -> the least
_SCALES = "guidance_min", "guidance_max", "guidance_scale"


@dataclass(frozen=True)
class StudentConfig:
    """config.json. guidance_min..guidance_max is the range trained on, guidance_scale the default (lcm_cfg's scale).

    teacher: name of the folder or file that lies beside the student's folder, or of a model in a table.
    teacher_sha256: of its weights alone (nets/base.py). rank 0: no LoRA, the whole denoiser was trained. abars: what
    `schedule_marks` says of its noise schedule, which the hash does not cover; None in folders that were written
    before. rewards: the names of those that it was trained on; None: not stated.
    """

    teacher: str
    teacher_sha256: str
    rank: int
    time_cond_dim: int
    prediction_type: str
    guidance_min: float
    guidance_max: float
    guidance_scale: float
    notes: str = ""
    schema_version: int = SCHEMA_VERSION
    abars: tuple[float, ...] | None = None
    rewards: tuple[str, ...] | None = None

    def wrong_fields(self) -> list[str]:
        """`rank '6'` and its like: what is of another kind, or out of range."""
        wrong = [name for name in _TEXTS if not isinstance(getattr(self, name), str)]
        wrong += [name for name, least in _SIZES.items() if not _is_size(getattr(self, name), least)]
        wrong += [name for name in _SCALES if not _is_number(getattr(self, name))]
        if self.prediction_type not in PREDICTION_TYPES:
            wrong.append("prediction_type")
        if self.abars is not None and not all(_is_number(value) for value in self.abars):
            wrong.append("abars")
        if self.rewards is not None and not _are_names(self.rewards):
            wrong.append("rewards")
        return [f"{name} {getattr(self, name)!r}" for name in dict.fromkeys(wrong)]


def schedule_marks(schedule: Schedule) -> tuple[float, ...]:
    """abar at five times from the first to the last, to six digits."""
    times = [round(k * (schedule.num_train_steps - 1) / 4) for k in range(5)]
    return tuple(float(f"{schedule.alphas_cumprod[t]:.6g}") for t in times)


def same_schedule(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two schedules' marks agree, but for rounding."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-9) for a, b in zip(one, other, strict=True)
    )


def read_student_config(folder: Path) -> StudentConfig:
    """config.json. UserError if it is absent, of another schema, lacks a field, or has one of another kind."""
    path = folder / CONFIG_FILE
    values = read_json(path)
    if values.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            found=f"{path}: schema_version {values.get('schema_version')}",
            expected=f"a student's folder of schema_version {SCHEMA_VERSION}",
            run_next=remedy(path),
        )
    for name in ("abars", "rewards"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    try:
        config = StudentConfig(**values)
    except TypeError as error:
        found = f"{path} with other fields ({error})"
        raise UserError(found=found, expected="the fields of a student", run_next=remedy(path)) from error
    if wrong := config.wrong_fields():
        expected = "the fields of a student: names, whole sizes above 0 (rank 0: no LoRA), finite scales"
        raise UserError(found=f"{path}: {', '.join(wrong)}", expected=expected, run_next=remedy(path))
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _is_size(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
