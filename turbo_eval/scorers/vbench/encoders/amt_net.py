"""What is AMT-S, the network that VBench foretells frames with? All-pairs multi-field transforms.

Li et al., arXiv 2304.09790: features of both frames are correlated all with all in both directions (section 3.1); a
pyramid of decoders estimates the flows from the middle to either frame from coarse to fine and a feature of the middle
frame, and after each of the three coarse ones both are corrected by what the correlation says at the places where the
flows point (3.2); the last decoder gives several flow pairs, masks and residuals, whose candidates are combined (3.3).
The names of the parameters are the published file's; the layout is that of AMT-S.
Here the middle is at t = 1/2. Flows are in pixels of their own resolution, x then y.
Shape legend: N pairs, C channels, H W pixels of a multiple of 16, h w of an eighth of it, K flow pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.optical_flow._utils import make_coords_grid
from torchvision.models.optical_flow.raft import BottleneckBlock, CorrBlock, FeatureEncoder

MIDDLE = 0.5  # t
SLOPE = 0.1  # of the correction's LeakyReLU


@dataclass(frozen=True)
class AmtConfig:
    """Sizes; by default AMT-S's. channels: of the four levels, finest first."""

    channels: tuple[int, int, int, int] = (20, 32, 44, 56)
    skip: int = 20  # channels that a residual block treats once more
    flows: int = 3
    radius: int = 3
    levels: int = 4
    features: tuple[int, int, int, int, int] = (32, 32, 64, 96, 84)
    correlation: int = 64
    motion: tuple[int, int] = (40, 20)
    joint: int = 68
    hidden: int = 76


def resized(x_NCHW: Tensor, scale: float) -> Tensor:
    """Bilinear, by corners that are not aligned."""
    return x_NCHW if scale == 1 else F.interpolate(x_NCHW, scale_factor=scale, mode="bilinear", align_corners=False)


def resized_flow(flow_NCHW: Tensor, scale: float) -> Tensor:
    """A flow at another resolution, in that resolution's pixels."""
    return flow_NCHW if scale == 1 else scale * resized(flow_NCHW, scale)


def warped(x_NCHW: Tensor, flow_N2HW: Tensor) -> Tensor:
    """x at each pixel's place plus its flow; beyond the border its last pixel."""
    count, _, height, width = x_NCHW.shape
    to = make_coords_grid(count, height, width, str(x_NCHW.device)) + flow_N2HW
    x, y = to.unbind(1)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="border", align_corners=True)


def convolved(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a slope per channel."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


class ResBlock(nn.Module):
    """Five convolutions around a shortcut; the second and fourth see the last `side` channels only."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.conv1, self.conv3 = convolved(channels, channels), convolved(channels, channels)
        self.conv2, self.conv4 = convolved(side, side), convolved(side, side)
        self.conv5 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.prelu = nn.PReLU(channels)
        self.rest = channels - side

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same shape."""
        y = x_NCHW
        for whole, part in ((self.conv1, self.conv2), (self.conv3, self.conv4)):
            y = whole(y)
            y[:, self.rest :] = part(y[:, self.rest :])
        shortened: Tensor = self.prelu(x_NCHW + self.conv5(y))
        return shortened


class Context(nn.Module):
    """The four levels of a frame, each half as large as the one before."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        for level, (inputs, outputs) in enumerate(zip((3, *channels), channels, strict=False), 1):
            block = nn.Sequential(convolved(inputs, outputs, 2), convolved(outputs, outputs))
            self.add_module(f"pyramid{level}", block)

    def forward(self, x_NCHW: Tensor) -> list[Tensor]:
        """Finest first."""
        levels = []
        for block in self.children():
            x_NCHW = block(x_NCHW)
            levels.append(x_NCHW)
        return levels


class Decoder(nn.Module):
    """A level's flows and feature, at twice its resolution."""

    def __init__(self, inputs: int, inner: int, outputs: int, side: int) -> None:
        super().__init__()
        deconvolution = nn.ConvTranspose2d(inner, outputs, 4, 2, 1)
        self.convblock = nn.Sequential(convolved(inputs, inner), ResBlock(inner, side), deconvolution)

    def forward(self, *parts: Tensor) -> Tensor:
        """The parts have one resolution."""
        out: Tensor = self.convblock(torch.cat(parts, 1))
        return out


class Correction(nn.Module):
    """What the correlation says against the flows and the feature of a level."""

    def __init__(self, inputs: int, channels: int, config: AmtConfig) -> None:
        super().__init__()
        wide, narrow = config.motion
        self.convc1 = nn.Conv2d(inputs, config.correlation, 1)
        self.convf1 = nn.Conv2d(4, wide, 7, 1, 3)
        self.convf2 = nn.Conv2d(wide, narrow, 3, 1, 1)
        self.conv = nn.Conv2d(config.correlation + narrow, config.joint, 3, 1, 1)
        self.gru = self._two(config.joint + channels + 4, config.hidden, config.hidden)
        self.feat_head = self._two(config.hidden, config.hidden, channels)
        self.flow_head = self._two(config.hidden, config.hidden, 4)

    @staticmethod
    def _two(inputs: int, inner: int, outputs: int) -> nn.Sequential:
        first, second = nn.Conv2d(inputs, inner, 3, 1, 1), nn.Conv2d(inner, outputs, 3, 1, 1)
        return nn.Sequential(first, nn.LeakyReLU(SLOPE), second)

    def forward(self, feature_NChw: Tensor, flows_N4hw: Tensor, looked_up_NChw: Tensor) -> tuple[Tensor, Tensor]:
        """Differences of the feature and of the flows, at an eighth."""
        seen = F.leaky_relu(self.convc1(looked_up_NChw), SLOPE)
        moved = F.leaky_relu(self.convf2(F.leaky_relu(self.convf1(flows_N4hw), SLOPE)), SLOPE)
        joint = F.leaky_relu(self.conv(torch.cat([seen, moved], 1)), SLOPE)
        state = self.gru(torch.cat([joint, flows_N4hw, feature_NChw], 1))
        return self.feat_head(state), self.flow_head(state)


class AmtNet(nn.Module):
    """The frame half-way between two."""

    def __init__(self, config: AmtConfig = AmtConfig()) -> None:
        super().__init__()
        c1, c2, c3, c4 = config.channels
        side, self.flows = config.skip, config.flows
        self.feat_encoder = FeatureEncoder(block=BottleneckBlock, layers=config.features, norm_layer=nn.InstanceNorm2d)
        self.encoder = Context(config.channels)
        self.decoder4 = Decoder(2 * c4 + 1, 2 * c4, 4 + c3, side)
        self.decoder3 = Decoder(3 * c3 + 4, 3 * c3, 4 + c2, side)
        self.decoder2 = Decoder(3 * c2 + 4, 3 * c2, 4 + c1, side)
        self.decoder1 = Decoder(3 * c1 + 4, 3 * c1, 8 * config.flows, side)
        self.ahead = CorrBlock(num_levels=config.levels, radius=config.radius)
        self.back = CorrBlock(num_levels=config.levels, radius=config.radius)
        inputs = self.ahead.out_channels + self.back.out_channels
        self.update4 = Correction(inputs, c3, config)
        self.update3 = Correction(inputs, c2, config)
        self.update2 = Correction(inputs, c1, config)
        colours = 3 * config.flows
        self.comb_block = nn.Sequential(
            nn.Conv2d(colours, 2 * colours, 3, 1, 1), nn.PReLU(2 * colours), nn.Conv2d(2 * colours, 3, 3, 1, 1)
        )

    def forward(self, first_N3HW: Tensor, second_N3HW: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] from two frames in [0, 1]."""
        mean = torch.cat([first_N3HW, second_N3HW], 2).mean((1, 2, 3), keepdim=True)
        first, second = first_N3HW - mean, second_N3HW - mean
        both = torch.cat([first, second])
        before, after = self.feat_encoder(both).chunk(2)
        self._correlate(before, after)
        levels = [level.chunk(2) for level in self.encoder(both)]

        top = levels[3][0]
        moment = top.new_full((len(top), 1, *top.shape[-2:]), MIDDLE)
        flows, feature = self._apart(self.decoder4(*levels[3], moment))
        feature, flows = self._corrected(self.update4, feature, flows, 1)
        for level, decoder, update, scale in ((2, self.decoder3, self.update3, 2), (1, self.decoder2, self.update2, 4)):
            change, feature = self._apart(self._decoded(decoder, feature, flows, levels[level]))
            flows = change + resized_flow(flows, 2)
            feature, flows = self._corrected(update, feature, flows, scale)
        out = self._decoded(self.decoder1, feature, flows, levels[0])
        self.ahead.corr_pyramid, self.back.corr_pyramid = [], []
        return self._combined(out, resized_flow(flows, 2), first, second, mean)

    def _correlate(self, before_NChw: Tensor, after_NChw: Tensor) -> None:
        """All with all, both ways, as CorrBlock would: a mean of products is the product with a mean, which is less."""
        count, channels, height, width = before_NChw.shape
        for block, here, there in ((self.ahead, before_NChw, after_NChw), (self.back, after_NChw, before_NChw)):
            rows = here.flatten(2).transpose(1, 2) / math.sqrt(channels)
            block.corr_pyramid = []
            for _ in range(block.num_levels):
                volume = rows @ there.flatten(2)
                block.corr_pyramid.append(volume.view(count * height * width, 1, *there.shape[-2:]))
                there = F.avg_pool2d(there, 2)

    @staticmethod
    def _apart(out_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        return out_NCHW[:, :4], out_NCHW[:, 4:]

    @staticmethod
    def _decoded(decoder: nn.Module, feature: Tensor, flows: Tensor, level: tuple[Tensor, ...]) -> Tensor:
        pulled = (warped(seen, flow) for seen, flow in zip(level, flows.chunk(2, 1), strict=True))
        out: Tensor = decoder(feature, *pulled, flows)
        return out

    def _corrected(self, update: nn.Module, feature: Tensor, flows: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """Feature and flows at `scale` eighths, corrected at an eighth."""
        small = resized_flow(flows, 1 / scale)
        to_first, to_second = small.chunk(2, 1)
        grid = make_coords_grid(len(small), *small.shape[-2:], str(small.device))
        seen = torch.cat(
            [
                self.ahead.index_pyramid(grid + to_second / MIDDLE),
                self.back.index_pyramid(grid + to_first / (1 - MIDDLE)),
            ],
            1,
        )
        of_feature, of_flows = update(resized(feature, 1 / scale), small, seen)
        return feature + resized(of_feature, scale), flows + resized_flow(of_flows, scale)

    def _combined(self, out: Tensor, flows: Tensor, first: Tensor, second: Tensor, mean: Tensor) -> Tensor:
        """The mean of K candidates, and what the last convolutions see in them."""
        count, _, height, width = first.shape
        pairs = self.flows
        to_first, to_second, mask, residual = out.split([2 * pairs, 2 * pairs, pairs, 3 * pairs], 1)
        pulled = []
        for frame, change, flow in zip((first, second), (to_first, to_second), flows.chunk(2, 1), strict=True):
            each = change.unflatten(1, (pairs, 2)) + flow[:, None]
            many = frame[:, None].expand(-1, pairs, -1, -1, -1)
            pulled.append(warped(many.flatten(0, 1), each.flatten(0, 1)).view(count, pairs, 3, height, width))
        share = torch.sigmoid(mask)[:, :, None]
        candidates = share * pulled[0] + (1 - share) * pulled[1] + mean[:, None] + residual.unflatten(1, (pairs, 3))
        middle: Tensor = candidates.mean(1) + self.comb_block(candidates.flatten(1, 2))
        return middle.clamp(0, 1)
