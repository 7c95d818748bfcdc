"""How is a model run? Sampler, steps, guidance, and the clip that is asked for. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sampler = Literal["ddim", "consistency"]
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Setting:
    """Everything that a caller may choose. None: what the model itself says.

    guidance_scale: imagen_cfg's for ddim (1 is none), lcm_cfg's for consistency (0 is none). eta concerns ddim;
    origin_steps and the motion condition (T2V-Turbo-v2's motion_gs, in force while t >= 1000 (1 - percentage))
    concern consistency. size: height and width in pixels. fps: of the file; cond_fps: what the network is told, None:
    the same. dtype: of the networks; latents and the sampler's arithmetic stay float32.
    """

    sampler: Sampler
    num_steps: int
    guidance_scale: float
    eta: float = 0.0
    origin_steps: int = 50
    motion_gs: float | None = None
    motion_percentage: float = 0.5
    frames: int | None = None
    size: tuple[int, int] | None = None
    fps: int | None = None
    cond_fps: int | None = None
    dtype: str = "float32"
