"""Of which networks does a model consist, in shape alone? The real classes at their real sizes, without weights.

To be made while the meta device is the default one, where tensors have no numbers. Of folders the configurations are
read, and nothing else; the published models need no file at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.nets.folder_files import read_json
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.scheduler_config import read_scheduler
from turbo_train.nets.teacher import read_clip_format
from turbo_train.nets.unet_denoiser import UNetDenoiser
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.checkpoint import FRAMES, CheckpointConfig
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.text import OpenCLIPText, new_tower
from turbo_train.nets.videocrafter2.unet import DEFAULT_FPS, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig, new_vae

MS_FPS, MS_SIDE = 8, 32  # ModelScope's clips: 256x256 px (arXiv 2405.18750, section 5)
# ModelScope's text tower is Stable Diffusion 2's: OpenCLIP's ViT-H-14 without its last block.
MS_TEXT = CLIPTextConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=23,
    num_attention_heads=16,
    hidden_act="gelu",
    projection_dim=512,
)


class ShapedText(nn.Module):
    """A text encoder without a vocabulary: every text is as long as texts get. of_ids: (B, L) ids -> (B, L, D)."""

    def __init__(self, net: nn.Module, of_ids: Callable[[Tensor], Tensor], length: int) -> None:
        super().__init__()
        self.net, self.of_ids, self.length = net, of_ids, length

    def forward(self, texts: Sequence[str]) -> Tensor:
        """(B, L, D)."""
        device = next(self.net.parameters()).device
        return self.of_ids(torch.zeros(len(texts), self.length, dtype=torch.int64, device=device))


def shaped_videocrafter2(sizes: CheckpointConfig | None = None, path: Path = Path("vc2")) -> Model:
    """The teacher of a checkpoint of these sizes; None: the published ones. Frozen."""
    sizes = sizes or CheckpointConfig()
    denoiser = VideoCrafter2Denoiser(VideoCrafterUNet(sizes.unet))
    tower = OpenCLIPText(new_tower(sizes.text))
    text = ShapedText(tower, tower.of_ids, sizes.text.context_length)
    shape = (sizes.unet.in_channels, FRAMES, *sizes.latent_size)
    made = _model("vc2", denoiser, new_vae(sizes.vae), text, shape, DEFAULT_FPS, path)
    return replace(made, size_multiple=denoiser.size_multiple)


def shaped_modelscope(path: Path = Path("ms")) -> Model:
    """The published teacher. Frozen."""
    unet = ModelScopeDenoiser(UNet3DConditionModel(), "epsilon")  # diffusers' defaults are ModelScope's sizes
    text, shape = CLIPTextModel(MS_TEXT), (4, FRAMES, MS_SIDE, MS_SIDE)
    return _model("ms", unet, new_vae(VAEConfig()), _clip_text(text), shape, MS_FPS, path)


def shaped_folder(folder: Path) -> Model:
    """A teacher in diffusers' layout, as its configurations describe it. UserError: one that cannot be read."""
    scheduler, clip = read_scheduler(folder / "scheduler" / "scheduler_config.json"), read_clip_format(folder)
    unet = UNet3DConditionModel.from_config(read_json(folder / "unet" / "config.json"))
    vae = AutoencoderKL.from_config(read_json(folder / "vae" / "config.json"))
    text = CLIPTextModel(CLIPTextConfig(**read_json(folder / "text_encoder" / "config.json")))
    size = unet.config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    denoiser = ModelScopeDenoiser(unet, scheduler.prediction_type)
    shape = (int(unet.config["in_channels"]), clip.frames, int(height), int(width))
    made = _model(folder.name, denoiser, vae, _clip_text(text), shape, clip.fps, folder)
    return replace(made, schedule=scheduler.schedule, spacing=scheduler.spacing)


def _clip_text(net: CLIPTextModel) -> ShapedText:
    return ShapedText(net, lambda ids_BL: net(ids_BL).last_hidden_state, int(net.config.max_position_embeddings))


def _model(
    name: str,
    denoiser: UNetDenoiser,
    vae: AutoencoderKL,
    text: ShapedText,
    shape: tuple[int, int, int, int],
    fps: int,
    path: Path,
) -> Model:
    frames = FrameVAE(vae)
    for part in (denoiser, frames, text):
        part.eval().requires_grad_(False)
    return Model(name, denoiser, text, frames, make_schedule(), shape, fps, denoiser.timestep_cond_dim, path)
