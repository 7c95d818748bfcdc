"""Is the teacher's part of a step a step of its own sampler, and do gradients go only where they belong?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.draws import draw
from turbo_train.nets.model import Model
from turbo_train.nets.student import new_student, trainable_weights
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.step import Batch, Objective, teacher_step, train_step

CAPTIONS = ("a red circle", "a blue square")


def batch(teacher: Model) -> Batch:
    noise = torch.randn(2, *teacher.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Batch(noise, teacher.text(CAPTIONS), teacher.text([""]), CAPTIONS)


def test_the_teachers_step_is_a_step_of_its_sampler(teacher_folder: Path) -> None:
    """From the last grid point with w = 1 it is the sampler's first step with imagen_cfg's scale 2."""
    teacher = load_teacher(teacher_folder)
    given = batch(teacher)
    solver = DDIMSolver(teacher.schedule, 2)  # grid 499, 999
    draws = draw(0, 0, range(2), teacher.latent_shape, num_ddim_steps=2, guidance_range=(1.0, 1.0))
    draws = replace(draws, index_B=torch.tensor([1, 1]))
    with torch.no_grad():
        x_s = teacher_step(teacher, solver, given.x_0, given, draws)
    first = []
    sample_ddim(
        teacher, given.context_BLD, given.empty_1LD, given.x_0, num_steps=2, guidance_scale=2.0, spacing="trailing",
        on_step=lambda done, x_0: first.append(x_0),
    )  # fmt: skip
    a, s = teacher.schedule.alpha(torch.tensor([999])), teacher.schedule.sigma(torch.tensor([999]))
    eps = (given.x_0 - a * first[0]) / s
    a, s = teacher.schedule.alpha(torch.tensor([499])), teacher.schedule.sigma(torch.tensor([499]))
    torch.testing.assert_close(x_s, a * first[0] + s * eps, atol=2e-4, rtol=1e-3)


def test_gradients_reach_the_adapter_and_nothing_else(teacher_folder: Path) -> None:
    teacher = load_teacher(teacher_folder)
    student = new_student(teacher, rank=2, time_cond_dim=256)
    given = batch(teacher)
    draws = draw(0, 0, range(2), teacher.latent_shape, num_ddim_steps=25, guidance_range=(0.5, 3.0))
    loss = train_step(student, teacher, DDIMSolver(teacher.schedule, 25), given, draws, Objective()).loss
    assert 0 < loss.item() < 10
    loss.backward()
    touched = [p for p in trainable_weights(student).values() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert touched
    assert all(p.grad is None for p in teacher.denoiser.parameters())  # type: ignore[attr-defined]
