"""How do frames of any size come to the size that is trained on? Lanczos with antialias (Pillow), 8 bits in and out.

crop     the largest central part of the wanted aspect is scaled to the size: nothing is distorted, margins are lost
squash   the whole frame is scaled to the size, whatever that does to its aspect
Differs: T2V-Turbo (code at eaae323) squashes, by OpenCV's Lanczos, which does not antialias. The crop is central, not
random: the caption tells of what is shown, which seldom stands in a margin.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Resize = Literal["crop", "squash"]


def resize(frames_THWC: NDArray[np.uint8], height_px: int, width_px: int, how: Resize = "crop") -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 to (T, height_px, width_px, 3) uint8; smaller frames are enlarged."""
    if frames_THWC.shape[1:3] == (height_px, width_px):
        return frames_THWC
    height, width = frames_THWC.shape[1:3]
    box = (0.0, 0.0, float(width), float(height)) if how == "squash" else part(height, width, height_px / width_px)
    size = (width_px, height_px)
    scaled = (Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=box) for frame in frames_THWC)
    return np.stack([np.asarray(image, np.uint8) for image in scaled])


def part(height_px: int, width_px: int, aspect: float) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the largest central part whose height / width is `aspect`; fractions of pixels."""
    wide, high = min(width_px, height_px / aspect), min(height_px, width_px * aspect)
    left, top = (width_px - wide) / 2, (height_px - high) / 2
    return left, top, left + wide, top + high
