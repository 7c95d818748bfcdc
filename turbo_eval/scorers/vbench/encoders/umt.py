"""What does UMT say that the person in a clip does? VBench's human_action (vbench 0.1.5).

Preprocessing of 16 `middle` frames: short side to 256 px by OpenCV's bilinear resize of bytes (long side
int(256 * long / short)), centre square of 224 px, / 255, ImageNet's mean and deviation. The probability of each action
is a sigmoid of its own.
Shape legend: T frames, H W pixels, C colours (RGB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import Backbone, known, numpy_of
from turbo_eval.scorers.vbench.encoders.umt_net import UmtNet, UmtSizes, umt_position_table
from turbo_train.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD
from turbo_train.rewards.published import take_weights

ROW = "umt/l16_ptk710_ftk710_ftk400_f16_res224.pth"
SHORTER_PX, SQUARE_PX = 256, 224
POSITIONS = "pos_embed"


class Umt(Backbone):
    """ActionClassifier from UMT ViT-L/16."""

    NAME = "umt-l16-k400"
    FILES = (ROW,)
    PACKAGES = ("torch", "opencv")
    ROWS = 2  # clips; a clip is 3136 tokens
    num_frames = UmtSizes().frames

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """The published network. UserError: another layout.

        The table of positions may be missing, and is then the sinusoid that it begins as: so it is in VBench, and the
        published file has 607 MB, which is what all the other tensors weigh in float16.
        What else a file holds is not looked at, as in VBench.
        Differs: VBench's loader lets any other tensor be missing too and leaves it at random.
        """
        with torch.device("meta"):
            net = UmtNet()
        (path,) = self.files.values()
        state = known(tensors[ROW], net)
        if POSITIONS not in state:
            state[POSITIONS] = umt_position_table()
        take_weights(net, state, path, "UMT's ViT-L/16 checkpoint as VBench reads it")
        return net.float()

    def action_probabilities(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(400,) probability of each action for each clip of 16 frames, (T, H, W, C) RGB."""
        self.load()
        assert self._net is not None
        seen: list[FloatArray] = []
        for first in range(0, len(clips), self.rows):
            squares = np.stack([middle_square(clip) for clip in clips[first : first + self.rows]])
            with self.computing():
                logits = self._net(normal(torch.from_numpy(squares).to(self.mode.device)))
                seen.extend(numpy_of(logits.float().sigmoid()))
        return seen


def middle_square(clip_THWC: ByteArray) -> ByteArray:
    """(T, 224, 224, C) bytes: the middle of the frames, their short side at 256 px."""
    import cv2

    height, width = clip_THWC.shape[1:3]
    short = min(height, width)
    if short != SHORTER_PX:
        height, width = int(SHORTER_PX * height / short), int(SHORTER_PX * width / short)
        clip_THWC = np.stack([cv2.resize(frame, (width, height)) for frame in clip_THWC])  # bilinear, its default
    top, left = round((height - SQUARE_PX) / 2), round((width - SQUARE_PX) / 2)
    return clip_THWC[:, top : top + SQUARE_PX, left : left + SQUARE_PX]


def normal(frames_BTHWC: Tensor) -> Tensor:
    """(B, T, C, H, W) float32 of bytes: (x / 255 - mean) / deviation."""
    x = frames_BTHWC.permute(0, 1, 4, 2, 3).contiguous().float().div_(255)
    mean, deviation = (torch.tensor(values, device=x.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return x.sub_(mean).div_(deviation)
