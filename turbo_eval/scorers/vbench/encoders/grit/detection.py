"""What objects does GRiT find in frames? One pass: backbone, proposals, cascade; words come after (net.py).

A frame is RGB, minus (123.675, 116.28, 103.53), / (58.395, 57.12, 57.375), and then padded with zeros below and to the
right to multiples of 32 px (VBench 0.1.5). The padding is looked at like a picture, and proposals may lie in it; boxes
are clipped to the frame's own size. Frames of one padded size share a batch.
Differs: the mask head that VBench runs, twice, is not built; no score reads it.
Shape legend: N frames, C colours, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.grit.cascade import Cascade, Detections
from turbo_eval.scorers.vbench.encoders.grit.centernet import CenterNet
from turbo_eval.scorers.vbench.encoders.grit.fpn import OWN, SIDE_PX, Pyramid
from turbo_eval.scorers.vbench.encoders.grit.vitdet import VitDetSizes

MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class DetectionSizes:
    """Of the published network. channels: of the pyramid; hidden: of the box heads."""

    vit: VitDetSizes = field(default_factory=VitDetSizes)
    channels: int = 256
    hidden: int = 1024


class GritDetection(nn.Module):
    """GRiT without its text decoder, with the names of the published checkpoint."""

    def __init__(self, sizes: DetectionSizes | None = None) -> None:
        super().__init__()
        s = sizes or DetectionSizes()
        self.backbone = Pyramid(s.vit, s.channels)
        self.proposal_generator = CenterNet(s.channels)
        self.roi_heads = Cascade(s.channels, s.hidden)

    def detect(self, pictures_NCHW: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Objects of each frame of `pictures`; sizes: each frame's own height and width in px, before padding."""
        levels = self.backbone(pictures_NCHW)
        return list(self.roi_heads(levels[: len(OWN)], self.proposal_generator(levels), sizes))


def pictures(frames_NHWC: Tensor) -> Tensor:
    """(N, C, H', W') float32 normalised and padded, of RGB frames in 0..255, bytes or floats."""
    mean, deviation = (torch.tensor(values, device=frames_NHWC.device) for values in (MEAN, DEVIATION))
    x = ((frames_NHWC.float() - mean) / deviation).permute(0, 3, 1, 2)
    return F.pad(x, (0, -x.shape[3] % SIDE_PX, 0, -x.shape[2] % SIDE_PX))
