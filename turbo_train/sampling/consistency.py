"""How does a student make a clip in a few steps? Jump to x_0, add noise again, jump again.

T2V-Turbo's scheduler (T2V-Turbo eaae323; multistep consistency sampling, Song et al. 2023, algorithm 1):
z = f(x_t, t, w); x_t' = alpha_t' z + sigma_t' noise; the last z is the clip. The guidance scale is an input of the
network, so a step is one forward pass. Its convention is lcm_cfg's. VideoCrafter2's x0_scale plays no part: T2V-Turbo
trains its students without it. A student of the second version can also be told how much motion to make.
Differs: latents, scheduler and embeddings are float32; the original computes them in the networks' bf16, where the
division by alpha_999 = 0.068 magnifies rounding 15 times.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from turbo_train.diffusion.boundary import consistency
from turbo_train.diffusion.guidance import guidance_embedding
from turbo_train.diffusion.schedule import add_noise
from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.sampling.finite import FiniteWatch
from turbo_train.sampling.noise import OnStep, StepNoise, noise_after
from turbo_train.sampling.timesteps import consistency_timesteps, early_end


@torch.no_grad()
def sample_consistency(
    model: Model,
    context_BLD: Tensor,
    noise_BCTHW: Tensor,
    step_noise: StepNoise,
    *,
    num_steps: int,
    guidance_scale: float,
    origin_steps: int = 50,
    motion_gs: float | None = None,
    motion_percentage: float = 0.5,
    on_step: OnStep | None = None,
) -> Tensor:
    """z_0 (B, C, T, h, w) float32 (float64 of a float64 network). step_noise(k): after steps 1 to num_steps - 1.

    motion_gs: the motion that a student of the second version is told in the first motion_percentage of time, 0
    later; None: it is told nothing. T2V-Turbo-v2 was made with 16 steps of 200, motion_gs 0.05, motion_percentage 0.5
    and fps 8 (T2V-Turbo eaae323, predict.py).
    on_step(steps done, z). Warns (UserWarning) of an `early_end`. Networks are used in the mode they are in: eval(),
    without which VideoCrafter2's temporal convolutions drop out, is the caller's.
    UserError for impossible steps and percentages, ValueError for a model without a guidance input (a teacher) and for
    motion_gs of one that knows no motion, NonFiniteLatents (finite.py) at the end.
    Differs: the original draws and discards noise in the last step.
    """
    num_train_steps = model.schedule.num_train_steps
    times = consistency_timesteps(num_steps, origin_steps, num_train_steps)
    if warning := early_end(num_steps, origin_steps, num_train_steps):
        warnings.warn(warning, UserWarning, stacklevel=3)
    width = model.timestep_cond_dim
    if width is None:
        raise ValueError(f"{model.name} has no guidance input: consistency steps are for students, DDIM for teachers")
    rows = len(noise_BCTHW)
    x_t = z = out = noise_BCTHW.float()
    cond = guidance_embedding(torch.full((rows,), guidance_scale, device=x_t.device), width)
    moving, still = motion_conditions(model, motion_gs, motion_percentage, x_t)
    moves_from, watch = num_train_steps * (1 - motion_percentage), FiniteWatch(times)
    for done, t in enumerate(times, start=1):
        t_B = torch.full((rows,), t, dtype=torch.int64, device=x_t.device)
        motion = moving if t >= moves_from else still
        out = model.denoiser(x_t, t_B, context_BLD, fps=model.fps, timestep_cond_BE=cond, motion_cond_BE=motion)
        z = consistency(model.denoiser.prediction_type, model.schedule, out, x_t, t_B)
        watch.look(z)
        if on_step:
            on_step(done, z)
        if done < num_steps:
            x_t = add_noise(model.schedule, z, noise_after(step_noise, done, z), torch.full_like(t_B, times[done]))
    watch.check(out.dtype)
    return z


def motion_conditions(
    model: Model, motion_gs: float | None, motion_percentage: float, like_BCTHW: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Embeddings (B, E) float32 of motion_gs and of 0 (which is not a zero vector); None twice without motion_gs.

    UserError for a percentage outside [0, 1], ValueError for a model that knows no motion.
    """
    if not 0 <= motion_percentage <= 1:
        raise UserError(found=f"motion_percentage {motion_percentage}", expected="0 to 1, a share of the time")
    if motion_gs is None:
        return None, None
    if model.motion_cond_dim is None:
        raise ValueError(f"motion_gs {motion_gs} for {model.name}, which knows no motion condition")
    scale_B = torch.full((len(like_BCTHW),), motion_gs, device=like_BCTHW.device)
    width = model.motion_cond_dim
    return guidance_embedding(scale_B, width), guidance_embedding(torch.zeros_like(scale_B), width)
