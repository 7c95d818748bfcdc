"""What must a network be able to do to take part? Three protocols; samplers, training and evaluation know only these.

B clips, C latent channels, T frames, H W height and width (of latents, or of pixels where frames are meant),
L tokens, D text width, E width of the guidance embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Denoiser(Protocol):
    """A network that looks at noisy latents. What its output means: prediction_type (diffusion/prediction.py)."""

    prediction_type: str

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        """Output of x's shape at integer times t_B. Inputs are cast to the network's own dtype, the output is in it.

        ValueError for a condition that the network does not know, and for a guidance embedding that is missing.
        """
        ...


class TextEncoder(Protocol):
    """A network that turns texts into the denoiser's context."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Context (B, L, D) of B texts, padded to one length."""
        ...


class VideoVAE(Protocol):
    """Frames to latents and back. Latents are scaled as the denoiser wants them.

    chunk_frames: at most so many frames are encoded or decoded at a time; fewer need less memory.
    """

    chunk_frames: int

    @property
    def latent_channels(self) -> int:
        """C."""
        ...

    @property
    def factor(self) -> int:
        """Pixels per latent cell, in each direction."""
        ...

    def encode(self, frames_BTCHW: Tensor) -> Tensor:
        """Frames in [-1, 1] to latents (B, C, T, h, w)."""
        ...

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Latents to frames (B, T, 3, H, W), nominally in [-1, 1] and not clamped; differentiable."""
        ...
