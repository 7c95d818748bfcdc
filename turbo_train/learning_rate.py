"""How large is the step of the optimizer? Linear warm-up, then constant, or a cosine down to 2 % of the peak."""

from __future__ import annotations

import math
from typing import Literal

LAST = 0.02  # of the peak, where the cosine ends


def learning_rate(peak: float, step: int, steps: int, warmup: int, shape: Literal["constant", "cosine"]) -> float:
    """Of a step, counted from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if shape == "constant":
        return peak
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * progress)))
