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

from turbo_train.diffusion.boundary import consistency
from turbo_train.diffusion.guidance import guidance_embedding
from turbo_train.diffusion.schedule import add_noise
from turbo_train.errors import UserError
from turbo_train.nets.student import new_student
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.consistency import sample_consistency

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
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
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
    z = sample_consistency(
        model,
        inputs["prompt_embeds"],
        inputs["latents"],
        lambda k: inputs[f"noise_{k - 1}"],
        num_steps=4,
        guidance_scale=7.5,
    )
    assert recorded.times == [999, 759, 519, 279]
    fill.compare(META, EXPECTED, "steps4/latents", z)


def test_a_teacher_which_would_not_hear_the_guidance_scale_is_refused(teacher_folder: Path) -> None:
    model, noise = tiny_models.formula_model(teacher_folder, "epsilon"), torch.zeros(1, 4, 3, 4, 4)
    with pytest.raises(ValueError, match="teacher has no guidance input"):
        sample_consistency(model, torch.zeros(1, 8, 12), noise, no_noise, num_steps=1, guidance_scale=7.5)


def test_the_sampler_warns_of_an_early_end_and_makes_the_clip(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon", timestep_cond_dim=16)
    noise = torch.zeros(1, 4, 3, 4, 4)
    with pytest.warns(UserWarning, match="32 steps of a grid of 50 end at time 379") as caught:
        z = sample_consistency(model, torch.zeros(1, 8, 12), noise, lambda k: noise, num_steps=32, guidance_scale=7.5)
    assert caught[0].filename == __file__ and z.shape == noise.shape


def test_step_noise_is_drawn_when_its_step_is_done_and_not_after_the_last(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon", timestep_cond_dim=16)
    order: list[str] = []

    def step_noise(k: int) -> Tensor:
        order.append(f"noise {k}")
        return torch.zeros(1, 4, 3, 4, 4)

    sample_consistency(
        model,
        torch.zeros(1, 8, 12),
        torch.zeros(1, 4, 3, 4, 4),
        step_noise,
        num_steps=4,
        guidance_scale=7.5,
        on_step=lambda done, _: order.append(f"step {done}"),
    )
    assert order == ["step 1", "noise 1", "step 2", "noise 2", "step 3", "noise 3", "step 4"]


def test_step_noise_of_another_shape_is_refused(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon", timestep_cond_dim=16)
    noise = torch.zeros(2, 4, 3, 4, 4)
    with pytest.raises(ValueError, match=r"noise of shape \(1, 4, 3, 4, 4\) after step 1, not \(2, 4, 3, 4, 4\)"):
        sample_consistency(model, torch.zeros(2, 8, 12), noise, lambda k: noise[:1], num_steps=4, guidance_scale=7.5)


def no_noise(k: int) -> Tensor:
    raise AssertionError(f"noise after step {k}")


def test_one_step_needs_no_noise_and_tells_every_step(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "v_prediction", timestep_cond_dim=16)
    seen: list[int] = []
    context, noise = torch.zeros(2, 8, 12), torch.randn(2, 4, 3, 4, 4)
    z = sample_consistency(
        model, context, noise, no_noise, num_steps=1, guidance_scale=3.0, on_step=lambda done, _: seen.append(done)
    )
    assert seen == [1] and z.shape == noise.shape
    assert model.denoiser.calls == [(2, [999])]  # type: ignore[attr-defined]


def test_motion_is_refused_where_it_is_unknown_or_no_share(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon", timestep_cond_dim=16)
    context, noise = torch.zeros(1, 8, 12), torch.zeros(1, 4, 3, 4, 4)
    with pytest.raises(ValueError, match=r"motion_gs 0\.05 for teacher, which knows no motion condition"):
        sample_consistency(model, context, noise, no_noise, num_steps=1, guidance_scale=7.5, motion_gs=0.05)
    with pytest.raises(UserError, match="motion_percentage 50; expected 0 to 1"):
        sample_consistency(
            replace(model, motion_cond_dim=16),
            context,
            noise,
            no_noise,
            num_steps=1,
            guidance_scale=7.5,
            motion_gs=0.05,
            motion_percentage=50,
        )


def test_a_clip_does_not_depend_on_its_batch_and_latents_stay_in_float32(teacher_folder: Path) -> None:
    student = new_student(load_teacher(teacher_folder), rank=4, time_cond_dim=16)
    context, noise = torch.randn(3, 8, 12), torch.randn(3, 4, 3, 4, 4)
    fresh = torch.randn(3, 4, 3, 4, 4)
    together = sample_consistency(student, context, noise, lambda k: fresh, num_steps=2, guidance_scale=3.0)
    alone = sample_consistency(student, context[2:], noise[2:], lambda k: fresh[2:], num_steps=2, guidance_scale=3.0)
    assert together.dtype == torch.float32 and not together.requires_grad
    assert_close(together[2:], alone, atol=1e-4, rtol=1e-4)


def test_with_a_bfloat16_network_latents_and_scheduler_stay_in_float32(teacher_folder: Path) -> None:
    student = new_student(load_teacher(teacher_folder), rank=4, time_cond_dim=16).to("cpu", torch.bfloat16)
    context, noise, fresh = torch.randn(2, 8, 12), torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 3, 4, 4)
    z = sample_consistency(student, context, noise, lambda k: fresh, num_steps=2, guidance_scale=3.0)
    cond, x_t = guidance_embedding(torch.full((2,), 3.0), 16), noise
    for t, following in ((999, 499), (499, None)):
        t_B = torch.tensor([t, t])
        with torch.no_grad():
            out = student.denoiser(x_t, t_B, context, fps=student.fps, timestep_cond_BE=cond)
        assert out.dtype == torch.bfloat16
        ours = consistency(student.denoiser.prediction_type, student.schedule, out, x_t, t_B)
        if following is not None:
            x_t = add_noise(student.schedule, ours, fresh, torch.tensor([following, following]))
    assert torch.equal(z, ours) and not torch.equal(z, z.bfloat16().float())
