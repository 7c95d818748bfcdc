"""How do the embedded world's judges enter the dimension files? The judge networks behind the encoder protocols.

A judge is a reward model's class with other seeds and shapes, trained on clean captions; no judge is ever a reward
(turbo_train/world). Its id holds the first eight hex digits of its weights' sha256, so that scores of two builds are
never compared.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from turbo_eval.scorers.base import with_versions
from turbo_eval.scorers.vbench.encoders import FloatArray
from turbo_train.rewards.openclip import OpenClipModel, load_openclip
from turbo_train.rewards.viclip import ViCLIPModel, load_viclip

WEIGHTS = "model.safetensors"


def weights_id(folder: Path) -> str:
    """First eight hex digits of the sha256 of a judge's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:8]


class ImageJudge:
    """ImageFeatures from a judge's image tower."""

    def __init__(self, model: OpenClipModel, encoder_id: str) -> None:
        self.model, self.encoder_id = model, encoder_id

    def image_features(self, frames_NCHW: FloatArray) -> FloatArray:
        """(N, D) features of length 1 of frames in [0, 1]."""
        with torch.inference_mode():
            features = self.model.features(torch.from_numpy(frames_NCHW))
        return np.asarray(features.float().cpu().numpy(), np.float32)


class VideoJudge:
    """VideoText from a judge's two towers."""

    def __init__(self, model: ViCLIPModel, encoder_id: str) -> None:
        self.model, self.encoder_id = model, encoder_id
        assert model.frames is not None
        self.num_frames = model.frames

    def video_features(self, frames_TCHW: FloatArray) -> FloatArray:
        """(D,) feature of length 1 of a clip in [0, 1]."""
        with torch.inference_mode():
            features = self.model.features(torch.from_numpy(np.ascontiguousarray(frames_TCHW))[None])
        return np.asarray(features[0].float().cpu().numpy(), np.float32)

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of length 1; the model keeps the texts it has seen."""
        return np.asarray(self.model.text_features([text])[0].float().cpu().numpy(), np.float32)


def load_image_judge(folder: Path) -> ImageJudge:
    """The image judge of a folder, on the CPU. Raises UserError where it is incomplete."""
    return ImageJudge(load_openclip(folder), with_versions(f"embedded/judge-image@{weights_id(folder)}", "torch"))


def load_video_judge(folder: Path) -> VideoJudge:
    """The video judge of a folder, on the CPU. Raises UserError where it is incomplete."""
    return VideoJudge(load_viclip(folder), with_versions(f"embedded/judge-video@{weights_id(folder)}", "torch"))
