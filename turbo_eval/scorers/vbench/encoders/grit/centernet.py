"""Where in a frame may an object be? CenterNet's proposals without classes (Zhou et al., arXiv 2103.07461, section 4).

At each place of P3..P7 a head gives the chance that an object's middle is there, p = sigmoid(heat), and how far its box
reaches to each side, in strides: box = point -+ stride * ReLU(scale * reach), point = stride * place + stride / 2.
Of a level the 1000 likeliest places with p > 1e-4 are kept; the score is sqrt(p), and of boxes that overlap by more
than 0.9 only the best stays, at most 256 of a frame. Boxes are at least 0.01 px wide and high, and are not clipped.
Facts: VBench 0.1.5's configuration of GRiT (Base.yaml). Places with equal p are taken in reading order, level by level.
Shape legend: B frames, C channels, H W places of a level, N places or boxes of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from turbo_eval.scorers.vbench.encoders.backbone import finite
from turbo_eval.scorers.vbench.encoders.grit.fpn import STRIDES_PX

LEAST = 1e-4  # chance
PER_LEVEL = 1000
OVERLAP = 0.9
MOST = 256
NARROWEST_PX = 0.01
CONVOLUTIONS = 4
GROUPS = 32  # of the norms


@dataclass(frozen=True)
class Proposals:
    """Of one frame, the likeliest first. boxes_N4: x1, y1, x2, y2 in px, which may lie outside. scores_N: in (0, 1]."""

    boxes_N4: Tensor
    scores_N: Tensor


class Scale(nn.Module):
    """The factor of a level's reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Times the factor."""
        return x * self.scale


class CenterNetHead(nn.Module):
    """The same convolutions for every level, with a scale of its own for each."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        tower: list[nn.Module] = []
        for _ in range(CONVOLUTIONS):
            tower += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(GROUPS, channels), nn.ReLU()]
        self.bbox_tower = nn.Sequential(*tower)
        self.bbox_pred = nn.Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in STRIDES_PX)
        self.agn_hm = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Of each level the heat (B, 1, H, W) and the reaches (B, 4, H, W) left, up, right, down in strides, >= 0."""
        seen = [self.bbox_tower(level) for level in levels]
        return [(self.agn_hm(x), F.relu(scale(self.bbox_pred(x)))) for x, scale in zip(seen, self.scales, strict=True)]


class CenterNet(nn.Module):
    """The proposal generator, with the names of the published checkpoint."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.centernet_head = CenterNetHead(channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Proposals]:
        """Proposals of each frame of P3 to P7, (B, C, H, W) each; there may be none."""
        candidates = [
            likeliest(finite(heat.float(), "GRiT's proposals"), finite(reach.float(), "GRiT's proposals"), stride)
            for (heat, reach), stride in zip(self.centernet_head(levels), STRIDES_PX, strict=True)
        ]
        boxes, chances = (torch.cat(parts, 1) for parts in zip(*candidates, strict=True))
        return [proposals(b, p) for b, p in zip(boxes, chances, strict=True)]


def likeliest(heat_B1HW: Tensor, reach_B4HW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Boxes (B, N, 4) in px and chances (B, N) of the likeliest places of a level, likely or not."""
    width = heat_B1HW.shape[3]
    chances = heat_B1HW.sigmoid().flatten(1)
    chances, places = (x[:, :PER_LEVEL] for x in chances.sort(dim=1, descending=True, stable=True))
    reach = (reach_B4HW * stride).flatten(2).transpose(1, 2)
    reach = reach.gather(1, places[..., None].expand(-1, -1, 4))
    row, column = places // width, places % width
    point = (torch.stack((column, row), -1) * stride + stride // 2).float()
    first = point - reach[..., :2]
    last = torch.maximum(point + reach[..., 2:], first + NARROWEST_PX)
    return torch.cat((first, last), -1), chances


def proposals(boxes_N4: Tensor, chances_N: Tensor) -> Proposals:
    """A frame's best boxes. Of several with the score of the last one that is kept, all are."""
    likely = chances_N > LEAST
    boxes, scores = boxes_N4[likely], chances_N[likely].sqrt()
    keep = nms(boxes, scores, OVERLAP)
    boxes, scores = boxes[keep], scores[keep]
    if len(scores) > MOST:
        enough = scores >= scores[MOST - 1]
        boxes, scores = boxes[enough], scores[enough]
    return Proposals(boxes, scores)
