"""How is a picture brought to a multiple of a network's stride? Its border pixels repeat, as many on either side.

Where the number is odd, the one more goes to the right or the bottom (RAFT's and AMT's own rule).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

LEAST_PX = 128  # a padded side; the coarsest level of RAFT's and AMT's correlations then still has two cells a side


class Padding(NamedTuple):
    """Pixels added on each side, in the order that torch's pad takes."""

    left: int
    right: int
    top: int
    bottom: int

    @classmethod
    def to_multiple(cls, height: int, width: int, multiple: int) -> Padding:
        """What brings (height, width) to the next multiples."""
        more_x, more_y = -width % multiple, -height % multiple
        return cls(more_x // 2, more_x - more_x // 2, more_y // 2, more_y - more_y // 2)

    @classmethod
    def to_least(cls, height: int, width: int, least: int) -> Padding:
        """What brings sides that are shorter than `least` to it; the others stay."""
        more_x, more_y = max(0, least - width), max(0, least - height)
        return cls(more_x // 2, more_x - more_x // 2, more_y // 2, more_y - more_y // 2)

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """(H', W') of what was (height, width)."""
        return height + self.top + self.bottom, width + self.left + self.right

    def put(self, pictures_NCHW: Tensor) -> Tensor:
        """(N, C, H', W') with the border repeated."""
        return F.pad(pictures_NCHW, self, mode="replicate")

    def cut(self, pictures_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) without it again."""
        height, width = pictures_NCHW.shape[-2:]
        return pictures_NCHW[..., self.top : height - self.bottom, self.left : width - self.right]
