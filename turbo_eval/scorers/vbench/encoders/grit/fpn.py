"""At which scales are objects looked for? Five maps of strides 8 to 128 px, made of ViTDet's one map of stride 16.

P3 = f(up(x)), P4 = f(x), P5 = f(maxpool_2(x)) with f = norm(conv_3x3(norm(conv_1x1))) of its own each, without biases;
up is a 2x2 transposed convolution (arXiv 2203.16527, section 3, the simple feature pyramid). P6 = conv(P5),
P7 = conv(ReLU(P6)), 3x3 of stride 2 (Lin et al., arXiv 1708.02002). The norm is a LayerNorm over channels, eps 1e-5.
Shape legend: B frames, C channels, H W places of a map.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.grit.vitdet import VitDet, VitDetSizes

STRIDES_PX = (8, 16, 32, 64, 128)
SIDE_PX = 32  # frames are padded to multiples of it
OWN = STRIDES_PX[:3]  # the levels that are made of the transformer's map


class TopBlock(nn.Module):
    """The two coarsest maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.p7 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, p5_BCHW: Tensor) -> list[Tensor]:
        """P6 and P7."""
        p6 = self.p6(p5_BCHW)
        return [p6, self.p7(F.relu(p6))]


class Pyramid(nn.Module):
    """The backbone: ViTDet and the pyramid on it, with the names of the published checkpoint."""

    def __init__(self, sizes: VitDetSizes | None = None, channels: int = 256) -> None:
        super().__init__()
        self.bottom_up = VitDet(sizes)
        width = self.bottom_up.sizes.width
        self.fpn_stride_16_8 = nn.ConvTranspose2d(width, width, 2, 2, bias=False)
        for stride in OWN:
            self.add_module(f"fpn_stride{stride}_conv1", nn.Conv2d(width, channels, 1, bias=False))
            self.add_module(f"fpn_stride{stride}_norm1", nn.LayerNorm(channels))
            self.add_module(f"fpn_stride{stride}_conv2", nn.Conv2d(channels, channels, 3, padding=1, bias=False))
            self.add_module(f"fpn_stride{stride}_norm2", nn.LayerNorm(channels))
        self.top_block = TopBlock(channels)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """P3 to P7, (B, C, H, W) each, of frames whose sides are multiples of 32 px."""
        seen = self.bottom_up(x_BCHW)
        scaled = (self.fpn_stride_16_8(seen), seen, F.max_pool2d(seen, 2))
        own = [self._level(stride, x) for stride, x in zip(OWN, scaled, strict=True)]
        top: list[Tensor] = self.top_block(own[-1])
        return own + top

    def _level(self, stride: int, x: Tensor) -> Tensor:
        for step in "12":
            x = self.get_submodule(f"fpn_stride{stride}_conv{step}")(x)
            x = self.get_submodule(f"fpn_stride{stride}_norm{step}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x
