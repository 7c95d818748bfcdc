"""How do frames become latents and come back? diffusers' AutoencoderKL, frame by frame, in chunks.

z = scaling_factor x mean of the posterior; frames = decode(z / scaling_factor) (Rombach et al. 2022; 0.18215 there).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from turbo_train.diffusion.schedule import full_precision


class FrameVAE(nn.Module):
    """An AutoencoderKL as a VideoVAE (an AutoencoderTiny: tiny_vae.py).

    At most `chunk_frames` frames are in flight, which bounds the memory.
    ValueError, when frames come, for chunk_frames below 1.
    """

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny, chunk_frames: int = 16) -> None:
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
        """Frames in [-1, 1] to latents (B, C, T, h, w): the posterior's mean, or a sample if a generator is given.

        float32 whatever the network is in (float64 stays float64). The sample's noise is drawn at once for all frames,
        on the generator's device: chunk_frames does not change it.
        """
        posteriors = [self.vae.encode(part).latent_dist for part in self._chunks(frames_BTCHW)]
        z = torch.cat([full_precision(p.mean) for p in posteriors])
        if generator is not None:
            noise = torch.randn(z.shape, generator=generator, device=generator.device)
            z = z + torch.cat([full_precision(p.std) for p in posteriors]) * noise.to(z)
        z = z * self.scaling_factor
        z_BCTHW: Tensor = z.unflatten(0, frames_BTCHW.shape[:2]).transpose(1, 2).contiguous()
        return z_BCTHW

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Latents to frames (B, T, 3, H, W), not clamped, in the network's dtype; differentiable."""
        z_BTCHW = z_BCTHW.transpose(1, 2) / self.scaling_factor
        parts = [self.vae.decode(part).sample for part in self._chunks(z_BTCHW)]
        frames_BTCHW: Tensor = torch.cat(parts).unflatten(0, z_BTCHW.shape[:2])
        return frames_BTCHW

    def _chunks(self, x_BT: Tensor) -> Iterator[Tensor]:
        if self.chunk_frames < 1:
            raise ValueError(f"chunk_frames {self.chunk_frames}, not 1 or more")
        dtype = next(self.vae.decoder.parameters()).dtype
        return (part.to(dtype) for part in x_BT.flatten(0, 1).split(self.chunk_frames))
