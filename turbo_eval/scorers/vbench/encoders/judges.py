"""How do the embedded world's judges enter the dimension files? The judge networks behind the encoder protocols.

A judge is a reward model's class with other seeds and shapes, trained on clean captions; no judge is ever a reward
(turbo_train/world). Its id holds the first eight hex digits of its weights' sha256, so that scores of two builds are
never compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from turbo_eval.scorers.base import with_versions
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
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

    def image_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of length 1 of each clip, clip by clip: no company changes their last bit."""
        with torch.inference_mode():
            return [_numpy(self.model.features(_unit_frames(clip))) for clip in clips]


class VideoJudge:
    """VideoText from a judge's two towers."""

    def __init__(self, model: ViCLIPModel, encoder_id: str) -> None:
        self.model, self.encoder_id = model, encoder_id
        assert model.frames is not None
        self.num_frames = model.frames

    def video_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(D,) feature of length 1 of each clip, clip by clip: no company changes its last bit."""
        with torch.inference_mode():
            return [_numpy(self.model.features(_unit_frames(clip)[None])[0]) for clip in clips]

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of length 1; the model keeps the texts it has seen."""
        return _numpy(self.model.text_features([text])[0])


def _unit_frames(clip_THWC: ByteArray) -> torch.Tensor:
    """(T, C, H, W) float32 frames in [0, 1]."""
    frames_TCHW = np.ascontiguousarray(clip_THWC.transpose(0, 3, 1, 2))
    return torch.from_numpy(frames_TCHW.astype(np.float32) / np.float32(255))


def _numpy(features: torch.Tensor) -> FloatArray:
    return np.asarray(features.float().cpu().numpy(), np.float32)


def load_image_judge(folder: Path) -> ImageJudge:
    """The image judge of a folder, on the CPU. Raises UserError where it is incomplete."""
    return ImageJudge(load_openclip(folder), with_versions(f"embedded/judge-image@{weights_id(folder)}", "torch"))


def load_video_judge(folder: Path) -> VideoJudge:
    """The video judge of a folder, on the CPU. Raises UserError where it is incomplete."""
    return VideoJudge(load_viclip(folder), with_versions(f"embedded/judge-video@{weights_id(folder)}", "torch"))
