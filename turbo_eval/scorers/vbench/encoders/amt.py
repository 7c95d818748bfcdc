"""What lies half-way between two frames, by AMT-S? FrameInterpolator on our own AMT network (amt_net.py).

Frames / 255, border repeated to multiples of 16; the network's frame, cut to size, times 255, truncated to uint8, not
rounded (vbench 0.1.5). Pairs go through the network in batches.
Differs: where the padded side is below 128 px the border repeats up to there; VBench's middle of such frames is NaN.
Shape legend: N pairs, H W pixels, C colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders import ByteArray
from turbo_eval.scorers.vbench.encoders.amt_net import AmtConfig, AmtNet
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Backbone, Mode
from turbo_eval.scorers.vbench.encoders.padding import LEAST_PX, Padding
from turbo_eval.scorers.vbench.encoders.raft_names import encoder_name
from turbo_train.nets.key_layout import check_layout
from turbo_train.weights.table import WeightFile

STRIDE = 16
FEATURES = "feat_encoder."


class Amt(Backbone):
    """AMT-S's frame half-way."""

    NAME = "amt-s"
    FILES = ("amt/amt-s.pth",)
    PACKAGES = ("torch", "torchvision")
    SMALLEST_PX = LEAST_PX - STRIDE + 1

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        super().__init__(files, mode)
        self.rows = 1 if mode.device == "cpu" else 8  # pairs

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """AMT-S with the file's weights. UserError: not its layout."""
        (published,) = tensors.values()
        return build_amt(published, self.FILES[0])

    def middles(self, first_NHWC: ByteArray, second_NHWC: ByteArray) -> ByteArray:
        """(N, H, W, C) frames half-way."""
        height, width = first_NHWC.shape[1:3]
        self.load()
        assert self._net is not None
        padding = Padding.to_multiple(height, width, STRIDE)
        enlarging = Padding.to_least(*padding.sides(height, width), LEAST_PX)
        found = []
        for start in range(0, len(first_NHWC), self.rows):
            rows = slice(start, start + self.rows)
            with self.computing():
                pictures = (self._pictures(frames[rows]) for frames in (first_NHWC, second_NHWC))
                first, second = (enlarging.put(padding.put(frames)) for frames in pictures)
                middle = padding.cut(enlarging.cut(self._net(first, second))).float()
                found.append((middle * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(found)

    def _pictures(self, frames_NHWC: ByteArray) -> Tensor:
        frames = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).to(self.mode.device)
        return frames.permute(0, 3, 1, 2).float() / 255


def published_name(name: str) -> str:
    """The published name of a parameter; the features' encoder is torchvision's."""
    return FEATURES + encoder_name(name.removeprefix(FEATURES)) if name.startswith(FEATURES) else name


def build_amt(published: Mapping[str, Tensor], where: str, config: AmtConfig = AmtConfig()) -> nn.Module:  # noqa: B008
    """The network with weights under their published names. UserError: other names or shapes."""
    with torch.device("meta"):
        net = AmtNet(config)
    names = {key: published_name(key) for key in net.state_dict()}
    layout = {names[key]: value.shape for key, value in net.state_dict().items()}
    check_layout(published, layout, where, "AMT-S (amt-s.pth)")
    net.load_state_dict({key: published[name] for key, name in names.items()}, assign=True)
    return net.float()
