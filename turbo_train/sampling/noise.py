"""Which noise belongs to a clip? That of a generator seeded with what names the clip, whatever batch it is in.

The generator is the CPU's, so that every device starts from the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

StepNoise = Callable[[int], Tensor]  # what is added after the k-th step, k = 1, 2, ...: drawn when it is wanted
OnStep = Callable[[int, Tensor], None]  # told the steps done and what was predicted


def clip_seed(seed: int, prompt_id: str, sample_index: int, purpose: str) -> int:
    """A whole number below 2^63 from the first bytes of a SHA-256. torch's CPU generator uses its low 32 bits."""
    name = json.dumps([seed, prompt_id, sample_index, purpose], ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def clip_noise(seed: int, prompt_id: str, sample_index: int, shape: Sequence[int], purpose: str) -> Tensor:
    """Standard normal float32 numbers on the CPU. `purpose` tells a clip's draws apart: "initial", "step-1", ..."""
    generator = torch.Generator().manual_seed(clip_seed(seed, prompt_id, sample_index, purpose))
    return torch.randn(tuple(shape), generator=generator)


def noise_after(step_noise: StepNoise, step: int, like: Tensor) -> Tensor:
    """The noise of a step, on like's device and in its dtype. ValueError if it has another shape."""
    noise = step_noise(step)
    if noise.shape != like.shape:
        raise ValueError(f"noise of shape {tuple(noise.shape)} after step {step}, not {tuple(like.shape)}")
    return noise.to(like)
