"""How strongly does the prompt pull, and how does a student learn the strength as an input?

Two conventions, told apart by name: lcm_cfg(w) = c + w (c - u) and imagen_cfg(w) = u + w (c - u); so
lcm_cfg(w) = imagen_cfg(w + 1). Training's and the students' guidance_scale is the first (Luo et al. 2023,
section 4.2), the teachers' samplers use the second (Saharia et al. 2022; Ho & Salimans 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from turbo_train.diffusion.schedule import expand, full_precision


def _weight(guidance_scale: float | Tensor, x: Tensor) -> float | Tensor:
    return expand(guidance_scale, x) if isinstance(guidance_scale, Tensor) else guidance_scale


def lcm_cfg(cond: Tensor, uncond: Tensor, guidance_scale: float | Tensor) -> Tensor:
    """Cond + w (cond - uncond); w a number or (B,). 0 is no guidance. float32."""
    cond, uncond = full_precision(cond), full_precision(uncond)
    return cond + _weight(guidance_scale, cond) * (cond - uncond)


def imagen_cfg(cond: Tensor, uncond: Tensor, guidance_scale: float | Tensor) -> Tensor:
    """Uncond + w (cond - uncond); w a number or (B,). 1 is no guidance. float32."""
    cond, uncond = full_precision(cond), full_precision(uncond)
    return uncond + _weight(guidance_scale, cond) * (cond - uncond)


def guidance_embedding(w_B: Tensor, dim: int) -> Tensor:
    """(B, dim) float32 features of the guidance scale: [sin(1000 w f_j) | cos(1000 w f_j)].

    f_j = 10000^(-j/(half-1)), half = dim // 2; an odd dim gets a zero column (T2V-Turbo eaae323; golden `solver`).
    Differs: angles are taken in float64, since float32 sines at 15,000 radians differ by 1e-3 between machines.
    """
    half = dim // 2
    j = torch.arange(half, dtype=torch.float64, device=w_B.device)
    frequency = torch.exp(-j * math.log(10000.0) / max(1, half - 1))
    angle = 1000.0 * w_B.double()[:, None] * frequency
    embedding = torch.cat([angle.sin(), angle.cos()], dim=1).float()
    return F.pad(embedding, (0, dim % 2))
