"""How does a teacher make a clip? Deterministic DDIM with classifier-free guidance.

x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s) eps (Song et al. 2021, equation 12, eta 0). Below the last time abar is
abar_0, not 1 (`set_alpha_to_one` False of Stable Diffusion's and ModelScope's schedulers). Latents stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from turbo_train.diffusion.guidance import imagen_cfg
from turbo_train.diffusion.prediction import to_eps, to_x0
from turbo_train.errors import UserError
from turbo_train.nets.model import Model, Spacing

OnStep = Callable[[int, Tensor], None]
STEPS_OFFSET = 1  # of Stable Diffusion's schedulers, with "leading"


def ddim_timesteps(num_steps: int, spacing: Spacing = "leading", num_train_steps: int = 1000) -> tuple[int, ...]:
    """Falling times. 50 steps: leading 981, 961, ..., 1; trailing 999, 979, ..., 19 (Lin et al. 2023, table 2).

    UserError if num_steps is not in 1..num_train_steps - 1.
    """
    if not 1 <= num_steps < num_train_steps:
        raise UserError(found=f"{num_steps} DDIM steps", expected=f"1 to {num_train_steps - 1} steps")
    if spacing == "leading":
        stride = num_train_steps // num_steps
        return tuple(k * stride + STEPS_OFFSET for k in reversed(range(num_steps)))
    return tuple(round(num_train_steps - k * num_train_steps / num_steps) - 1 for k in range(num_steps))


@torch.no_grad()
def sample_ddim(
    model: Model,
    context_BLD: Tensor,
    uncond_1LD: Tensor,
    noise_BCTHW: Tensor,
    *,
    num_steps: int,
    guidance_scale: float,
    spacing: Spacing | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """z_0 (B, C, T, h, w) float32. Guidance is imagen_cfg: 1 means none, and then half the work.

    spacing: None means the model's own (its scheduler_config.json).
    on_step(steps done, predicted x_0). Differs: with "trailing" and a number of steps that does not divide 1000,
    diffusers steps to t - 1000 // n, which is not its next time; here s is always the next time.
    """
    times = ddim_timesteps(num_steps, spacing or model.spacing, model.schedule.num_train_steps)
    guided = guidance_scale != 1
    rows = len(noise_BCTHW)
    context = torch.cat([uncond_1LD.expand(rows, -1, -1), context_BLD]) if guided else context_BLD
    x_t = noise_BCTHW.float()
    for done, t in enumerate(times, start=1):
        t_B = torch.full((rows,), t, dtype=torch.int64, device=x_t.device)
        s_B = torch.full_like(t_B, times[done] if done < num_steps else 0)
        out = _guided(model, x_t, t_B, context, guidance_scale) if guided else _plain(model, x_t, t_B, context)
        kind = model.denoiser.prediction_type
        x_0 = to_x0(kind, model.schedule, out, x_t, t_B)
        eps = to_eps(kind, model.schedule, out, x_t, t_B)
        x_t = model.schedule.alpha(s_B[:1]) * x_0 + model.schedule.sigma(s_B[:1]) * eps
        if on_step:
            on_step(done, x_0)
    return x_t


def _plain(model: Model, x_t: Tensor, t_B: Tensor, context_BLD: Tensor) -> Tensor:
    return model.denoiser(x_t, t_B, context_BLD, fps=model.fps)


def _guided(model: Model, x_t: Tensor, t_B: Tensor, context_2BLD: Tensor, guidance_scale: float) -> Tensor:
    out = _plain(model, torch.cat([x_t, x_t]), torch.cat([t_B, t_B]), context_2BLD)
    uncond, cond = out.chunk(2)
    return imagen_cfg(cond, uncond, guidance_scale)
