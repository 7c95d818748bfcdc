"""How does ModelScope's network speak to us? diffusers' UNet3DConditionModel behind the Denoiser protocol.

The embedded world's teacher and students are small members of the same class. Its guidance-scale condition is
`time_embedding.cond_proj`, a linear layer whose output is added before the time embedding (T2V-Turbo eaae323).
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from diffusers import UNet3DConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

from turbo_train.nets.unet_denoiser import UNetDenoiser


class ModelScopeDenoiser(UNetDenoiser):
    """A UNet3DConditionModel as a Denoiser. It knows no frame rate: `fps` is accepted and unused."""

    family: ClassVar[str] = "ModelScope"
    cond_proj: ClassVar[str] = "time_embedding.cond_proj"
    recomputed: ClassVar[tuple[type[nn.Module], ...]] = (
        ResnetBlock2D,
        TemporalConvLayer,
        Transformer2DModel,
        TransformerTemporalModel,
    )
    unet: UNet3DConditionModel

    def __init__(self, unet: UNet3DConditionModel, prediction_type: str) -> None:
        super().__init__()
        self.unet = unet
        self.prediction_type = prediction_type

    @property
    def timestep_cond_dim(self) -> int | None:
        """Width of the guidance embedding it wants, or None."""
        dim: int | None = self.unet.config["time_cond_proj_dim"]
        return dim

    def empty(self, time_cond_dim: int | None, motion_cond_dim: int | None) -> Self:
        """A network of the same sizes with a guidance condition, on the meta device. It knows no motion condition."""
        assert motion_cond_dim is None
        # diffusers keeps a list of the options left at their defaults in the configuration, and would not change those
        config = {name: value for name, value in self.unet.config.items() if not name.startswith("_")}
        with torch.device("meta"):
            unet = UNet3DConditionModel.from_config({**config, "time_cond_proj_dim": time_cond_dim})
        return type(self)(unet, self.prediction_type)

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
        """Output of x's shape, in the network's dtype. ValueError: `check_conditions`'s."""
        self.check_conditions(x_BCTHW, context_BLD, timestep_cond_BE, motion_cond_BE)
        dtype = self.unet.conv_in.weight.dtype
        cond = None if timestep_cond_BE is None else timestep_cond_BE.to(dtype)
        out: Tensor = self.unet(
            x_BCTHW.to(dtype),
            t_B,
            encoder_hidden_states=context_BLD.to(dtype),
            timestep_cond=cond,
            return_dict=False,
        )[0]
        return out
