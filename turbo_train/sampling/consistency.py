"""How does a student make a clip in a few steps? Jump to x_0, add noise again, jump again.

T2V-Turbo's scheduler (T2V-Turbo eaae323; multistep consistency sampling, Song et al. 2023, algorithm 1):
z = f(x_t, t, w); x_t' = alpha_t' z + sigma_t' noise; the last z is the clip. Latents stay in float32.
The guidance scale is an input of the network, so a step is one forward pass. Its convention is lcm_cfg's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from turbo_train.diffusion.boundary import consistency
from turbo_train.diffusion.guidance import guidance_embedding
from turbo_train.diffusion.schedule import add_noise
from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.sampling.ddim import OnStep


def consistency_timesteps(num_steps: int, origin_steps: int = 50, num_train_steps: int = 1000) -> tuple[int, ...]:
    """Falling times from the grid of `origin_steps`: 4 of 50 are 999, 759, 519, 279.

    A num_steps that does not divide origin_steps stops early: 32 of 50 end at 379. UserError unless
    1 <= num_steps <= origin_steps <= num_train_steps.
    """
    if not 1 <= num_steps <= origin_steps <= num_train_steps:
        raise UserError(
            found=f"{num_steps} consistency steps of a grid of {origin_steps}",
            expected=f"1 to {min(origin_steps, num_train_steps)} steps",
        )
    skip_k, stride = num_train_steps // origin_steps, origin_steps // num_steps
    return tuple((origin_steps - k * stride) * skip_k - 1 for k in range(num_steps))


@torch.no_grad()
def sample_consistency(
    model: Model,
    context_BLD: Tensor,
    noise_BCTHW: Tensor,
    step_noise: Sequence[Tensor],
    *,
    num_steps: int,
    guidance_scale: float,
    origin_steps: int = 50,
    on_step: OnStep | None = None,
) -> Tensor:
    """z_0 (B, C, T, h, w) float32. step_noise: num_steps - 1 tensors of noise's shape.

    on_step(steps done, z). Differs: the original draws and discards noise in the last step.
    """
    times = consistency_timesteps(num_steps, origin_steps, model.schedule.num_train_steps)
    if len(step_noise) != num_steps - 1:
        raise ValueError(f"{len(step_noise)} noise tensors for {num_steps} steps, which need {num_steps - 1}")
    rows = len(noise_BCTHW)
    x_t = z = noise_BCTHW.float()
    cond = None
    if model.timestep_cond_dim is not None:
        cond = guidance_embedding(torch.full((rows,), guidance_scale, device=x_t.device), model.timestep_cond_dim)
    for done, t in enumerate(times, start=1):
        t_B = torch.full((rows,), t, dtype=torch.int64, device=x_t.device)
        out = model.denoiser(x_t, t_B, context_BLD, fps=model.fps, timestep_cond_BE=cond)
        z = consistency(model.denoiser.prediction_type, model.schedule, out, x_t, t_B)
        if on_step:
            on_step(done, z)
        if done < num_steps:
            x_t = add_noise(model.schedule, z, step_noise[done - 1], torch.full_like(t_B, times[done]))
    return z
