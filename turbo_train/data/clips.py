"""What does a clip's file become for training? Some of its frames, at the wanted speed and size."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from turbo_train.data.resize import Resize, resize
from turbo_train.data.skipped import Unusable
from turbo_train.data.temporal import window
from turbo_train.video_io import UnreadableVideo, read_window


@dataclass(frozen=True)
class Wanted:
    """The clips that are trained on. fps: of their frames. latent_shape (C, T, h, w): what the VAE makes of them."""

    frames: int
    height_px: int
    width_px: int
    fps: float
    latent_shape: tuple[int, int, int, int]
    resize: Resize = "crop"

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height_px}x{self.width_px} px at {self.fps:g} fps"


def read_clip(file: Path | bytes, wanted: Wanted, generator: np.random.Generator) -> Tensor:
    """frames_TCHW, uint8. The place in the clip comes from the generator. Unusable: broken, too short, too slow."""

    def choose(clip_frames: int, native_fps: float) -> range:
        return window(clip_frames, native_fps, wanted.frames, wanted.fps, generator)

    opened = file if isinstance(file, Path) else io.BytesIO(file)
    try:
        video = read_window(opened, choose, "the clip")
    except UnreadableVideo as error:
        raise Unusable(error.found) from error
    frames_THWC = resize(video.frames_THWC, wanted.height_px, wanted.width_px, wanted.resize)
    return torch.from_numpy(np.ascontiguousarray(frames_THWC.transpose(0, 3, 1, 2)))


def read_caption(data: bytes) -> str:
    """A caption's text without white space around it. Unusable: empty, or no UTF-8."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Unusable("its caption is no UTF-8") from error
    if not text:
        raise Unusable("its caption is empty")
    return text
