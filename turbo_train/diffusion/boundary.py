"""How does a denoiser become a consistency function, which is the identity at time 0?

f(x_t, t) = c_skip(t) x_t + c_out(t) x_0(x_t, t) with, for s = timestep_scaling t,
c_skip = sigma_data^2 / (s^2 + sigma_data^2), c_out = s / sqrt(s^2 + sigma_data^2)
(Luo et al. 2023, "Latent consistency models", appendix D; sigma_data 0.5, scaling 10: T2V-Turbo eaae323).
At t = 0 they are (1, 0) exactly, so f(x, 0) = x; from t = 1 on f is x_0 to about 2.5e-3 and better.
"""

from __future__ import annotations

from torch import Tensor

from turbo_train.diffusion.prediction import to_x0
from turbo_train.diffusion.schedule import Schedule, expand, full_precision

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0


def c_skip(t_B: Tensor) -> Tensor:
    """Weight of x_t in f, (B,) float32: 1 at t = 0, 6.9e-6 at t = 19."""
    s = t_B.float() * TIMESTEP_SCALING
    return SIGMA_DATA**2 / (s**2 + SIGMA_DATA**2)


def c_out(t_B: Tensor) -> Tensor:
    """Weight of the predicted x_0 in f, (B,) float32: 0 at t = 0."""
    s = t_B.float() * TIMESTEP_SCALING
    return s / (s**2 + SIGMA_DATA**2).sqrt()


def consistency(prediction_type: str, schedule: Schedule, out: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
    """f(x_t, t) of a network's output; float32, differentiable in out and x_t. ValueError for an unknown type."""
    x_t = full_precision(x_t)
    x_0 = to_x0(prediction_type, schedule, out, x_t, t_B)
    return expand(c_skip(t_B), x_t) * x_t + expand(c_out(t_B), x_t) * x_0
