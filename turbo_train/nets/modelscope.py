"""How does ModelScope's network speak to us? diffusers' UNet3DConditionModel behind the Denoiser protocol.

The embedded world's teacher and students are small members of the same class. Its guidance-scale condition is
`time_embedding.cond_proj`, a linear layer whose output is added before the time embedding (T2V-Turbo eaae323).
"""

from __future__ import annotations

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

COND_PROJ = "time_embedding.cond_proj"


class ModelScopeDenoiser(nn.Module):
    """A UNet3DConditionModel as a Denoiser. It knows no frame rate: `fps` is accepted and unused."""

    def __init__(self, unet: UNet3DConditionModel, prediction_type: str) -> None:
        super().__init__()
        self.unet = unet
        self.prediction_type = prediction_type

    @property
    def timestep_cond_dim(self) -> int | None:
        """Width of the guidance embedding it wants, or None."""
        dim: int | None = self.unet.config["time_cond_proj_dim"]
        return dim

    def forward(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        """Output of x's shape, in the network's dtype. ValueError if the guidance embedding is missing or unwanted."""
        if motion_cond_BE is not None:
            raise ValueError("a motion embedding for a network that knows none")
        if (timestep_cond_BE is None) != (self.timestep_cond_dim is None):
            got = None if timestep_cond_BE is None else timestep_cond_BE.shape[1]
            raise ValueError(f"guidance embedding of width {got}, the network wants {self.timestep_cond_dim}")
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


def with_guidance_condition(unet: UNet3DConditionModel, time_cond_dim: int) -> UNet3DConditionModel:
    """A copy of a teacher's UNet with a guidance projection of zeros, so that it begins as the teacher exactly.

    Differs: the original leaves this matrix at a random start, frozen, and never saves it (T2V-Turbo eaae323).
    """
    config = {**unet.config, "time_cond_proj_dim": time_cond_dim}
    with torch.device("meta"):
        wide = UNet3DConditionModel.from_config(config)
    weights = {name: value.detach().clone() for name, value in unet.state_dict().items()}
    like = unet.time_embedding.linear_1.weight
    weights[f"{COND_PROJ}.weight"] = torch.zeros(like.shape[1], time_cond_dim, dtype=like.dtype, device=like.device)
    wide.load_state_dict(weights, strict=True, assign=True)
    copied: UNet3DConditionModel = wide.eval().requires_grad_(False)
    return copied
