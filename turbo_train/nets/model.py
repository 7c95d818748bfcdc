"""What is a model? A denoiser, a text encoder and a VAE, with the schedule and the clip they were trained for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from turbo_train.diffusion.schedule import Schedule
from turbo_train.nets.protocols import Denoiser, TextEncoder, VideoVAE
from turbo_train.nets.source import ClipFormat

Spacing = Literal["leading", "trailing"]


@dataclass(frozen=True)
class Model:
    """Everything that is needed to make clips. latent_shape (C, T, h, w) of its default clip.

    timestep_cond_dim: width of the guidance embedding that it wants, motion_cond_dim: of the motion embedding that it
    accepts; None: it knows neither. x0_scale (n,): by what its training scaled x_0 at each time (VideoCrafter2).
    size_multiple: latents' height and width are multiples of this. path: the folder or file it was read from.
    """

    name: str
    denoiser: Denoiser
    text: TextEncoder
    vae: VideoVAE
    schedule: Schedule
    latent_shape: tuple[int, int, int, int]
    fps: int
    timestep_cond_dim: int | None
    path: Path
    spacing: Spacing = "leading"  # of DDIM's times, as diffusers' schedulers name it
    motion_cond_dim: int | None = None
    x0_scale: Tensor | None = None
    size_multiple: int = 1

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Model:
        """The model on a device, its networks in a floating-point type. The networks themselves change, no copies.

        The schedule stays float32.
        """
        for part in (self.denoiser, self.text, self.vae):
            if isinstance(part, nn.Module):
                part.to(device=device, dtype=dtype)
        scale = None if self.x0_scale is None else self.x0_scale.to(device)
        return replace(self, schedule=self.schedule.to(device), x0_scale=scale)

    def with_clip(self, clip: ClipFormat | None) -> Model:
        """The model with another default clip; None: as it is."""
        if clip is None:
            return self
        channels, _, height, width = self.latent_shape
        return replace(self, latent_shape=(channels, clip.frames, height, width), fps=clip.fps)
