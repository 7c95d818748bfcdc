"""Does a loaded VideoCrafter2 run with the published settings?"""

from __future__ import annotations

import pytest
import tiny_vc2
import torch

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.diffusion.solver import videocrafter2_x0_scale
from turbo_train.nets.model import Model
from turbo_train.nets.videocrafter2.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_vc2.write_checkpoint(tmp_path_factory.mktemp("vc2") / "model.ckpt")
    return load_checkpoint(path, tiny_vc2.SIZES)


def test_schedule_and_rescaling_are_the_published_ones(teacher: Model) -> None:
    """The tables themselves are compared with the original's in diffusion/."""
    assert torch.equal(teacher.schedule.alphas_cumprod, make_schedule().alphas_cumprod)
    assert float(teacher.schedule.alphas_cumprod[-1]) == pytest.approx(0.0046601, abs=1e-7)
    assert teacher.x0_scale is not None and torch.equal(teacher.x0_scale, videocrafter2_x0_scale())
    assert teacher.denoiser.prediction_type == "epsilon" and teacher.spacing == "leading"


def test_its_clips_have_16_frames_at_16_frames_per_second(teacher: Model) -> None:
    assert teacher.latent_shape == (4, 16, 4, 8) and teacher.fps == 16
    assert teacher.size_multiple == 2 and teacher.vae.factor == 2
    assert teacher.timestep_cond_dim is None and teacher.motion_cond_dim is None
