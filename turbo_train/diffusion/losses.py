"""How far apart are two predictions, without outliers ruling the gradient?

pseudo-Huber: mean(sqrt((a - b)^2 + c^2) - c), c = 0.001 (Song & Dhariwal 2023, "Improved techniques for training
consistency models", section 3.3, here per element as T2V-Turbo has it: T2V-Turbo eaae323).
"""

from __future__ import annotations

from torch import Tensor

from turbo_train.diffusion.schedule import full_precision


def pseudo_huber(a: Tensor, b: Tensor, c: float = 0.001) -> Tensor:
    """Mean over all elements, a scalar, float32; quadratic below c, absolute above."""
    delta = full_precision(a) - full_precision(b)
    return ((delta**2 + c**2).sqrt() - c).mean()
