"""What does Tag2Text see in a picture? 144 patches of Swin-B at 384 px, and their mean (Liu et al., arXiv 2103.14030).

    y = x + out(attention in windows of 12 x 12 (norm(x)));  y + mlp(norm(y));  every second time the windows are moved
    by half a window, around the edge, and tokens that were not neighbours do not see each other (-100)
After each stage but the last 2 x 2 tokens become one of twice the width. Written here with the published names: timm's
has others, keeps half of its tables outside the state dict, and gives the patches to cuDNN, whose TF32 VBench never
meets, for it computes them on the CPU; as a product of matrices they are float32 on a GPU too.
Shape legend: B pictures, C colours, H W px, h w tokens, D width, W windows, L tokens of a window, n heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import Linear, Mlp, linear

APART = -100.0  # what tokens that are no neighbours lose


@dataclass(frozen=True)
class SwinSizes:
    """Of the published network."""

    side_px: int = 384
    patch_px: int = 4
    width: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12

    @property
    def out_width(self) -> int:
        """Of a patch in the end."""
        return self.width << len(self.depths) - 1


class PatchEmbed(nn.Module):
    """A token for every patch of 4 x 4 px."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, sizes.width, sizes.patch_px, sizes.patch_px)
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, h, w, D)"""
        px = self.proj.kernel_size[0]
        patches = x_BCHW.unflatten(3, (-1, px)).unflatten(2, (-1, px)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        tokens: Tensor = self.norm(linear(patches, self.proj.weight.flatten(1), self.proj.bias))
        return tokens


class WindowAttention(nn.Module):
    """Attention of a window's tokens to each other, with a number for each head and difference of places."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x_BWLD: Tensor, bias_WnLL: Tensor) -> Tensor:
        """(B, W, L, D)"""
        query, key, value = self.qkv(x_BWLD).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = bias_WnLL.expand(query.shape[1], -1, -1, -1).to(query.dtype)
        mixed = [F.scaled_dot_product_attention(*each, bias) for each in zip(query, key, value, strict=True)]
        out: Tensor = self.proj(torch.stack(mixed).transpose(2, 3).flatten(3))
        return out


class Block(nn.Module):
    """One block. shift: by how many tokens its windows are moved."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """(B, h, w, D)"""
        rows, columns = x_BhwD.shape[1:3]
        moved = self.norm1(x_BhwD).roll((-self.shift, -self.shift), (1, 2))
        mixed = from_windows(self.attn(windows(moved, self.window), self._bias(rows, columns)), rows, columns)
        x_BhwD = x_BhwD + mixed.roll((self.shift, self.shift), (1, 2))
        thought = self.mlp(self.norm2(x_BhwD).flatten(1, 2))
        out: Tensor = x_BhwD + thought.view_as(x_BhwD)
        return out

    def _bias(self, rows: int, columns: int) -> Tensor:
        """(W or 1, n, L, L)"""
        table = self.attn.relative_position_bias_table
        bias_nLL = table[relative_places(self.window).to(table.device)].permute(2, 0, 1)
        if not self.shift:
            return bias_nLL[None]
        apart_WLL = strangers(rows, columns, self.window, self.shift).to(table.device)
        return bias_nLL + apart_WLL[:, None] * APART


class Merge(nn.Module):
    """2 x 2 tokens become one: upper left, lower left, upper right, lower right."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = Linear(4 * width, 2 * width, bias=False)

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """(B, h / 2, w / 2, 2 D)"""
        squares = x_BhwD.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        merged: Tensor = self.reduction(self.norm(squares))
        return merged


class Stage(nn.Module):
    """Blocks of one width. A map that is one window is never moved."""

    def __init__(self, sizes: SwinSizes, number: int) -> None:
        super().__init__()
        width, whole = sizes.width << number, sizes.side_px // sizes.patch_px >> number <= sizes.window
        self.blocks = nn.Sequential(
            *(
                Block(width, sizes.heads[number], sizes.window, 0 if whole or not block % 2 else sizes.window // 2)
                for block in range(sizes.depths[number])
            )
        )
        self.downsample = Merge(width) if number < len(sizes.depths) - 1 else None

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """(B, h, w, D), or what comes after merging."""
        x_BhwD = self.blocks(x_BhwD)
        return x_BhwD if self.downsample is None else self.downsample(x_BhwD)


class Swin(nn.Module):
    """The network, by its published names."""

    def __init__(self, sizes: SwinSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or SwinSizes()
        self.patch_embed = PatchEmbed(sizes)
        self.layers = nn.Sequential(*(Stage(sizes, number) for number in range(len(sizes.depths))))
        self.norm = nn.LayerNorm(sizes.out_width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, 1 + h w, D) of normalised squares: the mean of the patches, then the patches, row by row."""
        patches: Tensor = self.norm(self.layers(self.patch_embed(x_BCHW)).flatten(1, 2))
        return torch.cat([patches.mean(1, keepdim=True), patches], dim=1)


def windows(x_BhwD: Tensor, side: int) -> Tensor:
    """(B, W, L, D), row by row."""
    parts: Tensor = x_BhwD.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(x_BWLD: Tensor, rows: int, columns: int) -> Tensor:
    """(B, h, w, D)"""
    side = round(x_BWLD.shape[2] ** 0.5)
    parts: Tensor = x_BWLD.unflatten(2, (side, side)).unflatten(1, (rows // side, columns // side))
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_places(side: int) -> Tensor:
    """(L, L) int64: for each pair of a window's tokens the row of the table for (dy, dx), dy first."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    dy, dx = (place.flatten()[:, None] - place.flatten() + side - 1 for place in (y, x))
    return dy * (2 * side - 1) + dx


def strangers(rows: int, columns: int, side: int, shift: int) -> Tensor:
    """(W, L, L) bool: which tokens of a moved window come from different edges of the map."""

    def edge(length: int) -> Tensor:
        place = torch.arange(length)
        return (place >= length - side).long() + (place >= length - shift).long()

    region_hw = edge(rows)[:, None] * 3 + edge(columns)
    region_WL = windows(region_hw[None, :, :, None], side)[0, :, :, 0]
    return region_WL[:, :, None] != region_WL[:, None]
