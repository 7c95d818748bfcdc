"""How do frames become latents and come back? diffusers' AutoencoderKL, frame by frame, in chunks.

z = scaling_factor x mean of the posterior; frames = decode(z / scaling_factor) (Rombach et al. 2022; 0.18215 there).
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn


class FrameVAE(nn.Module):
    """An AutoencoderKL as a VideoVAE. At most `chunk_frames` frames are in flight, which bounds the memory."""

    def __init__(self, vae: AutoencoderKL, chunk_frames: int = 16) -> None:
        super().__init__()
        self.vae = vae
        self.chunk_frames = chunk_frames
        self.scaling_factor = float(vae.config["scaling_factor"])

    @property
    def latent_channels(self) -> int:
        """C."""
        channels: int = self.vae.config["latent_channels"]
        return channels

    @property
    def factor(self) -> int:
        """Pixels per latent cell: every level but the last halves the frame."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def encode(self, frames_BTCHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Frames in [-1, 1] to latents (B, C, T, h, w): the posterior's mean, or a sample if a generator is given."""
        parts = []
        for part in frames_BTCHW.flatten(0, 1).split(self.chunk_frames):
            posterior = self.vae.encode(part.to(self._dtype)).latent_dist
            parts.append(posterior.mean if generator is None else posterior.sample(generator))
        z = torch.cat(parts) * self.scaling_factor
        z_BCTHW: Tensor = z.unflatten(0, frames_BTCHW.shape[:2]).transpose(1, 2).contiguous()
        return z_BCTHW

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Latents to frames (B, T, 3, H, W), not clamped; differentiable."""
        z_BTCHW = z_BCTHW.transpose(1, 2) / self.scaling_factor
        parts = [
            self.vae.decode(part.to(self._dtype)).sample for part in z_BTCHW.flatten(0, 1).split(self.chunk_frames)
        ]
        frames_BTCHW: Tensor = torch.cat(parts).unflatten(0, z_BTCHW.shape[:2])
        return frames_BTCHW

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.vae.decoder.conv_in.weight.dtype
        return dtype
