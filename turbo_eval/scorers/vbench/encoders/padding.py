"""How is a picture brought to a multiple of a network's stride? Its border pixels repeat, as many on either side.

Where the number is odd, the one more goes to the right or the bottom (RAFT's and AMT's own rule).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


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

    def put(self, pictures_NCHW: Tensor) -> Tensor:
        """(N, C, H', W') with the border repeated."""
        return F.pad(pictures_NCHW, self, mode="replicate")

    def cut(self, pictures_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) without it again."""
        height, width = pictures_NCHW.shape[-2:]
        return pictures_NCHW[..., self.top : height - self.bottom, self.left : width - self.right]
