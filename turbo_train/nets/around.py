"""What is around a denoiser and is a denoiser itself? The base of what changes how one is called."""

from __future__ import annotations

from torch import nn

from turbo_train.nets.unet_denoiser import UNetDenoiser


class AroundDenoiser(nn.Module):
    """It takes what the denoiser takes and gives what the denoiser gives."""

    prediction_type: str

    def __init__(self, denoiser: UNetDenoiser | AroundDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.prediction_type = denoiser.prediction_type
