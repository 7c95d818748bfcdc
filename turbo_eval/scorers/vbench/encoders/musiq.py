"""What does MUSIQ, taught on SPAQ's photographs, say of every frame? VBench's imaging_quality (vbench 0.1.5).

Preprocessing `longer`, the default of VBench's command line: a frame whose longer side is above 512 px is shrunk to
int(512 / longer * (h, w)), bilinear without antialiasing, in float; then 0..1.
Shape legend: N frames, C colours, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import Backbone, known
from turbo_eval.scorers.vbench.encoders.musiq_net import MusiqNet
from turbo_train.rewards.published import take_weights

ROW = "musiq/spaq.pth"
LONGER_PX = 512


class Musiq(Backbone):
    """FrameScores from MUSIQ: about 0 (bad) to 100 (good)."""

    NAME = "musiq-spaq"
    FILES = (ROW,)
    ROWS = 8  # 300 patches and more a frame

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """The published network. What else a file holds is not looked at. UserError: another layout."""
        with torch.device("meta"):
            net = MusiqNet()
        (path,) = self.files.values()
        take_weights(net, known(tensors[ROW], net), path, "MUSIQ's SPAQ checkpoint as VBench reads it")
        return net.float()

    def frame_scores(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T,) scores of every frame of each clip, (T, H, W, C) RGB."""

        def look(frames_NHWC: Tensor) -> Tensor:
            assert self._net is not None
            scores: Tensor = self._net(prepare(frames_NHWC))
            return scores

        return self.see(clips, look)


def prepare(frames_NHWC: Tensor) -> Tensor:
    """(N, C, H, W) float32 in 0..1 from uint8 frames, at most 512 px long."""
    x_NCHW = frames_NHWC.permute(0, 3, 1, 2).contiguous().float()
    height, width = x_NCHW.shape[2:]
    if max(height, width) > LONGER_PX:
        scale = LONGER_PX / max(height, width)
        # Differs: a side that would vanish (a frame 512 times longer than wide) is 1 px, not an error.
        size = (max(1, int(scale * height)), max(1, int(scale * width)))
        x_NCHW = F.interpolate(x_NCHW, size=size, mode="bilinear", align_corners=False)
    return x_NCHW / 255
