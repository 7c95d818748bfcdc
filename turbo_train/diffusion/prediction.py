"""What clean latent and what noise does a network's output stand for?

With alpha = alpha_t, sigma = sigma_t (Salimans & Ho 2022, "Progressive distillation", section 4 and appendix D):
epsilon       out = eps:                     x_0 = (x_t - sigma out) / alpha     eps = out
v_prediction  out = alpha eps - sigma x_0:   x_0 = alpha x_t - sigma out         eps = alpha out + sigma x_t
sample        out = x_0:                     x_0 = out                           eps = (x_t - alpha out) / sigma
"""

from __future__ import annotations

from torch import Tensor

from turbo_train.diffusion.schedule import Schedule, expand, full_precision

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def _known(prediction_type: str) -> str:
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type {prediction_type!r} is not one of {', '.join(PREDICTION_TYPES)}")
    return prediction_type


def to_x0(prediction_type: str, schedule: Schedule, out: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
    """x_0 that the network's output stands for at x_t and times t_B; float32. ValueError for an unknown type."""
    out, x_t = full_precision(out), full_precision(x_t)
    if _known(prediction_type) == "sample":
        return out
    alpha, sigma = expand(schedule.alpha(t_B), x_t), expand(schedule.sigma(t_B), x_t)
    if prediction_type == "epsilon":
        return (x_t - sigma * out) / alpha
    return alpha * x_t - sigma * out


def to_eps(prediction_type: str, schedule: Schedule, out: Tensor, x_t: Tensor, t_B: Tensor) -> Tensor:
    """Noise that the network's output stands for at x_t and times t_B; float32. ValueError for an unknown type."""
    out, x_t = full_precision(out), full_precision(x_t)
    if _known(prediction_type) == "epsilon":
        return out
    alpha, sigma = expand(schedule.alpha(t_B), x_t), expand(schedule.sigma(t_B), x_t)
    if prediction_type == "sample":
        return (x_t - alpha * out) / sigma
    return alpha * out + sigma * x_t


def v_of(schedule: Schedule, x_0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
    """v = alpha_t eps - sigma_t x_0, what a v_prediction network should say; float32."""
    x_0, eps = full_precision(x_0), full_precision(eps)
    return expand(schedule.alpha(t_B), x_0) * eps - expand(schedule.sigma(t_B), x_0) * x_0


def target_of(prediction_type: str, schedule: Schedule, x_0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
    """What a network of this type should say for known x_0 and eps; float32. ValueError for an unknown type."""
    if _known(prediction_type) == "v_prediction":
        return v_of(schedule, x_0, eps, t_B)
    return full_precision(eps if prediction_type == "epsilon" else x_0)
