"""Which numbers does aesthetic_quality average? LAION's linear head on CLIP ViT-L/14 (LAION-AI/aesthetic-predictor).

    score of a frame = weight . f / |f| + bias,  f the image feature; it learnt from people's ratings of 0 to 10
Length and head are in float32, whatever the tower computes in (`--precision bf16`, `--compat vbench-cuda`), as VBench
has it. Of the archive the image tower alone is kept; the whole of it must have the right layout.
Shape legend: N frames, T frames of a clip, H W pixels, C colours, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.clip import L_14, ClipSizes, OpenAiClip, take_image_tower
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform
from turbo_train.rewards.published import take_weights


class AestheticNet(nn.Module):
    """The tower and the head."""

    def __init__(self, tower: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """(N, C, S, S) normalised frames, in the tower's precision, to (N,) scores."""
        features = self.tower(pixels_NCHW)
        with torch.autocast(pixels_NCHW.device.type, enabled=False):
            scores: Tensor = self.head(F.normalize(features.float(), dim=-1)).squeeze(-1)
        return scores


class LaionAesthetic(OpenAiClip):
    """FrameScores of the aesthetic predictor, 0 to 10 on real weights."""

    NAME = "laion-aesthetic"
    FILES = ("clip/ViT-L-14.pt", "laion/sa_0_4_vit_l_14_linear.pth")
    PACKAGES = ("torch", "open_clip_torch")
    SIZES: ClassVar[ClipSizes] = L_14

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> AestheticNet:
        """Tower and head with the published weights. UserError: names or shapes differ."""
        archive, linear = (self._path(name) for name in self.FILES)
        tower = take_image_tower(tensors[self.FILES[0]], archive, self.SIZES, half=self.half)
        with torch.device("meta"):
            head = nn.Linear(self.SIZES.embed_dim, 1)
        take_weights(head, tensors[self.FILES[1]], linear, "LAION's linear head for CLIP ViT-L/14")
        return AestheticNet(tower, head.float())

    def frame_scores(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T,) scores of every frame of each clip, (T, H, W, C) RGB."""
        return self.see(clips, self._look)

    def _path(self, name: str) -> Path:
        return next(path for file, path in self.files.items() if file.name == name)

    def _look(self, frames_NHWC: Tensor) -> Tensor:
        assert self._net is not None
        pixels = clip_transform(frames_NHWC, self.SIZES.image_px)
        scores: Tensor = self._net(pixels.half() if self.half else pixels)
        return scores
