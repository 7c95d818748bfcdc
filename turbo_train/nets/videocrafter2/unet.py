"""How does VideoCrafter2 predict the noise of a clip? Its UNet, with the conditions that T2V-Turbo adds.

emb = time_embed(sin(t) + P) + fps_embedding(sin(fps)), with P = 0 for the teacher, time_cond_proj(w) for a student,
combine_proj([time_cond_proj(w), motion_cond_proj(m)]) for T2V-Turbo-v2 with a motion condition. State-dict names are
those of the published checkpoint. Shapes: B clips, T frames, N = B T, C channels, L text tokens, D context width.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from turbo_train.nets.videocrafter2.blocks import (
    GROUPS,
    RESIDUAL_EPS,
    Downsample,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    Upsample,
    zero_initialised,
)

INITIAL_HEADS = 8
DEFAULT_FPS = 16  # T2V-Turbo's training data (arXiv 2405.18750, section 5)


@dataclass(frozen=True)
class UNetConfig:
    """The published network, and what tests make smaller. *_dim None: the network has no such condition."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)  # of downsampling
    num_head_channels: int = 64
    context_dim: int = 1024
    time_cond_proj_dim: int | None = None
    motion_cond_proj_dim: int | None = None


def sinusoidal_embedding(values_B: Tensor, channels: int) -> Tensor:
    """(B,) to (B, channels): cosines, then sines, of frequencies 10000^(-i / half); float64 stays float64."""
    half = channels // 2
    dtype = torch.float64 if values_B.dtype == torch.float64 else torch.float32
    steps = torch.arange(half, dtype=torch.float32, device=values_B.device)
    frequencies = torch.exp(-math.log(10000.0) * steps / half)
    angles = values_B.to(dtype)[:, None] * frequencies[None].to(dtype)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class VideoCrafterUNet(nn.Module):
    """The denoising network."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base, wide = config.model_channels, 4 * config.model_channels
        self.time_embed = nn.Sequential(nn.Linear(base, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.fps_embedding = nn.Sequential(nn.Linear(base, wide), nn.SiLU(), nn.Linear(wide, wide))
        if config.time_cond_proj_dim is not None:
            self.time_cond_proj = nn.Linear(config.time_cond_proj_dim, base, bias=False)
        if config.motion_cond_proj_dim is not None:
            self.motion_cond_proj = nn.Linear(config.motion_cond_proj_dim, base, bias=False)
            self.combine_proj = nn.Linear(2 * base, base, bias=False)
        self._build(base, wide)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, base, RESIDUAL_EPS),
            nn.SiLU(),
            zero_initialised(nn.Conv2d(base, config.out_channels, 3, padding=1)),
        )

    def _build(self, base: int, wide: int) -> None:
        config, mult = self.config, self.config.channel_mult
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(config.in_channels, base, 3, padding=1)])])
        self.init_attn = nn.ModuleList([TemporalTransformer(base, config.num_head_channels, INITIAL_HEADS)])
        channels, skips, factor = base, [base], 1
        for level, m in enumerate(mult):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._block(channels, wide, m * base, factor))
                channels = m * base
                skips.append(channels)
            if level < len(mult) - 1:
                self.input_blocks.append(nn.ModuleList([Downsample(channels)]))
                skips.append(channels)
                factor *= 2
        heads = (config.context_dim, config.num_head_channels)
        self.middle_block = nn.ModuleList(
            [
                ResBlock(channels, wide, channels),
                SpatialTransformer(channels, *heads),
                TemporalTransformer(channels, config.num_head_channels),
                ResBlock(channels, wide, channels),
            ]
        )
        self.output_blocks = nn.ModuleList()
        for level, m in reversed(list(enumerate(mult))):
            for index in range(config.num_res_blocks + 1):
                block = self._block(channels + skips.pop(), wide, m * base, factor)
                channels = m * base
                if level and index == config.num_res_blocks:
                    block.append(Upsample(channels))
                    factor //= 2
                self.output_blocks.append(block)

    def _block(self, channels: int, wide: int, out_channels: int, factor: int) -> nn.ModuleList:
        block = nn.ModuleList([ResBlock(channels, wide, out_channels)])
        if factor in self.config.attention_resolutions:
            block.append(SpatialTransformer(out_channels, self.config.context_dim, self.config.num_head_channels))
            block.append(TemporalTransformer(out_channels, self.config.num_head_channels))
        return block

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, wherever `.to()` has brought them."""
        norm = self.out[0]  # a layer that LoRA leaves alone
        assert isinstance(norm, nn.GroupNorm)
        return norm.weight.dtype

    def embed(self, t_B: Tensor, fps_B: Tensor, cond_BE: Tensor | None, motion_BE: Tensor | None) -> Tensor:
        """(B, 4 base): time, frames per second, guidance and motion."""
        dtype = self.dtype
        base = self.config.model_channels
        sin_t = sinusoidal_embedding(t_B, base).to(dtype)
        if cond_BE is not None:
            conditions = self.time_cond_proj(cond_BE.to(dtype))
            if motion_BE is not None:
                both = [conditions, self.motion_cond_proj(motion_BE.to(dtype))]
                conditions = self.combine_proj(torch.cat(both, dim=-1))
            sin_t = sin_t + conditions
        out: Tensor = self.time_embed(sin_t) + self.fps_embedding(sinusoidal_embedding(fps_B, base).to(dtype))
        return out

    def forward(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        fps: int | Tensor = DEFAULT_FPS,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        """The prediction in x's shape and the network's dtype. t_B: integer times.

        fps: a whole number, or a tensor, of one per clip or one for all. TypeError for another kind of number.
        """
        dtype = self.dtype
        batch, _, frames = x_BCTHW.shape[:3]
        fps_B = fps.expand(batch) if isinstance(fps, Tensor) else torch.full_like(t_B, operator.index(fps))
        emb = self.embed(t_B, fps_B, timestep_cond_BE, motion_cond_BE)
        context = context_BLD.to(dtype)
        h = x_BCTHW.to(dtype).transpose(1, 2).flatten(0, 1)
        skips = []
        for level, block in enumerate(self.input_blocks):
            h = self._run(block, h, emb, context, frames)
            if level == 0:
                h = self._run(self.init_attn, h, emb, context, frames)
            skips.append(h)
        h = self._run(self.middle_block, h, emb, context, frames)
        for block in self.output_blocks:
            h = self._run(block, torch.cat([h, skips.pop()], dim=1), emb, context, frames)
        out: Tensor = self.out(h).unflatten(0, (batch, frames)).transpose(1, 2)
        return out

    def _run(self, block: nn.Module, h: Tensor, emb: Tensor, context: Tensor, frames: int) -> Tensor:
        for layer in block.children():
            if isinstance(layer, ResBlock):
                h = layer(h, emb, frames)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, context)
            elif isinstance(layer, TemporalTransformer):
                h = layer(h, frames)
            else:
                h = layer(h)
        return h
