"""How does the published VideoCrafter2 checkpoint become a teacher? Split into three networks, every key accounted for.

2,039 entries: model.diffusion_model.* (UNet), first_stage_model.* (autoencoder), cond_stage_model.model.* (text tower)
and 13 tables of the noise schedule at the root, whose shapes are checked and whose values are not used. Loading is
strict; a pickle may hold tensors only (torch's weights_only).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from turbo_train.diffusion.schedule import NUM_TRAIN_STEPS, make_schedule
from turbo_train.diffusion.solver import videocrafter2_x0_scale
from turbo_train.nets.key_layout import check_layout
from turbo_train.nets.model import Model
from turbo_train.nets.tensor_files import read_tensors
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.text import TextConfig, new_tower, text_of
from turbo_train.nets.videocrafter2.unet import DEFAULT_FPS, UNetConfig, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig, official_layout, vae_of

UNET, FIRST_STAGE, COND_STAGE = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.model."
TABLES = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
SCALE_TABLE, SCALE_LENGTH = "scale_arr", 1400
FRAMES = 16  # T2V-Turbo's (arXiv 2405.18750, section 5)


@dataclass(frozen=True)
class CheckpointConfig:
    """Sizes of the three networks. latent_size: height and width of a clip's latents, 320x512 pixels by default."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    text: TextConfig = field(default_factory=TextConfig)
    latent_size: tuple[int, int] = (40, 64)


def layout(config: CheckpointConfig) -> dict[str, torch.Size]:
    """Key -> shape of a whole checkpoint."""
    with torch.device("meta"):
        unet, tower = VideoCrafterUNet(config.unet), new_tower(config.text)
    shapes = {key: torch.Size((NUM_TRAIN_STEPS,)) for key in TABLES} | {SCALE_TABLE: torch.Size((SCALE_LENGTH,))}
    shapes |= {UNET + key: value.shape for key, value in unet.state_dict().items()}
    shapes |= {FIRST_STAGE + key: shape for key, shape in official_layout(config.vae).items()}
    shapes |= {COND_STAGE + key: value.shape for key, value in tower.state_dict().items()}
    return shapes | {COND_STAGE + "logit_scale": torch.Size(())}


def load_checkpoint(path: Path, config: CheckpointConfig | None = None, *, with_unet: bool = True) -> Model:
    """The teacher of a published checkpoint, float32, in eval mode, without gradients. UserError: `check_layout`'s.

    The weights are the mapped file's as far as it holds float32: no copies, and changes to them never reach the file.
    with_unet False: the UNet stays on the meta device, and its part of the file is not read.
    """
    config = config or CheckpointConfig()
    state = read_tensors(path)
    check_layout(state, layout(config), path, "VideoCrafter2's checkpoint (model.ckpt of VideoCrafter2, 320x512)")

    def part(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): v.float() for key, v in state.items() if key.startswith(prefix)}

    with torch.device("meta"):
        unet = VideoCrafterUNet(config.unet)
    if with_unet:
        unet.load_state_dict(part(UNET), strict=True, assign=True)
    denoiser = VideoCrafter2Denoiser(unet.eval())
    vae = FrameVAE(vae_of(part(FIRST_STAGE), config.vae))
    text = text_of(part(COND_STAGE), config.text)
    for network in (denoiser, vae, text):
        network.eval().requires_grad_(False)
    return Model(
        name=path.stem,
        denoiser=denoiser,
        text=text,
        vae=vae,
        schedule=make_schedule(),
        latent_shape=(config.unet.in_channels, FRAMES, *config.latent_size),
        fps=DEFAULT_FPS,
        timestep_cond_dim=denoiser.timestep_cond_dim,
        path=path,
        motion_cond_dim=denoiser.motion_cond_dim,
        x0_scale=videocrafter2_x0_scale(),
        size_multiple=denoiser.size_multiple,
    )
