"""How does VideoCrafter2's UNet speak to us? Behind the Denoiser protocol, with sizes that it can halve."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.unet_denoiser import UNetDenoiser
from turbo_train.nets.videocrafter2.blocks import ResBlock, SpatialTransformer, TemporalTransformer
from turbo_train.nets.videocrafter2.unet import DEFAULT_FPS, VideoCrafterUNet


class VideoCrafter2Denoiser(UNetDenoiser):
    """A VideoCrafterUNet as a Denoiser. It predicts the noise."""

    family: ClassVar[str] = "VideoCrafter2"
    cond_proj: ClassVar[str] = "time_cond_proj"
    motion_proj: ClassVar[str | None] = "motion_cond_proj"
    recomputed: ClassVar[tuple[type[nn.Module], ...]] = (ResBlock, SpatialTransformer, TemporalTransformer)
    prediction_type = "epsilon"
    unet: VideoCrafterUNet

    def __init__(self, unet: VideoCrafterUNet) -> None:
        super().__init__()
        self.unet = unet

    @property
    def timestep_cond_dim(self) -> int | None:
        """Width of the guidance embedding it wants, or None."""
        return self.unet.config.time_cond_proj_dim

    @property
    def motion_cond_dim(self) -> int | None:
        """Width of the motion embedding it accepts, or None."""
        return self.unet.config.motion_cond_proj_dim

    @property
    def size_multiple(self) -> int:
        """Height and width of latents are multiples of this: every level but the last halves them."""
        return int(2 ** (len(self.unet.config.channel_mult) - 1))

    def empty(self, time_cond_dim: int | None, motion_cond_dim: int | None) -> Self:
        """A network of the same sizes with these conditions, on the meta device."""
        config = replace(self.unet.config, time_cond_proj_dim=time_cond_dim, motion_cond_proj_dim=motion_cond_dim)
        with torch.device("meta"):
            return type(self)(VideoCrafterUNet(config))

    def forward(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        """Output of x's shape, in the network's dtype. fps: a whole number, or a tensor of one per clip; None: 16.

        ValueError: `check_conditions`'s. TypeError: another kind of fps.
        UserError for latents that the network cannot halve often enough.
        """
        self.check_conditions(x_BCTHW, context_BLD, timestep_cond_BE, motion_cond_BE)
        height, width = x_BCTHW.shape[3:]
        if height % self.size_multiple or width % self.size_multiple:
            raise UserError(
                found=f"latents of {height}x{width}",
                expected=f"multiples of {self.size_multiple} in both (frames: of {8 * self.size_multiple} pixels)",
                run_next="another size, such as 320x512 pixels",
            )
        out: Tensor = self.unet(
            x_BCTHW, t_B, context_BLD, DEFAULT_FPS if fps is None else fps, timestep_cond_BE, motion_cond_BE
        )
        return out
