"""Which decoder is several times cheaper than a VAE's own, and nearly as good? TAESD's, as diffusers' AutoencoderTiny.

Its latents are the denoiser's, already scaled: TAESD's scaling_factor is 1 where Stable Diffusion's is 0.18215
(github.com/madebyollin/taesd, issue 3); frames come out in [-1, 1]. Another network than the VAE that the denoiser was
trained with: clips differ visibly, if little.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import first_line, read_json, remedy
from turbo_train.nets.key_layout import check_layout
from turbo_train.nets.protocols import VideoVAE
from turbo_train.nets.tensor_files import read_safetensors
from turbo_train.nets.vae import FrameVAE

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
WIDTH = 64  # TAESD's, everywhere
BLOCKS = 3  # on each level but the finest, which has one


class TinyVAE(FrameVAE):
    """An AutoencoderTiny as a VideoVAE that decodes, as FrameVAE does."""

    @property
    def factor(self) -> int:
        """Pixels per latent cell: every level but the last enlarges the frame."""
        levels = len(self.vae.config["num_decoder_blocks"])
        return int(self.vae.config["upsampling_scaling_factor"] ** (levels - 1))

    def encode(self, frames_BTCHW: Tensor, generator: torch.Generator | None = None) -> NoReturn:
        """UserError: its encoder only comes near the latents that the denoiser was trained on."""
        raise UserError(
            found="a tiny VAE where frames are to be encoded",
            expected="the VAE that the model was trained with",
            run_next="the same command with --vae full",
        )


def load_tiny_vae(folder: Path, full: VideoVAE) -> TinyVAE:
    """Read a folder in diffusers' layout: float32, in eval mode, without gradients. full: the model's own VAE.

    UserError: config.json or the weights are missing, unreadable or not of one another; latents of another number of
    channels or another size than full's.
    """
    weights = Path(folder) / WEIGHTS
    with torch.device("meta"):
        vae = shaped_tiny_vae(folder).vae
    if not weights.is_file():
        raise _missing(folder, WEIGHTS)
    state = read_safetensors(weights)
    check_layout(state, {k: v.shape for k, v in vae.state_dict().items()}, weights, "the weights of its config.json")
    vae.load_state_dict({name: value.float() for name, value in state.items()}, strict=True, assign=True)
    tiny = TinyVAE(vae).eval().requires_grad_(False)
    _check_fits(tiny, full, folder)
    return tiny


def shaped_tiny_vae(folder: Path) -> TinyVAE:
    """The network of a folder's config.json without its weights, frozen. UserError: as load_tiny_vae, of this file."""
    config = Path(folder) / CONFIG
    if not config.is_file():
        raise _missing(folder, CONFIG)
    values = read_json(config)
    if values.get("_class_name") != AutoencoderTiny.__name__:
        found = f"{config} of class {values.get('_class_name')}"
        raise UserError(found=found, expected="an AutoencoderTiny", run_next="the folder of one, such as TAESD's")
    values.pop("block_out_channels", None)  # diffusers writes it, and complains of it where it reads
    try:
        return TinyVAE(AutoencoderTiny.from_config(values)).eval().requires_grad_(False)
    except (TypeError, ValueError) as error:
        found = f"{config}: {first_line(error)}"
        raise UserError(found=found, expected="an AutoencoderTiny's options", run_next=remedy(config)) from error


def random_tiny_vae(latent_channels: int, factor: int) -> TinyVAE:
    """TAESD's published sizes with weights of torch's choice, for timing. ValueError: factor is no power of two."""
    levels = factor.bit_length() - 1
    if factor < 1 or 2**levels != factor:
        raise ValueError(f"a factor of {factor}, which is no power of two")
    widths: Sequence[int] = (WIDTH,) * (levels + 1)
    vae = AutoencoderTiny(
        encoder_block_out_channels=tuple(widths),
        decoder_block_out_channels=tuple(widths),
        latent_channels=latent_channels,
        num_encoder_blocks=(1, *(BLOCKS,) * levels),
        num_decoder_blocks=(*(BLOCKS,) * levels, 1),
    )
    return TinyVAE(vae).eval().requires_grad_(False)


def _missing(folder: Path, name: str) -> UserError:
    found = f"no {name} in {folder}" if folder.is_dir() else f"no folder {folder}"
    return UserError(found=found, expected=f"an AutoencoderTiny: {CONFIG} and {WEIGHTS}", run_next=remedy(folder))


def _check_fits(tiny: TinyVAE, full: VideoVAE, folder: Path) -> None:
    own, wanted = (tiny.latent_channels, tiny.factor), (full.latent_channels, full.factor)
    if own != wanted:
        raise UserError(
            found=f"{folder} for latents of {own[0]} channels, {own[1]} pixels a cell",
            expected=f"the model's {wanted[0]} channels, {wanted[1]} pixels a cell",
            run_next="a tiny VAE that was made for this model's latents",
        )
