"""What is random in a training step? Everything, drawn from (seed, step, number of the sample), and nothing else.

The sample's number counts over all processes, so ranks differ, and neither the number of processes nor a resumed run
changes what a sample meets. Differs: T2V-Turbo (code at eaae323) seeds every rank alike, so all of them draw the same
index, noise, guidance scale and frames.
Shape legend: B samples, C latent channels, T frames, H, W of latents, M image frames, V video rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Of one batch. index_B: of the solver's grid. w_B: guidance scales (lcm_cfg). noise_BCTHW: float32.

    order_BT: the frames of each clip in random order, of which image rewards see the first M. offset_B: in [0, 1), by
    which the frames of video rewards are shifted. crop_seed_B: of the generators that place random crops.
    """

    index_B: Tensor
    w_B: Tensor
    noise_BCTHW: Tensor
    order_BT: Tensor
    offset_B: Tensor
    crop_seed_B: Tensor

    def to(self, device: torch.device | str) -> Draws:
        """The tensors on a device."""
        return Draws(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def generator_for(seed: int, step: int, sample: int) -> torch.Generator:
    """A generator of its own for each (seed, step, sample), on the CPU, the same on every machine."""
    state = np.random.SeedSequence([seed, step, sample]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def draw(
    seed: int,
    step: int,
    samples: Sequence[int],
    latent_shape: tuple[int, int, int, int],
    *,
    num_ddim_steps: int,
    guidance_range: tuple[float, float],
) -> Draws:
    """The draws of a batch. samples: numbers over all processes, each once a step. latent_shape: (C, T, h, w).

    index uniform over the grid, w uniform in [low, high).
    """
    low, high = guidance_range
    rows = []
    for sample in samples:
        generator = generator_for(seed, step, sample)
        index = torch.randint(num_ddim_steps, (), generator=generator)
        w = low + (high - low) * torch.rand((), generator=generator)
        noise = torch.randn(latent_shape, generator=generator)
        order = torch.randperm(latent_shape[1], generator=generator)
        offset = torch.rand((), generator=generator)
        crop_seed = torch.randint(2**62, (), generator=generator)
        rows.append((index, w, noise, order, offset, crop_seed))
    return Draws(*(torch.stack(column) for column in zip(*rows, strict=True)))
