"""Where is a token: which table of positions does InternVideo2 start from, and how does one fit another clip length?

Start: sines and cosines (Vaswani et al. 2017, section 3.5) of three axes, a quarter of D for the frame, the rest halved
for the patch's column and row, in this order, as MAE's tables have it (arXiv 2111.06377); the class row is zero:
    [sin(p w_k), cos(p w_k)],  w_k = 10000^(-k / K),  K = (width of the axis) / 2
Refit: linear over time with half-pixel centres, bicubic without antialias over space; the class row stays.
Shape legend: L = 1 + frames x side x side tokens, class first, then frame by frame; D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Grid:
    """Frames of side x side patches."""

    frames: int
    side: int

    @property
    def tokens(self) -> int:
        """With the class token."""
        return 1 + self.frames * self.side**2


def sincos(width: int, grid: Grid) -> Tensor:
    """(1, L, D) the table that training starts from. width: a multiple of 16."""
    if width % 16:
        raise ValueError(f"width {width}; three quarters of it hold two axes of sines and cosines: a multiple of 16")
    axes = torch.meshgrid(*(torch.arange(n) for n in (grid.frames, grid.side, grid.side)), indexing="ij")
    time, row, column = (axis.flatten() for axis in axes)
    widths = width // 4, width * 3 // 8, width * 3 // 8
    patches = torch.cat([_waves(p, d) for p, d in zip((time, column, row), widths, strict=True)], dim=1)
    return torch.cat([patches.new_zeros(1, width), patches])[None].to(torch.get_default_dtype())


def _waves(places: Tensor, width: int) -> Tensor:
    """(places, width) in float64."""
    rates = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = places.to(torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def grid_of(tokens: int, image_tokens: int) -> Grid | None:
    """The grid of two tables, of clips and of single frames, by their lengths; None where they fit no grid."""
    side = isqrt(max(image_tokens - 1, 0))
    if side == 0 or image_tokens != Grid(1, side).tokens or (tokens - 1) % side**2 or tokens < 2:
        return None
    return Grid((tokens - 1) // side**2, side)


def refit(table_1LD: Tensor, old: Grid, new: Grid) -> Tensor:
    """(1, L, D) the table for another grid, in its own dtype; computed in float32 or better. Itself for the same."""
    if old == new:
        return table_1LD
    wide = table_1LD.to(torch.promote_types(table_1LD.dtype, torch.float32))
    width = wide.shape[-1]
    x = wide[0, 1:].view(old.frames, old.side, old.side, width)
    if old.frames != new.frames:
        x = F.interpolate(x.permute(1, 2, 3, 0).flatten(0, 1), new.frames, mode="linear")  # (patches, D, frames)
        x = x.permute(2, 0, 1).unflatten(1, (old.side, old.side))
    if old.side != new.side:
        x = F.interpolate(x.permute(0, 3, 1, 2), (new.side, new.side), mode="bicubic").permute(0, 2, 3, 1)
    return torch.cat([wide[:, :1], x.reshape(1, -1, width)], dim=1).to(table_1LD.dtype)
