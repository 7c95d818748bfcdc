"""How does a teacher make a clip? DDIM with classifier-free guidance, without noise (eta 0) or with (eta up to 1).

x_s = alpha_s scale_s x_0 + sqrt(1 - abar_s - std^2) eps + std z, std of `ddim_std` (Song et al. 2021, equations 12 and
16). scale is 1 but for VideoCrafter2, whose training scaled x_0: its network's x_0 is divided by scale_t. Below the
last time s is 0: abar_0, not 1 (`set_alpha_to_one` False of Stable Diffusion's and ModelScope's schedulers), and
scale_0, which is 1. Latents stay in float32.
Published settings. VideoCrafter2: 50 steps, eta 1, guidance 12 (imagen_cfg), fps 28 (AILab-CVC/VideoCrafter 70e3411,
scripts/run_text2video.sh). ModelScope: 50 steps, eta 0, guidance 9 (imagen_cfg; diffusers' TextToVideoSDPipeline).
The T2V-Turbo paper says "50-step DDIM" of both (arXiv 2405.18750).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from turbo_train.diffusion.guidance import imagen_cfg
from turbo_train.diffusion.prediction import to_eps, to_x0
from turbo_train.diffusion.solver import ddim_std
from turbo_train.errors import UserError
from turbo_train.nets.model import Model, Spacing
from turbo_train.sampling.finite import FiniteWatch
from turbo_train.sampling.noise import OnStep, StepNoise, noise_after
from turbo_train.sampling.timesteps import ddim_timesteps, late_start


@torch.no_grad()
def sample_ddim(
    model: Model,
    context_BLD: Tensor,
    uncond_1LD: Tensor,
    noise_BCTHW: Tensor,
    *,
    num_steps: int,
    guidance_scale: float,
    eta: float = 0.0,
    step_noise: StepNoise | None = None,
    spacing: Spacing | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """z_0 (B, C, T, h, w) float32 (float64 of a float64 network). Guidance is imagen_cfg: 1 means none, half the work.

    eta: 0 deterministic, 1 as much noise as DDPM; then step_noise(k) is asked for after every step, the last one
    included, as VideoCrafter2's sampler and diffusers' do: its std there is about 0.02 at 50 steps.
    spacing: None means the model's own (its scheduler_config.json). Warns (UserWarning) of a `late_start`.
    Networks are used in the mode they are in: eval() is the caller's.
    on_step(steps done, predicted x_0). Differs: with "trailing" and a number of steps that does not divide 1000,
    diffusers steps to t - 1000 // n, which is not its next time; here s is always the next time.
    UserError for eta outside [0, 1], ValueError for eta without step_noise, NonFiniteLatents (finite.py) at the end.
    """
    which = num_steps, spacing or model.spacing, model.schedule.num_train_steps
    times = ddim_timesteps(*which)
    if warning := late_start(*which):
        warnings.warn(warning, UserWarning, stacklevel=3)
    if not 0 <= eta <= 1:
        raise UserError(found=f"eta {eta}", expected="0 (deterministic) to 1 (as much noise as DDPM)")
    if eta and step_noise is None:
        raise ValueError(f"eta {eta} needs step_noise")
    guided, kind, schedule = guidance_scale != 1, model.denoiser.prediction_type, model.schedule
    rows, copies = len(noise_BCTHW), 2 if guided else 1
    context = torch.cat([uncond_1LD.expand(rows, -1, -1), context_BLD]) if guided else context_BLD
    x_t = noise_BCTHW.float()
    scale = torch.ones(schedule.num_train_steps) if model.x0_scale is None else model.x0_scale
    scale, watch, out = scale.to(x_t.device), FiniteWatch(times), x_t
    for done, t in enumerate(times, start=1):
        t_B = torch.full((rows,), t, dtype=torch.int64, device=x_t.device)
        s_B = torch.full_like(t_B, times[done] if done < num_steps else 0)
        t_1, s_1 = t_B[:1], s_B[:1]
        out = model.denoiser(torch.cat([x_t] * copies), torch.cat([t_B] * copies), context, fps=model.fps)
        answer = _guide(out, guidance_scale) if guided else out
        x_0 = to_x0(kind, schedule, answer, x_t, t_B) / scale[t_1]
        eps = to_eps(kind, schedule, answer, x_t, t_B)
        std = ddim_std(schedule, t_1, s_1, eta)
        # clamp: with zero terminal SNR and eta 1 the first step's two terms are equal but for rounding.
        sigma = (1 - schedule.abar(s_1) - std**2).clamp(min=0).sqrt()
        x_t = schedule.alpha(s_1) * scale[s_1] * x_0 + sigma * eps
        if eta and step_noise is not None:
            x_t = x_t + std * noise_after(step_noise, done, x_t)
        watch.look(x_t)
        if on_step:
            on_step(done, x_0)
    watch.check(out.dtype)
    return x_t


def _guide(out_2BCTHW: Tensor, guidance_scale: float) -> Tensor:
    uncond, cond = out_2BCTHW.chunk(2)
    return imagen_cfg(cond, uncond, guidance_scale)
