"""Where does one deterministic DDIM step along the teacher's probability-flow ODE lead from time t to s < t?

x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s) eps (Song et al. 2021, "DDIM", equation 12 with sigma = 0). The grid of the
distillation is t_i = (i + 1) n/N - 1: 19, 39, ..., 999 for N = 50 of n = 1000; s is the grid point before, and 0
below the first (T2V-Turbo eaae323). VideoCrafter2's rescaling is optional: x_t = alpha_t scale_t x_0 + sigma_t eps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from turbo_train.diffusion.schedule import NUM_TRAIN_STEPS, Schedule, expand, full_precision


def videocrafter2_x0_scale(num_train_steps: int = NUM_TRAIN_STEPS, ramp_steps: int = 400, end: float = 0.7) -> Tensor:
    """(n,) float32 factor of x_0: from 1 to 0.7 over 400 times, then 0.7 (T2V-Turbo eaae323, `use_scale`)."""
    ramp = torch.linspace(1.0, end, ramp_steps, dtype=torch.float64)
    rest = torch.full((num_train_steps - ramp_steps,), end, dtype=torch.float64)
    return torch.cat([ramp, rest]).float()


def ddim_std(schedule: Schedule, t_B: Tensor, s_B: Tensor, eta: float) -> Tensor:
    """Spread of the fresh noise of a sampler's step from t to s < t, (B,) float32 (Song et al. 2021, equation 16).

    eta sqrt((1 - abar_s) / (1 - abar_t)) sqrt(1 - abar_t / abar_s): eta 0 deterministic, 1 DDPM's posterior.
    """
    abar_t, abar_s = schedule.abar(t_B), schedule.abar(s_B)
    return eta * ((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)).sqrt()


@dataclass(frozen=True)
class DDIMSolver:
    """The grid of the distillation and the step between its neighbours. `x0_scale` (n,) or None (training's choice).

    ValueError for a number of steps that does not divide the training times: its grid would not reach the last one.
    """

    schedule: Schedule
    num_ddim_steps: int = 50
    x0_scale: Tensor | None = None

    def __post_init__(self) -> None:
        num_train_steps = self.schedule.num_train_steps
        if self.num_ddim_steps < 1 or num_train_steps % self.num_ddim_steps:
            raise ValueError(f"{self.num_ddim_steps} DDIM steps do not divide {num_train_steps} training times")

    @property
    def skip_k(self) -> int:
        """Training times between two grid points."""
        return self.schedule.num_train_steps // self.num_ddim_steps

    @cached_property
    def grid(self) -> Tensor:
        """(N,) int64 rising times t_i."""
        return torch.arange(1, self.num_ddim_steps + 1) * self.skip_k - 1

    def time(self, index_B: Tensor) -> Tensor:
        """t of grid indices."""
        return self.grid.to(index_B.device)[index_B]

    def prev_time(self, index_B: Tensor) -> Tensor:
        """s of grid indices: t - skip_k, and 0 below the first grid point."""
        return (self.time(index_B) - self.skip_k).clamp(min=0)

    def step(self, x_0: Tensor, eps: Tensor, index_B: Tensor) -> Tensor:
        """x_s from the predicted x_0 and eps at grid indices; float32.

        Differs: the original's table of abar_s happens to be float64, so its x_s is too; here it is float32.
        """
        x_0, eps = full_precision(x_0), full_precision(eps)
        s_B = self.prev_time(index_B)
        direction = expand(self.schedule.sigma(s_B), eps) * eps
        signal = expand(self.schedule.alpha(s_B), x_0) * x_0
        if self.x0_scale is not None:
            scale = self.x0_scale.to(s_B.device)
            signal = signal * expand(scale[s_B] / scale[self.time(index_B)], x_0)
        return signal + direction

    def invert(self, x_s: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """x_t from x_s and eps, the step backwards: t any time, s = max(t - skip_k, 0); without rescaling; float32."""
        x_s, eps = full_precision(x_s), full_precision(eps)
        s_B = (t_B - self.skip_k).clamp(min=0)
        ratio = expand(self.schedule.alpha(t_B) / self.schedule.alpha(s_B), x_s)
        return (x_s - expand(self.schedule.sigma(s_B), eps) * eps) * ratio + expand(self.schedule.sigma(t_B), eps) * eps
