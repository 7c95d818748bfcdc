"""How is the world's first student made? Latent consistency distillation of the teacher, by LoRA.

Luo et al. 2023 ("Latent consistency models", algorithm 1) in the form of T2V-Turbo (Li et al. 2024, section 3),
without rewards: x_t from data, one guided DDIM step of the teacher to s < t, and the student's f at t is pulled to
its own f at s (no gradient, no averaged copy). The guidance scale w is a condition: one network call per step.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from turbo_train.diffusion.boundary import consistency
from turbo_train.diffusion.guidance import guidance_embedding, lcm_cfg
from turbo_train.diffusion.losses import pseudo_huber
from turbo_train.diffusion.prediction import to_eps, to_x0
from turbo_train.diffusion.schedule import add_noise
from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.nets.model import Model
from turbo_train.nets.protocols import Denoiser
from turbo_train.nets.student import TIME_COND_DIM, new_student
from turbo_train.world.build.fit import Fit, Report, fit

W_MIN, W_MAX = 0.5, 3.0  # guidance scales in lcm_cfg's convention
BATCH, RANK = 8, 16
SOLVER_STEPS = 25  # skip_k 40: every second point of the paper's grid, which holds the 4-step times 999, 759, 519, 279
HUBER_C = 0.001  # T2V-Turbo eaae323
PLAN = Fit(steps=600, lr=1.0e-3, seed=51, warmup=30, weight_decay=0.0, ema=0.98, save_every_s=30.0)


def teacher_step(
    teacher: Model, solver: DDIMSolver, x_t: Tensor, index_B: Tensor, context_2BLD: Tensor, w_B: Tensor
) -> Tensor:
    """x_s: one DDIM step along the teacher's guided ODE. context_2BLD: captions first, then the empty caption."""
    t = solver.time(index_B)
    kind = teacher.denoiser.prediction_type
    both = teacher.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), context_2BLD)
    cond, uncond = both.chunk(2)
    parts = [convert(kind, teacher.schedule, out, x_t, t) for convert in (to_x0, to_eps) for out in (cond, uncond)]
    return solver.step(lcm_cfg(parts[0], parts[1], w_B), lcm_cfg(parts[2], parts[3], w_B), index_B)


def distillation_loss(
    student: Denoiser,
    teacher: Model,
    solver: DDIMSolver,
    x_0: Tensor,
    contexts: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """loss_cd of one batch. contexts: (B, L, D) of the captions and (1, L, D) of the empty caption."""
    batch = len(x_0)
    context, empty = contexts
    index = torch.randint(solver.num_ddim_steps, (batch,), generator=generator)
    t, s = solver.time(index), solver.prev_time(index)
    x_t = add_noise(teacher.schedule, x_0, torch.randn(x_0.shape, generator=generator), t)
    w = W_MIN + (W_MAX - W_MIN) * torch.rand(batch, generator=generator)
    w_embedding = guidance_embedding(w, TIME_COND_DIM)
    kind = student.prediction_type
    with torch.no_grad():
        x_s = teacher_step(teacher, solver, x_t, index, torch.cat([context, empty.expand_as(context)]), w)
        out_s = student(x_s, s, context, timestep_cond_BE=w_embedding)
        target = consistency(kind, teacher.schedule, out_s, x_s, s)
    out_t = student(x_t, t, context, timestep_cond_BE=w_embedding)
    prediction = consistency(kind, teacher.schedule, out_t, x_t, t)
    return {"loss": pseudo_huber(prediction, target, HUBER_C)}


def train_student(
    teacher: Model,
    latents: Tensor,
    contexts: Tensor,
    folder: Path,
    report: Report | None = None,
    plan: Fit = PLAN,
) -> Model:
    """Distil `teacher` on latents (N, C, T, h, w) and the contexts (N, L, D) of their captions."""
    student = new_student(teacher, rank=RANK, seed=plan.seed)
    solver = DDIMSolver(teacher.schedule, SOLVER_STEPS)
    with torch.no_grad():
        empty = teacher.text([""])
    denoiser = student.denoiser
    if not isinstance(denoiser, nn.Module):
        raise TypeError("the world's student is a torch module")

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        given = (contexts[rows], empty)
        return distillation_loss(student.denoiser, teacher, solver, latents[rows].float(), given, generator)

    fit(plan, denoiser, loss, folder, report)
    return student
