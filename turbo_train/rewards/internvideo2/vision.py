"""What does InternVideo2 see in a clip? Its video tower, written from its description, with the published key names.

InternVideo2 (arXiv 2403.15377): patches of all frames attend to each other.
    x = [class token, frame 0 patches, frame 1 patches, ...] + positions -> blocks (layers.py)
    pooled = attention of the mean token over all tokens, with biases and a LayerNorm for each of q, k, v
Differs: no masking of tokens, and no decoders for CLIP's features with tables of positions of their own; they act in
InternVideo2's own training only.
Shape legend: B clips, T frames, C channels, H, W pixels, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.rewards.internvideo2.layers import Block, Gelu, attend
from turbo_train.rewards.internvideo2.positions import Grid, sincos


@dataclass(frozen=True)
class VisionConfig:
    """Video tower, by the published names. The defaults are Stage-2 1B's. mlp_gelu: layers.py."""

    img_size: int = 224
    patch_size: int = 14
    embed_dim: int = 1408
    depth: int = 40
    num_heads: int = 16
    init_values: float = 1e-5
    attn_pool_num_heads: int = 16
    clip_embed_dim: int = 768
    num_frames: int = 8
    mlp_gelu: Gelu = "tanh"

    @property
    def grid(self) -> Grid:
        """Of a clip's patches."""
        return Grid(self.num_frames, self.img_size // self.patch_size)


class CrossAttention(nn.Module):
    """Attention with a bias vector for each of q, k, v, named as they are published."""

    def __init__(self, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_bias, self.k_bias, self.v_bias = (nn.Parameter(torch.zeros(width)) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, out)

    def forward(self, q_BMD: Tensor, k_BLD: Tensor, v_BLD: Tensor) -> Tensor:
        """(B, M, out)."""
        q = F.linear(q_BMD, self.q.weight, self.q_bias)
        k = F.linear(k_BLD, self.k.weight, self.k_bias)
        v = F.linear(v_BLD, self.v.weight, self.v_bias)
        out: Tensor = self.proj(attend(q, k, v, self.heads))
        return out


class AttentionPool(nn.Module):
    """All tokens to one vector, asked by their mean."""

    def __init__(self, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(width) for _ in range(3))
        self.cross_attn = CrossAttention(width, heads, out)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, out)."""
        query = self.norm1_q(x_BLD.mean(1, keepdim=True))
        out: Tensor = self.cross_attn(query, self.norm1_k(x_BLD), self.norm1_v(x_BLD))
        return out.squeeze(1)


class PatchEmbed(nn.Module):
    """One frame's patch to one token."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        kernel = (1, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.embed_dim, kernel, kernel)

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """(B, T patches, D), frame by frame."""
        patches: Tensor = self.proj(clips_BTCHW.transpose(1, 2))
        return patches.flatten(2).transpose(1, 2)


class VisionEncoder(nn.Module):
    """Clips to pooled features."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, grid = config.embed_dim, config.grid
        self.frames = grid.frames
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(sincos(width, grid))
        self.img_pos_embed = nn.Parameter(sincos(width, Grid(1, grid.side)))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, config.init_values, config.mlp_gelu) for _ in range(config.depth)
        )
        self.clip_projector = AttentionPool(width, config.attn_pool_num_heads, config.clip_embed_dim)

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Normalised (B, T, 3, img_size, img_size) clips to (B, clip_embed_dim)."""
        pooled: Tensor = self.clip_projector(self.tokens(clips_BTCHW))
        return pooled

    def tokens(self, clips_BTCHW: Tensor) -> Tensor:
        """(B, L, D) after the last block, class token first. UserError: frames that have no table of positions."""
        frames = clips_BTCHW.shape[1]
        if frames not in (1, self.frames):
            raise UserError(
                found=f"clips of {frames} frames",
                expected=f"{self.frames} frames, or one",
                run_next="sample that many frames from each clip, or load the model for another number",
            )
        patches = self.patch_embed(clips_BTCHW)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        x = x + (self.img_pos_embed if frames == 1 else self.pos_embed)
        for block in self.blocks:
            x = block(x)
        return x
