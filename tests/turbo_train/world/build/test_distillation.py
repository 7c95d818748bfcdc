"""Is the distillation step the paper's: a guided ODE step of the teacher, gradients only where they belong?"""

from __future__ import annotations

from pathlib import Path

import torch

from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.nets.model import Model
from turbo_train.nets.student import new_student, trainable_parameters
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.world.build.student import distillation_loss, teacher_step

CAPTIONS = ["a red circle", "a blue square"]


def batch(teacher: Model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    noise = torch.randn(2, *teacher.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return noise, teacher.text(CAPTIONS), teacher.text([""])


def test_the_teachers_step_is_a_step_of_its_sampler(teacher_folder: Path) -> None:
    """From the last grid point with w = 1 it is the sampler's first step with imagen_cfg's scale 2."""
    teacher = load_teacher(teacher_folder)
    x_t, context, empty = batch(teacher)
    solver = DDIMSolver(teacher.schedule, 2)  # grid 499, 999
    index = torch.tensor([1, 1])
    with torch.no_grad():
        x_s = teacher_step(teacher, solver, x_t, index, torch.cat([context, empty.expand_as(context)]), torch.ones(2))
    first = []
    sample_ddim(
        teacher, context, empty, x_t, num_steps=2, guidance_scale=2.0, spacing="trailing",
        on_step=lambda done, x_0: first.append(x_0),
    )  # fmt: skip
    a, s = teacher.schedule.alpha(torch.tensor([999])), teacher.schedule.sigma(torch.tensor([999]))
    eps = (x_t - a * first[0]) / s
    a, s = teacher.schedule.alpha(torch.tensor([499])), teacher.schedule.sigma(torch.tensor([499]))
    torch.testing.assert_close(x_s, a * first[0] + s * eps, atol=2e-4, rtol=1e-3)


def test_gradients_reach_the_adapter_and_nothing_else(teacher_folder: Path) -> None:
    teacher = load_teacher(teacher_folder)
    student = new_student(teacher, rank=2, time_cond_dim=256)
    x_0, context, empty = batch(teacher)
    solver = DDIMSolver(teacher.schedule, 25)
    generator = torch.Generator().manual_seed(2)
    loss = distillation_loss(student.denoiser, teacher, solver, x_0, (context, empty), generator)["loss"]
    assert 0 < float(loss.detach()) < 10
    loss.backward()
    touched = [p for p in trainable_parameters(student) if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert touched
    assert all(p.grad is None for p in teacher.denoiser.parameters())  # type: ignore[attr-defined]
    assert x_0.grad is None
