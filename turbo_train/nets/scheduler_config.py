"""Which noise schedule and which DDIM times does a diffusers scheduler_config.json ask for, and can we honour it?

A field that the file leaves out has diffusers' default (DDIMScheduler). One that asks for what our sampler does not
do is refused by name, rather than sampled otherwise than its author did.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_train.diffusion.prediction import PREDICTION_TYPES
from turbo_train.diffusion.schedule import Schedule, make_schedule
from turbo_train.errors import UserError
from turbo_train.nets.folder_files import read_json, remedy
from turbo_train.nets.model import Spacing

# field: diffusers' default, and the only value that sampling/ddim.py honours
_FIXED: dict[str, tuple[object, object]] = {
    "beta_schedule": ("linear", "scaled_linear"),
    "trained_betas": (None, None),
    "set_alpha_to_one": (True, False),
    "clip_sample": (True, False),
    "thresholding": (False, False),
}
_OFFSET = {"steps_offset": (0, 1)}  # it moves the times of "leading" alone


@dataclass(frozen=True)
class SchedulerConfig:
    """What a model takes from the file."""

    schedule: Schedule
    prediction_type: str
    spacing: Spacing


def read_scheduler(path: Path) -> SchedulerConfig:
    """Of a scheduler_config.json. UserError: a field that is missing, of another kind, or that cannot be honoured."""
    config = read_json(path)
    spacing = _spacing(config.get("timestep_spacing", "leading"), path)
    for field, (default, wanted) in (_FIXED | (_OFFSET if spacing == "leading" else {})).items():
        value = config.get(field, default)
        if value != wanted:
            absent = "" if field in config else " (not in the file: diffusers' default)"
            raise _refused(path, f"{field} {value!r}"[:80] + absent, f"{field} {wanted!r}")
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise _refused(path, f"prediction_type {prediction_type!r}", f"one of {', '.join(PREDICTION_TYPES)}")
    start, end = (_number(config, field, path) for field in ("beta_start", "beta_end"))
    steps, flat = config.get("num_train_timesteps"), config.get("rescale_betas_zero_snr", False)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 2:
        raise _refused(path, f"num_train_timesteps {steps!r}", "a whole number above 1")
    if flat and prediction_type == "epsilon":
        wanted = "v_prediction: at zero terminal SNR eps says nothing about x_0"
        raise _refused(path, "rescale_betas_zero_snr with prediction_type epsilon", wanted)
    return SchedulerConfig(make_schedule(start, end, steps, zero_terminal_snr=bool(flat)), prediction_type, spacing)


def _spacing(value: object, path: Path) -> Spacing:
    if value == "leading":
        return "leading"
    if value == "trailing":
        return "trailing"
    raise _refused(path, f"timestep_spacing {value!r}", "leading or trailing")


def _number(config: dict[str, Any], field: str, path: Path) -> float:
    value = config.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise _refused(path, f"{field} {value!r}", f"{field} between 0 and 1")
    return float(value)


def _refused(path: Path, found: str, expected: str) -> UserError:
    return UserError(found=f"{path} with {found}", expected=expected, run_next=remedy(path))
