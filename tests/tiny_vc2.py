"""Which VideoCrafter2 do tests use? A small random one, in every layout that it and its students are published in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turbo_train.nets.lora_list import list_shapes
from turbo_train.nets.videocrafter2.checkpoint import UNET, CheckpointConfig, layout
from turbo_train.nets.videocrafter2.text import TextConfig
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig

SIZES = CheckpointConfig(
    unet=UNetConfig(model_channels=32, channel_mult=(1, 2), num_head_channels=16, context_dim=32),
    vae=VAEConfig((32, 32)),
    text=TextConfig(width=32, heads=4, layers=3, output_dim=16),
    latent_size=(4, 8),
)
RANK = 8


def unet(
    time: int | None = None, motion: int | None = None, device: str = "cpu", sizes: CheckpointConfig = SIZES
) -> VideoCrafterUNet:
    """The small UNet with these conditions; weights of its own choice."""
    with torch.device(device):
        return VideoCrafterUNet(replace(sizes.unet, time_cond_proj_dim=time, motion_cond_proj_dim=motion))


def random(shapes: dict[str, torch.Size], seed: int) -> dict[str, Tensor]:
    """Weights around one for the scale of a norm, around zero for all else; no layer of zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        wide = shape.numel() / max(1, shape[0]) if shape else 1
        values[name] = noise / wide**0.5 if len(shape) > 1 else 0.1 * noise + name.endswith("weight")
    return values


def state(seed: int = 0, sizes: CheckpointConfig = SIZES) -> dict[str, Tensor]:
    """Every entry of a checkpoint of these sizes."""
    return random(layout(sizes), seed)


def unet_state(motion: int | None = 256, seed: int = 1) -> dict[str, Tensor]:
    """A whole student's UNet, with motion condition as T2V-Turbo-v2's or without."""
    return random({name: v.shape for name, v in unet(256, motion, "meta").state_dict().items()}, seed)


def lora_list(rank: int = RANK, seed: int = 2, sizes: CheckpointConfig = SIZES) -> list[Tensor]:
    """A published list of the student with guidance condition: up and down of every layer."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [shape for _, *both in list_shapes(unet(256, device="meta", sizes=sizes), rank) for shape in both]
    return [0.1 * torch.randn(shape, generator=generator) for shape in shapes]


def write(path: Path, content: Any) -> Path:
    """What training programs write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def write_checkpoint(path: Path, seed: int = 0, sizes: CheckpointConfig = SIZES) -> Path:
    """The teacher's file."""
    return write(path, {"state_dict": state(seed, sizes)})


def write_lora_list(path: Path, rank: int = RANK, sizes: CheckpointConfig = SIZES) -> Path:
    """unet_lora.pt; its entries are parameters that want gradients, as the original's."""
    return write(path, [nn.Parameter(tensor) for tensor in lora_list(rank, sizes=sizes)])


def write_unet(path: Path, motion: int | None = 256, prefix: str = "") -> Path:
    """unet_mg.pt, unet_no_mg.pt or the merged upload, if need be under a prefix."""
    return write(path, {prefix + name: value for name, value in unet_state(motion).items()})


def write_latent_diffusion(path: Path) -> Path:
    """A whole checkpoint whose UNet is a student's: 2,040 keys at full size."""
    student = {UNET + name: value for name, value in unet_state(None).items()}
    return write(path, {"state_dict": {k: v for k, v in state().items() if not k.startswith(UNET)} | student})
