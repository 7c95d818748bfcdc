"""How do decoded frames become what VBench's image towers were given?

clip_transform   short side to 224 (bicubic, no antialias), centre square, / 255, CLIP's mean and deviation: on floats
                 nothing is clamped, so bicubic overshoots stay; on bytes it is clamped and rounded to bytes again
picture_square   the same through PIL, which always antialiases and gives bytes
dino_transform   short side to 224 (bilinear, no antialias), no crop, / 255, ImageNet's mean and deviation
Source: clip_transform, clip_transform_Image and dino_transform of vbench 0.1.5 (utils.py). Its load_video gives floats,
which CLIP and DINO see (subject, background, aesthetic); its read_frames_decord_by_fps gives bytes, which ViCLIP sees
(temporal_style, overall_consistency); appearance_style goes through PIL.
The long side is int(size * long / short), as torchvision has it. Bytes come in, so that a device is sent a quarter of
what floats would weigh.
Shape legend: N frames, H W pixels, C colours (RGB), S the square's side.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import ByteArray
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Triplet

SIZE_PX = 224


def clip_transform(frames_NHWC: Tensor, size_px: int = SIZE_PX, *, rounded: bool = False) -> Tensor:
    """(N, C, S, S) float32 of (N, H, W, C) bytes, on their device. rounded: back to bytes after the resize."""
    square = _middle(_resized(frames_NHWC, size_px, "bicubic"), size_px)
    return _normal(square.clamp(0, 255).round() if rounded else square, CLIP_MEAN, CLIP_STD)


def dino_transform(frames_NHWC: Tensor, size_px: int = SIZE_PX) -> Tensor:
    """(N, C, H', W') float32 of (N, H, W, C) bytes, on their device; the shorter of H' and W' is size_px."""
    return _normal(_resized(frames_NHWC, size_px, "bilinear"), IMAGENET_MEAN, IMAGENET_STD)


def picture_square(clip_THWC: ByteArray, size_px: int = SIZE_PX) -> ByteArray:
    """(T, S, S, C) bytes of (T, H, W, C) bytes, each frame resized and cropped as a PIL image."""
    height, width = _sides(clip_THWC.shape[1], clip_THWC.shape[2], size_px)
    top, left = _offset(height, size_px), _offset(width, size_px)
    box = (left, top, left + size_px, top + size_px)
    pictures = (Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in clip_THWC)
    return np.stack([np.asarray(picture.crop(box)) for picture in pictures])


def picture_transform(squares_NHWC: Tensor) -> Tensor:
    """(N, C, S, S) float32 of picture_square's bytes, on their device."""
    return _normal(squares_NHWC.permute(0, 3, 1, 2).float(), CLIP_MEAN, CLIP_STD)


def _sides(height: int, width: int, size_px: int) -> tuple[int, int]:
    """Height and width with the short side at size_px."""
    short = min(height, width)
    return int(size_px * height / short), int(size_px * width / short)


def _offset(side_px: int, size_px: int) -> int:
    """Where a centred square begins; halves are rounded to even, as Python and torchvision do."""
    return round((side_px - size_px) / 2)


def _resized(frames_NHWC: Tensor, size_px: int, mode: str) -> Tensor:
    """(N, C, H', W') float32 in 0..255, or beyond it where bicubic overshoots."""
    frames = frames_NHWC.permute(0, 3, 1, 2).contiguous().float()
    sides = _sides(frames.shape[2], frames.shape[3], size_px)
    return frames if sides == frames.shape[2:] else F.interpolate(frames, sides, mode=mode, align_corners=False)


def _middle(frames_NCHW: Tensor, size_px: int) -> Tensor:
    top, left = (_offset(side, size_px) for side in frames_NCHW.shape[2:])
    return frames_NCHW[..., top : top + size_px, left : left + size_px]


def _normal(frames_NCHW: Tensor, mean: Triplet, std: Triplet) -> Tensor:
    """(x / 255 - mean) / std per colour, in this order: it decides the last bit."""
    mean_C11, std_C11 = (torch.tensor(values, device=frames_NCHW.device)[:, None, None] for values in (mean, std))
    return frames_NCHW.div(255).sub_(mean_C11).div_(std_C11)
