"""How good does MUSIQ find a picture? Ke et al., arXiv 2108.05997; layout of the published SPAQ checkpoint.

A picture is seen at three scales (longer side 224 and 384 px, and as it is), each cut into 32-px patches. A patch goes
through one convolution and one bottleneck (section 3.2), gets a position on a 10 x 10 grid that is hashed from its
place (section 3.3) and its scale (section 3.4), and 14 transformer blocks relate all of them to one class token.

Exact shortcuts: the original pads the two small scales to 49 and 144 tokens and masks them with -1000; exp(-1000) is 0
in float32, so they are not made here. Of the last block only the class token is computed, for nothing else is read.
Shape legend: N pictures, C colours, H W pixels, P patches in a pass, L tokens, D width, p patch side in px.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import Linear, Mlp

PATCHES = 128  # in one pass of the stem on a CPU, whose cache then holds them: 65 kB a patch and layer


@dataclass(frozen=True)
class MusiqSizes:
    """Of the published network."""

    width: int = 384
    depth: int = 14
    heads: int = 6
    mlp: int = 1152
    stem: int = 64
    groups: int = 32
    patch_px: int = 32
    grid: int = 10
    sides_px: tuple[int, ...] = (224, 384)  # longer sides of the scales that are resized


class StdConv(nn.Conv2d):
    """A convolution whose kernels are standardised: w' = (w - mean w) / (std w + 1e-5), std unbiased (BiT)."""

    def forward(self, input: Tensor) -> Tensor:
        """(P, C, H, W) to (P, C', H', W')."""
        std, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return F.conv2d(input, (self.weight - mean) / (std + 1e-5), None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """relu(shortcut + 1x1, 3x3, 1x1 convolutions), each with a group norm."""

    def __init__(self, inner: int, outer: int, groups: int) -> None:
        super().__init__()
        self.conv1 = StdConv(inner, inner, 1, bias=False)
        self.gn1 = nn.GroupNorm(groups, inner, eps=1e-4)
        self.conv2 = StdConv(inner, inner, 3, padding=1, bias=False)
        self.gn2 = nn.GroupNorm(groups, inner, eps=1e-4)
        self.conv3 = StdConv(inner, outer, 1, bias=False)
        self.gn3 = nn.GroupNorm(groups, outer, eps=1e-4)
        self.conv_proj = StdConv(inner, outer, 1, bias=False)
        self.gn_proj = nn.GroupNorm(groups, outer, eps=1e-4)

    def forward(self, x_PCHW: Tensor) -> Tensor:
        """(P, inner, H, W) to (P, outer, H, W)."""
        y = F.relu_(self.gn1(self.conv1(x_PCHW)))
        y = F.relu_(self.gn2(self.conv2(y)))
        return F.relu_(self.gn3(self.conv3(y)).add_(self.gn_proj(self.conv_proj(x_PCHW))))


class Attention(nn.Module):
    """Multi-head attention with its four linear layers apart."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (Linear(width, width) for _ in range(4))

    def forward(self, asking_NLD: Tensor, asked_NLD: Tensor) -> Tensor:
        """(N, L, D) of the tokens that ask, from all that are asked."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, asking_NLD), (self.key, asked_NLD), (self.value, asked_NLD))
        )
        mixed: Tensor = self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)

    def forward(self, x_NLD: Tensor, wanted: int | None = None) -> Tensor:
        """(N, L, D) to the first `wanted` tokens, or all."""
        normed = self.norm1(x_NLD)
        x_NLD = x_NLD[:, :wanted] + self.attention(normed[:, :wanted], normed)
        out: Tensor = x_NLD + self.mlp(self.norm2(x_NLD))
        return out


class Table(nn.Module):
    """A table of learned rows, under the name that the checkpoint gives it."""

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.rows = name
        self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self) -> Tensor:
        """The table."""
        return self.get_parameter(self.rows)


class Encoder(nn.Module):
    """The class token, the tables of places and scales, and the blocks."""

    def __init__(self, s: MusiqSizes) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, s.width))
        self.posembed_input = Table("position_emb", 1, s.grid**2, s.width)
        self.scaleembed_input = Table("scale_emb", len(s.sides_px) + 1, s.width)
        blocks = {f"encoderblock_{i}": Block(s.width, s.heads, s.mlp) for i in range(s.depth)}
        self.transformer = nn.ModuleDict(blocks)
        self.encoder_norm = nn.LayerNorm(s.width, eps=1e-6)

    def forward(self, tokens_NLD: Tensor) -> Tensor:
        """(N, D) the class token after all blocks, of tokens in any order."""
        x = torch.cat([self.cls.expand(len(tokens_NLD), -1, -1), tokens_NLD], dim=1)
        *blocks, last = self.transformer.values()
        for block in blocks:
            x = block(x)
        out: Tensor = self.encoder_norm(last(x, wanted=1)[:, 0])
        return out


class MusiqNet(nn.Module):
    """MUSIQ with the names of the published checkpoint."""

    def __init__(self, sizes: MusiqSizes | None = None) -> None:
        super().__init__()
        self.sizes = s = sizes or MusiqSizes()
        outer = 4 * s.stem
        self.conv_root = StdConv(3, s.stem, 7, stride=2, bias=False)
        self.gn_root = nn.GroupNorm(s.groups, s.stem, eps=1e-6)
        self.block1 = Bottleneck(s.stem, outer, s.groups)
        self.embedding = Linear((s.patch_px // 4) ** 2 * outer, s.width)
        self.transformer_encoder = Encoder(s)
        self.head = Linear(s.width, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N,) scores, about 0 to 100, of pictures in 0..1."""
        x_NCHW = (x_NCHW - 0.5) * 2
        tokens = [self.tokens(scaled, scale) for scale, scaled in enumerate(self.scales(x_NCHW))]
        features = self.transformer_encoder(torch.cat(tokens, dim=1))
        with torch.autocast(features.device.type, enabled=False):  # a score of 60 in bfloat16 has steps of 0.25
            scores: Tensor = self.head(features.float())[:, 0]
        return scores

    def scales(self, x_NCHW: Tensor) -> list[Tensor]:
        """The pictures with their longer side 224 px and 384 px, and as they are."""
        height, width = x_NCHW.shape[2:]
        scaled = []
        for side in self.sizes.sides_px:
            ratio = side / max(height, width)
            # Differs: a side that rounds to 0 px (a picture 450 times longer than wide) is 1 px, not an error.
            size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
            scaled.append(F.interpolate(x_NCHW, size=size, mode="bicubic", align_corners=False))
        return [*scaled, x_NCHW]

    def tokens(self, x_NCHW: Tensor, scale: int) -> Tensor:
        """(N, L, D) tokens of the patches of one scale, row by row."""
        p = self.sizes.patch_px
        patches = cut(x_NCHW, p)
        rows, columns = patches.shape[1:3]
        at_once = PATCHES if x_NCHW.device.type == "cpu" else patches.numel()
        embedded = torch.cat([self.embed(part) for part in patches.flatten(0, 2).split(at_once)])
        encoder = self.transformer_encoder
        places = hashed(rows, columns, self.sizes.grid).to(x_NCHW.device)
        where_1LD = encoder.posembed_input()[:, places] + encoder.scaleembed_input()[scale]
        tokens: Tensor = embedded.unflatten(0, (len(x_NCHW), -1)) + where_1LD
        return tokens

    def embed(self, patches_PCpp: Tensor) -> Tensor:
        """(P, D) of patches, each by itself: padding never shows a neighbour."""
        x = patches_PCpp.contiguous(memory_format=torch.channels_last)
        x = self.gn_root(self.conv_root(F.pad(x, same(x.shape[-1], 7, 2) * 2)))
        # Over the right and lower edge hangs half a window, as with TensorFlow's SAME, whose zeros lose to relu's; and
        # the largest of relu's values is relu of the largest.
        x = self.block1(F.relu_(F.max_pool2d(x, 3, stride=2, ceil_mode=True)))
        embedded: Tensor = self.embedding(x.permute(0, 2, 3, 1).flatten(1))
        return embedded


def same(length: int, window: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after a side: the odd one comes after."""
    total = max(0, (-(-length // stride) - 1) * stride + window - length)
    return total // 2, total - total // 2


def cut(x_NCHW: Tensor, side: int) -> Tensor:
    """(N, rows, columns, C, p, p) patches of pictures that zeros extend to whole patches."""
    height, width = x_NCHW.shape[2:]
    padded = F.pad(x_NCHW, (*same(width, side, side), *same(height, side, side)))
    return padded.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)


def hashed(rows: int, columns: int, grid: int) -> Tensor:
    """(rows columns,) the place in the position table of each patch, row by row: both axes stretched to the grid."""
    numbers = torch.arange(grid, dtype=torch.float32)[None, None]
    row, column = (F.interpolate(numbers, size=n, mode="nearest")[0, 0].long() for n in (rows, columns))
    return (row[:, None] * grid + column).flatten()
