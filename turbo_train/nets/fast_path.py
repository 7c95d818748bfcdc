"""Which shortcuts may a model take when it makes clips? Free of torch; quickened.py applies them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Compile = Literal["off", "default", "max"]
COMPILES = get_args(Compile)
RANDOM_TINY_VAE = Path("random")
"""In FastPath.tiny_vae: an AutoencoderTiny of TAESD's sizes, filled with random numbers, in place of a folder."""


@dataclass(frozen=True)
class FastPath:
    """Options of inference. None of them changes what is computed but for rounding, except tiny_vae.

    compile: the denoiser by torch.compile; max: with the search for the fastest kernels (minutes).
    cuda_graphs: its call recorded once and replayed; needs a GPU.
    channels_last: weights and activations of its convolutions in that order.
    cached_text: keys and values of the text once per clip in place of once per step.
    decode_frames: frames decoded at a time; None: as the model says.
    tiny_vae: the folder of an AutoencoderTiny that decodes in the VAE's place.
    """

    compile: Compile = "off"
    cuda_graphs: bool = False
    channels_last: bool = False
    cached_text: bool = False
    decode_frames: int | None = None
    tiny_vae: Path | None = None
