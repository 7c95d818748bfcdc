"""Does the few-step sampler take T2V-Turbo's steps? Recorded network outputs stand in for VideoCrafter2's UNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
import torch
from golden import fill
from torch import Tensor
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.student import new_student
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.consistency import consistency_timesteps, sample_consistency

META, EXPECTED = fill.load("sampler")


class Recorded:
    """Plays back the official UNet's outputs, after comparing what it is given with what that UNet was given."""

    prediction_type = "epsilon"

    def __init__(self) -> None:
        self.times: list[int] = []

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | None = None,
        timestep_cond_BE: Tensor | None = None,
    ) -> Tensor:
        step = len(self.times)
        fill.compare(META, EXPECTED, f"steps4/input_{step}", x_BCTHW)
        assert timestep_cond_BE is not None
        assert_close(timestep_cond_BE, EXPECTED["timestep_cond"], atol=3e-3, rtol=0)
        self.times += t_B.tolist()
        return EXPECTED[f"steps4/model_output_{step}"]


def test_four_official_steps(teacher_folder: Path) -> None:
    inputs, recorded = fill.inputs_of(META), Recorded()
    model = replace(load_teacher(teacher_folder), denoiser=recorded, timestep_cond_dim=256)
    fresh = [inputs[f"noise_{k}"] for k in range(3)]
    z = sample_consistency(
        model, inputs["prompt_embeds"], inputs["latents"], fresh, num_steps=4, guidance_scale=7.5, origin_steps=50
    )
    assert recorded.times == [999, 759, 519, 279]
    fill.compare(META, EXPECTED, "steps4/latents", z)


@pytest.mark.parametrize(("steps", "origin"), [(0, 50), (-3, 50), (51, 50), (4, 1001)])
def test_impossible_numbers_of_steps_are_refused(steps: int, origin: int) -> None:
    with pytest.raises(UserError, match=f"{steps} consistency steps of a grid of {origin}") as caught:
        consistency_timesteps(steps, origin)
    assert caught.value.exit_code == 2


def test_a_number_that_does_not_divide_the_grid_stops_early() -> None:
    assert consistency_timesteps(32, 50)[-1] == 379


def test_step_noise_of_another_count_is_refused(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon")
    noise = torch.zeros(1, 4, 3, 4, 4)
    with pytest.raises(ValueError, match="4 noise tensors for 4 steps, which need 3"):
        sample_consistency(model, torch.zeros(1, 8, 12), noise, [noise] * 4, num_steps=4, guidance_scale=7.5)


def test_one_step_needs_no_noise_and_tells_every_step(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "v_prediction", timestep_cond_dim=16)
    seen: list[int] = []
    context, noise = torch.zeros(2, 8, 12), torch.randn(2, 4, 3, 4, 4)
    z = sample_consistency(
        model, context, noise, [], num_steps=1, guidance_scale=3.0, on_step=lambda done, _: seen.append(done)
    )
    assert seen == [1] and z.shape == noise.shape
    assert model.denoiser.calls == [(2, [999])]  # type: ignore[attr-defined]


def test_a_clip_does_not_depend_on_its_batch_and_latents_stay_in_float32(teacher_folder: Path) -> None:
    student = new_student(load_teacher(teacher_folder), rank=4, time_cond_dim=16)
    context, noise = torch.randn(3, 8, 12), torch.randn(3, 4, 3, 4, 4)
    fresh = [torch.randn(3, 4, 3, 4, 4) for _ in range(1)]
    together = sample_consistency(student, context, noise, fresh, num_steps=2, guidance_scale=3.0)
    alone = sample_consistency(student, context[2:], noise[2:], [fresh[0][2:]], num_steps=2, guidance_scale=3.0)
    assert together.dtype == torch.float32 and not together.requires_grad
    assert_close(together[2:], alone, atol=1e-4, rtol=1e-4)
