"""Is a scheduler's file read as its author meant it, and refused by name where our sampler does otherwise?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.errors import UserError
from turbo_train.nets.scheduler_config import read_scheduler
from turbo_train.world import WEIGHTS

MODELSCOPE = {  # what is known of the published file, which was not at hand
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.15.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "schedule": ({"beta_schedule": "linear"}, "beta_schedule 'linear'"),
    "spacing": ({"timestep_spacing": "linspace"}, "leading or trailing"),
    "zero snr": ({"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}, "zero terminal SNR"),
    "prediction": ({"prediction_type": "flow"}, "prediction_type 'flow'"),
    "offset": ({"steps_offset": 0}, "steps_offset 0; expected steps_offset 1"),
    "default offset": ({"steps_offset": ...}, r"steps_offset 0 \(not in the file: diffusers' default\)"),
    "last step": ({"set_alpha_to_one": True}, "set_alpha_to_one True; expected set_alpha_to_one False"),
    "clip": ({"clip_sample": True}, "clip_sample True"),
    "default clip": ({"clip_sample": ...}, r"clip_sample True \(not in the file"),
    "thresholding": ({"thresholding": True}, "thresholding True"),
    "betas": ({"trained_betas": [0.1] * 1000}, "trained_betas .*; expected trained_betas None"),
    "no start": ({"beta_start": ...}, "beta_start None; expected beta_start between 0 and 1"),
    "text": ({"beta_end": "0.012"}, "beta_end '0.012'"),
    "steps": ({"num_train_timesteps": 10.5}, "num_train_timesteps 10.5"),
    "no steps": ({"num_train_timesteps": ...}, "num_train_timesteps None"),
}


def written(folder: Path, **changes: object) -> Path:
    """ModelScope's file with fields changed; `...` takes one out."""
    path = folder / "scheduler_config.json"
    fields = {**MODELSCOPE, **changes}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, name: str) -> None:
    fields, says = REFUSED[name]
    path = written(tmp_path, **fields)
    with pytest.raises(UserError, match=says) as caught:
        read_scheduler(path)
    assert str(path) in str(caught.value) and caught.value.run_next == "another model, or copy this one again"


def test_modelscopes_file_is_honoured(tmp_path: Path) -> None:
    read = read_scheduler(written(tmp_path))
    assert (read.prediction_type, read.spacing) == ("epsilon", "leading")
    assert torch.equal(read.schedule.alphas_cumprod, make_schedule().alphas_cumprod)


def test_the_worlds_file_is_honoured(tmp_path: Path) -> None:
    path = WEIGHTS / "teacher" / "scheduler" / "scheduler_config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    for where in (path, written(tmp_path, **fields | {"steps_offset": 0})):  # trailing times know no offset
        read = read_scheduler(where)
        assert (read.prediction_type, read.spacing) == ("v_prediction", "trailing")
        assert torch.equal(read.schedule.alphas_cumprod, make_schedule(zero_terminal_snr=True).alphas_cumprod)
