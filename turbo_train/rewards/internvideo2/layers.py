"""What is a block of InternVideo2's video tower made of?

    x += gamma_1 attention(rms(x));  x += gamma_2 mlp(rms(x))
Attention's q and k are RMS-normed over all heads at once. The norm's statistics and the products with its weight and
with gamma are float32's in float16 and bfloat16 too, each result rounded once: so PyTorch computes them by itself.
The MLP's GELU is the tanh approximation, as flash-attn's fused MLP has it, with which the published weights are run.
Differs: attention is PyTorch's own, without flash-attn and fused kernels; no drop path, which acts in training only.
Shape legend: B clips, L keys, M queries, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Gelu = Literal["tanh", "none"]
"""F.gelu's `approximate`. "none", the exact one, is what the published code falls back to without flash-attn."""
EPS = 1e-6  # of RMSNorm


class LayerScale(nn.Module):
    """A factor for each channel of what a branch adds (arXiv 2103.17239)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * self.gamma


class Attention(nn.Module):
    """Self-attention of all tokens of a clip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.q_norm = nn.RMSNorm(width, eps=EPS)
        self.k_norm = nn.RMSNorm(width, eps=EPS)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        q, k, v = self.qkv(x_BLD).chunk(3, dim=-1)
        out: Tensor = self.proj(attend(self.q_norm(q), self.k_norm(k), v, self.heads))
        return out


def attend(q_BMD: Tensor, k_BLD: Tensor, v_BLD: Tensor, heads: int) -> Tensor:
    """(B, M, D) softmax attention of M queries over L tokens, the width split into heads."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BMD, k_BLD, v_BLD))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Width to 48/11 of it and back (1408 to 6144), with GELU."""

    def __init__(self, width: int, gelu: Gelu) -> None:
        super().__init__()
        self.gelu = gelu
        self.fc1 = nn.Linear(width, width * 48 // 11)
        self.fc2 = nn.Linear(width * 48 // 11, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.gelu))
        return out


class Block(nn.Module):
    """One pre-norm transformer block. scale: where the branches' factors start."""

    def __init__(self, width: int, heads: int, scale: float, gelu: Gelu) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width, scale)
        self.norm2 = nn.RMSNorm(width, eps=EPS)
        self.mlp = Mlp(width, gelu)
        self.ls2 = LayerScale(width, scale)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x_BLD = x_BLD + self.ls1(self.attn(self.norm1(x_BLD)))
        out: Tensor = x_BLD + self.ls2(self.mlp(self.norm2(x_BLD)))
        return out
