"""What does GRiT look at a frame with? ViTDet's base network: a plain vision transformer that mostly looks in windows.

x += attention(norm_1(x)); x += mlp(norm_2(x)), twelve times (Li et al., arXiv 2203.16527, section 3). Blocks 2, 5, 8
and 11 see the whole map, the others windows of 14x14 patches. Attention knows the way from query to key in two parts
(Li et al., arXiv 2112.01526, equation 4): softmax(q.k / sqrt(E) + q.R_h[i_q - i_k] + q.R_w[j_q - j_k]) v.
Where windows pass the map's edge they see zeros, whose keys and values are the projections' bias alone. So only the
patches that there are go through the projections, which is exact; of 32x20 patches windows hold 1.8 times as many.
Shape legend: B frames, C colours, H W patches of the map, I J its places, K N windows, D width, S heads, E head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import Linear, Mlp

EPS = 1e-6  # of the norms; detectron2's ViT
# Pairs of a query and a key in one pass. It bounds the memory, and on a CPU results above 32 MB are slow to allocate:
# 8 frames of 32x20 patches at once took 1.7 times as long as one by one (one core of an EPYC, torch 2.14).
AT_ONCE = {"cpu": 2**23}
AT_ONCE_ELSEWHERE = 2**28


@dataclass(frozen=True)
class VitDetSizes:
    """Of the published network, in patches where not said otherwise. table: side of the table of absolute positions.

    whole: the blocks that see the whole map; whole_side: side of the map that their relative positions were made for.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    patch_px: int = 16
    window: int = 14
    whole: tuple[int, ...] = (2, 5, 8, 11)
    whole_side: int = 64
    table: int = 14


class Attention(nn.Module):
    """Multi-head attention in windows of `window` patches a side, or over the whole map where it is 0."""

    def __init__(self, width: int, heads: int, side: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """(B, H, W, D) to the same."""
        height, width = x_BHWD.shape[1:3]
        qkv = self.qkv(x_BHWD)
        if self.window:
            qkv = windows(filled(qkv, self.window, self.qkv.bias), self.window)
        mixed = self._mix(qkv)
        if self.window:
            mixed = from_windows(mixed, len(x_BHWD), height, width)
        out: Tensor = self.proj(mixed)
        return out

    def _mix(self, qkv_NHWD: Tensor) -> Tensor:
        height, width = qkv_NHWD.shape[1:3]
        limit = AT_ONCE.get(qkv_NHWD.device.type, AT_ONCE_ELSEWHERE)
        rows = max(1, limit // (self.heads * (height * width) ** 2))
        mixed: Tensor = torch.cat([self._mix_some(part) for part in qkv_NHWD.split(rows)]).unflatten(1, (height, width))
        return mixed

    def _mix_some(self, qkv_NHWD: Tensor) -> Tensor:
        parts = qkv_NHWD.unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)  # (3, N, S, H, W, E)
        bias = position_bias(parts[0], self.rel_pos_h, self.rel_pos_w)
        q, k, v = parts.flatten(3, 4)
        return F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)


def filled(x_BHWD: Tensor, side: int, fill_D: Tensor) -> Tensor:
    """The map with rows below and columns to the right of `fill_D`, up to multiples of `side`."""
    batch, height, width, _ = x_BHWD.shape
    below, right = -height % side, -width % side
    if not below and not right:
        return x_BHWD
    whole = fill_D.to(x_BHWD.dtype).expand(batch, height + below, width + right, -1).clone()
    whole[:, :height, :width] = x_BHWD
    return whole


def windows(x_BHWD: Tensor, side: int) -> Tensor:
    """(N, side, side, D) squares of each map, row by row. H and W are multiples of `side`."""
    squares: Tensor = x_BHWD.unflatten(1, (-1, side)).unflatten(3, (-1, side)).transpose(2, 3).flatten(0, 2)
    return squares


def from_windows(x_NKKD: Tensor, batch: int, height: int, width: int) -> Tensor:
    """(B, H, W, D) of its windows, without what lies beyond the map."""
    side = x_NKKD.shape[1]
    grid = (batch, -(-height // side), -(-width // side))
    whole: Tensor = x_NKKD.unflatten(0, grid).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return whole[:, :height, :width]


def position_bias(q_NSHWE: Tensor, along_h: Tensor, along_w: Tensor) -> Tensor:
    """(N, S, HW, HW): q.R_h[i_q - i_k] + q.R_w[j_q - j_k] of every query and key; q is not divided by sqrt(E)."""
    height, width = q_NSHWE.shape[2:4]
    by_row = torch.einsum("nshwe,hie->nshwi", q_NSHWE, relative(along_h, height))
    by_column = torch.einsum("nshwe,wje->nshwj", q_NSHWE, relative(along_w, width))
    return (by_row[..., :, None] + by_column[..., None, :]).flatten(4, 5).flatten(2, 3)


def relative(table_LE: Tensor, side: int) -> Tensor:
    """(side, side, E) row of a table for each query and key place: the middle row where they are the same.

    A table that was made for another side is stretched linearly to 2 side - 1 rows.
    """
    rows = 2 * side - 1
    if len(table_LE) != rows:
        table_LE = F.interpolate(table_LE.T[None], size=rows, mode="linear")[0].T
    place = torch.arange(side, device=table_LE.device)
    return table_LE[place[:, None] - place + side - 1]


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, sizes: VitDetSizes, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=EPS)
        self.attn = Attention(sizes.width, sizes.heads, window or sizes.whole_side, window)
        self.norm2 = nn.LayerNorm(sizes.width, eps=EPS)
        self.mlp = Mlp(sizes.width, sizes.mlp)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """(B, H, W, D) to the same."""
        x_BHWD = x_BHWD + self.attn(self.norm1(x_BHWD))
        out: Tensor = x_BHWD + self.mlp(self.norm2(x_BHWD).flatten(1, 2)).view_as(x_BHWD)
        return out


class PatchEmbed(nn.Module):
    """A token for every patch."""

    def __init__(self, sizes: VitDetSizes) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, sizes.width, sizes.patch_px, sizes.patch_px)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, H, W, D)."""
        tokens: Tensor = self.proj(x_BCHW).permute(0, 2, 3, 1)
        return tokens


class VitDet(nn.Module):
    """ViTDet with the names of the published checkpoint."""

    def __init__(self, sizes: VitDetSizes | None = None) -> None:
        super().__init__()
        self.sizes = s = sizes or VitDetSizes()
        self.pos_embed = nn.Parameter(torch.zeros(1, s.table**2 + 1, s.width))
        self.patch_embed = PatchEmbed(s)
        self.blocks = nn.ModuleList(Block(s, 0 if number in s.whole else s.window) for number in range(s.depth))

    def positions(self, height: int, width: int) -> Tensor:
        """(1, H, W, D) the table, without the class token's row, stretched to the map (bicubic)."""
        table: Tensor = self.pos_embed[:, 1:].unflatten(1, (self.sizes.table, -1))
        if table.shape[1:3] == (height, width):
            return table
        stretched = F.interpolate(table.permute(0, 3, 1, 2), size=(height, width), mode="bicubic")
        return stretched.permute(0, 2, 3, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, D, H, W) of frames whose sides are multiples of a patch; there is no norm at the end."""
        x_BHWD: Tensor = self.patch_embed(x_BCHW)
        x_BHWD = x_BHWD + self.positions(*x_BHWD.shape[1:3])
        for block in self.blocks:
            x_BHWD = block(x_BHWD)
        return x_BHWD.permute(0, 3, 1, 2)
