"""What does ViCLIP compute? Its two towers, written from their description, with the published key names.

ViCLIP (InternVid, arXiv 2307.06942): a CLIP image tower whose patches of all frames attend to each other.
    x = conv1(frames) per frame;  x += positional (the same in each frame);  x += temporal (per frame)
    [class token, frame 0 patches, frame 1 patches, ...] -> ln_pre -> blocks -> ln_post(class token) @ proj
One class token per clip. A single frame gets the mean of the temporal table. Text: CLIP's causal
transformer, read at the largest token id. Activation: QuickGELU, x sigmoid(1.702 x).
Differs: no masking of tokens and no drop path; they act in ViCLIP's own training only.
Shape legend: B clips, T frames, C channels, H, W pixels, P patches per frame, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.rewards.folder import REBUILD


@dataclass(frozen=True)
class VisionConfig:
    """Video tower. The defaults are ViCLIP-L/14."""

    input_resolution: int = 224
    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    output_dim: int = 768
    num_frames: int = 8
    kernel_size: int = 1


@dataclass(frozen=True)
class TextConfig:
    """Text tower. The defaults are ViCLIP-L/14's."""

    embed_dim: int = 768
    context_length: int = 32
    vocab_size: int = 49408
    transformer_width: int = 768
    transformer_heads: int = 12
    transformer_layers: int = 12


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection, named as torch's MultiheadAttention names it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x_BLD: Tensor, causal: bool) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        joint = F.linear(x_BLD, self.in_proj_weight, self.in_proj_bias)
        batch, length, width = x_BLD.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class Mlp(nn.Module):
    """Width to four times the width and back, with QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        hidden = self.c_fc(x)
        out: Tensor = self.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        return out


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.ln_2 = nn.LayerNorm(width)
        residual_std = (2 * layers * width) ** -0.5  # CLIP's initialisation (Radford et al. 2021, released code)
        nn.init.normal_(self.attn.out_proj.weight, std=residual_std)
        nn.init.normal_(self.mlp.c_proj.weight, std=residual_std)
        nn.init.normal_(self.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        for bias in (self.attn.out_proj.bias, self.mlp.c_proj.bias, self.mlp.c_fc.bias):
            nn.init.zeros_(bias)

    def forward(self, x_BLD: Tensor, causal: bool) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x_BLD = x_BLD + self.attn(self.ln_1(x_BLD), causal)
        out: Tensor = x_BLD + self.mlp(self.ln_2(x_BLD))
        return out


class Transformer(nn.Module):
    """Blocks in a row."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, layers) for _ in range(layers))

    def forward(self, x_BLD: Tensor, causal: bool = False) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        for block in self.resblocks:
            x_BLD = block(x_BLD, causal)
        return x_BLD


class VisionEncoder(nn.Module):
    """Clips to features, by joint attention over space and time."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch, scale = config.width, config.patch_size, config.width**-0.5
        patches = (config.input_resolution // patch) ** 2
        kernel = (config.kernel_size, patch, patch)
        self.conv1 = nn.Conv3d(3, width, kernel, kernel, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(patches + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, config.num_frames, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, config.output_dim))

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Normalised (B, T, 3, H, W) clips of num_frames frames (or one) to (B, output_dim), not scaled."""
        x = self.conv1(clips_BTCHW.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)  # (B, T, P, D)
        table: Tensor = self.temporal_positional_embedding
        if x.shape[1] == 1:
            table = table.mean(1, keepdim=True)
        elif x.shape[1] != table.shape[1]:
            raise UserError(
                found=f"clips of {x.shape[1]} frames",
                expected=f"{table.shape[1]} frames, or one",
                run_next="sample that many frames from each clip",
            )
        x = x + self.positional_embedding[1:] + table[:, :, None]
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(x), 1, -1)
        x = self.transformer(self.ln_pre(torch.cat([first, x.flatten(1, 2)], dim=1)))
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out


class TextEncoder(nn.Module):
    """Token ids to features at the end token, which has the largest id."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.transformer_width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.context_length, width))
        self.transformer = Transformer(width, config.transformer_layers, config.transformer_heads)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, config.embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) ids to (B, embed_dim), not scaled. Ids after the end token change nothing: causal attention."""
        x = self.token_embedding(ids_BL) + self.positional_embedding[: ids_BL.shape[1]]
        x = self.ln_final(self.transformer(x, causal=True))
        out: Tensor = x[torch.arange(len(x), device=x.device), ids_BL.argmax(-1)] @ self.text_projection
        return out


class ViCLIP(nn.Module):
    """Both towers. `temp` divides the cosine in contrastive training and is unused by the reward."""

    def __init__(self, vision: VisionConfig, text: TextConfig) -> None:
        super().__init__()
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.vision_encoder = VisionEncoder(vision)
        self.text_encoder = TextEncoder(text)


def new_viclip(model_cfg: Mapping[str, Any]) -> ViCLIP:
    """An untrained ViCLIP from {"vision": VisionConfig's fields, "text": TextConfig's}."""
    try:
        return ViCLIP(VisionConfig(**model_cfg["vision"]), TextConfig(**model_cfg["text"]))
    except (KeyError, TypeError) as error:
        raise UserError(
            found=f"a ViCLIP model_cfg that does not fit ({error})",
            expected="vision and text with the fields of VisionConfig and TextConfig",
            run_next=REBUILD,
        ) from error
