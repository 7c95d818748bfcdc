"""How does VideoCrafter2's autoencoder become diffusers' AutoencoderKL? The same network under other names.

The checkpoint has Stable Diffusion 1's first stage (arXiv 2112.10752): decoder.up is numbered by resolution, the finest
first, while diffusers numbers in the order of computation; the middle attention's projections are 1x1 convolutions
there and linear layers here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

SCALING_FACTOR = 0.18215  # arXiv 2112.10752, of Stable Diffusion 1
_UP = re.compile(r"\.up\.(\d+)\.(block|upsample)\.")
_RULES = (
    (re.compile(r"\.down\.(\d+)\.block\.(\d+)\."), r".down_blocks.\1.resnets.\2."),
    (re.compile(r"\.down\.(\d+)\.downsample\."), r".down_blocks.\1.downsamplers.0."),
    (re.compile(r"\.mid\.block_1\."), ".mid_block.resnets.0."),
    (re.compile(r"\.mid\.block_2\."), ".mid_block.resnets.1."),
    (re.compile(r"\.mid\.attn_1\.norm\."), ".mid_block.attentions.0.group_norm."),
    (re.compile(r"\.mid\.attn_1\.([qkv])\."), r".mid_block.attentions.0.to_\1."),
    (re.compile(r"\.mid\.attn_1\.proj_out\."), ".mid_block.attentions.0.to_out.0."),
    (re.compile(r"\.norm_out\."), ".conv_norm_out."),
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
)


@dataclass(frozen=True)
class VAEConfig:
    """Widths of the levels; the published network, and what tests make smaller."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4


def diffusers_key(official: str, levels: int) -> str:
    """`decoder.up.3.block.0.conv1.weight` to `decoder.up_blocks.0.resnets.0.conv1.weight`, and so on."""

    def from_the_coarsest(match: re.Match[str]) -> str:
        part = "resnets" if match[2] == "block" else "upsamplers.0"
        return f".up_blocks.{levels - 1 - int(match[1])}.{part}."

    key = _UP.sub(from_the_coarsest, official)
    for pattern, replacement in _RULES:
        key = pattern.sub(replacement, key)
    return key


def new_vae(config: VAEConfig) -> AutoencoderKL:
    """The network without weights of its own choice, on the default device."""
    levels = len(config.channels)
    vae: AutoencoderKL = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=32,
        sample_size=512,
        scaling_factor=SCALING_FACTOR,
    )
    return vae


def official_layout(config: VAEConfig) -> dict[str, torch.Size]:
    """Official key -> shape, in no order, of the network's weights."""
    with torch.device("meta"):
        vae = new_vae(config)
    own = {key: value.shape for key, value in vae.state_dict().items()}
    levels = len(config.channels)
    layout = {}
    for official in _official_keys(config):
        shape = own[diffusers_key(official, levels)]
        is_projection = ".attn_1." in official and official.endswith("weight") and ".norm." not in official
        layout[official] = torch.Size((*shape, 1, 1)) if is_projection else shape
    return layout


def _official_keys(config: VAEConfig) -> list[str]:
    """Every official key, spelled by the first stage's own structure."""
    levels, layers = len(config.channels), config.layers_per_block
    res = [f"{layer}.{kind}" for layer in ("norm1", "conv1", "norm2", "conv2") for kind in ("weight", "bias")]
    short = ["nin_shortcut.weight", "nin_shortcut.bias"]
    keys = [f"{part}.{kind}" for part in ("quant_conv", "post_quant_conv") for kind in ("weight", "bias")]
    for side in ("encoder", "decoder"):
        keys += [f"{side}.{n}.{kind}" for n in ("conv_in", "norm_out", "conv_out") for kind in ("weight", "bias")]
        keys += [f"{side}.mid.block_{b}.{name}" for b in (1, 2) for name in res]
        parts = ("norm", "q", "k", "v", "proj_out")
        keys += [f"{side}.mid.attn_1.{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    wide = config.channels
    for level in range(levels):
        for index in range(layers):
            narrow = (wide[level - 1] if level else wide[0]) != wide[level] and index == 0
            keys += [f"encoder.down.{level}.block.{index}.{name}" for name in res + short * narrow]
        for index in range(layers + 1):
            narrow = (wide[level + 1] if level < levels - 1 else wide[-1]) != wide[level] and index == 0
            keys += [f"decoder.up.{level}.block.{index}.{name}" for name in res + short * narrow]
        if level < levels - 1:
            keys += [f"encoder.down.{level}.downsample.conv.{kind}" for kind in ("weight", "bias")]
        if level:
            keys += [f"decoder.up.{level}.upsample.conv.{kind}" for kind in ("weight", "bias")]
    return keys


def vae_of(weights: Mapping[str, Tensor], config: VAEConfig) -> AutoencoderKL:
    """The network with the checkpoint's weights, which are used as they are and not copied. Keys are checked before."""
    with torch.device("meta"):
        vae = new_vae(config)
    own = {key: value.shape for key, value in vae.state_dict().items()}
    levels = len(config.channels)
    renamed = {diffusers_key(key, levels): value for key, value in weights.items()}
    shaped = {key: value.reshape(own[key]) for key, value in renamed.items()}
    vae.load_state_dict(shaped, strict=True, assign=True)
    return vae.eval()
