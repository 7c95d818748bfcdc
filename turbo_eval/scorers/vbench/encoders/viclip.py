"""What are the features of overall_consistency and temporal_style? ViCLIP-L/14 (InternVid, arXiv 2307.06942).

The network is the reward's (turbo_train/rewards/viclip_net.py). Its frames are another: VBench resizes without
antialias, to bytes, crops, and normalises as for CLIP; the reward antialiases floats and normalises as for ImageNet.
Texts have 32 tokens, of the vocabulary that open_clip ships and ViCLIP's authors use. One computation of a clip, and
one of a text, serve both dimensions.
Shape legend: B clips, T frames of a clip, H W pixels, C colours, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Backbone, Mode, numpy_of
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_clip
from turbo_train.rewards.published import take_weights
from turbo_train.rewards.text_cache import TextCache
from turbo_train.rewards.tokens import BytePairs
from turbo_train.rewards.viclip import VICLIP_L_14, WEIGHTS
from turbo_train.rewards.viclip_net import ViCLIP, new_viclip
from turbo_train.weights.table import WeightFile


class ViClip(Backbone):
    """VideoText of ViCLIP-L/14. rows: clips in a forward pass; one has 2,049 tokens."""

    NAME = "viclip-l14"
    FILES = (WEIGHTS,)
    PACKAGES = ("torch", "open_clip_torch")
    ROWS = 2
    SIZES: ClassVar[Mapping[str, Any]] = VICLIP_L_14

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        super().__init__(files, mode)
        self.num_frames = int(self.SIZES["vision"]["num_frames"])
        self._texts = TextCache(self._read)

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> ViCLIP:
        """The network with the published weights. UserError: names or shapes differ."""
        (path,) = self.files.values()
        with torch.device("meta"):
            net = new_viclip(self.SIZES)
        take_weights(net, tensors[self.FILES[0]], path, "the published ViCLIP-L/14")
        quicken_clip(net.vision_encoder.transformer.resblocks)
        self._tokens = BytePairs(int(self.SIZES["text"]["context_length"]))
        return net.float()

    def video_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(D,) feature of each clip of `num_frames` RGB frames, (T, H, W, C); of any sizes in common batches."""
        self.load()
        seen: list[FloatArray] = []
        for start in range(0, len(clips), self.rows):
            with self.computing():
                seen += list(numpy_of(self._look(clips[start : start + self.rows])))
        return seen

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of one text; it is computed once."""
        self.load()
        return numpy_of(self._texts([text])[0])

    def _look(self, clips: Sequence[ByteArray]) -> Tensor:
        net: Any = self._net
        size_px = int(self.SIZES["vision"]["input_resolution"])
        frames = (torch.tensor(clip, device=self.mode.device) for clip in clips)
        pixels_BTCHW = torch.stack([clip_transform(clip_THWC, size_px, rounded=True) for clip_THWC in frames])
        features_BD: Tensor = net.vision_encoder(pixels_BTCHW)
        return features_BD

    def _read(self, texts: Sequence[str]) -> Tensor:
        net: Any = self._net
        with self.computing():
            features: Tensor = net.text_encoder(self._tokens(texts).to(self.mode.device))
        return features
