"""How do frames of any size become what a reward model was trained on?

Three ways to the model's square, named as open_clip names them (`resize_mode`):
squash    both sides to the size, the aspect is lost (CLIP, PickScore in T2V-Turbo);
shortest  short side to the size, then a centre crop (ViCLIP, InternVideo2, ImageReward);
longest   long side to the size, centred on black (HPSv2.1's letterbox).
All bicubic with antialias, on float tensors in [0, 1], differentiable; values are not clamped in between.
Differs: T2V-Turbo crops the video rewards' frames at random; here the crop is central unless `left` and
`top` say otherwise, so that a score is a function of its clip.
Shape legend: N images, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.rewards.modes import MODES, Crop, Mode

Triplet = tuple[float, float, float]
CLIP_MEAN: Triplet = (0.48145466, 0.4578275, 0.40821073)  # open_clip.constants.OPENAI_DATASET_MEAN
CLIP_STD: Triplet = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Triplet = (0.485, 0.456, 0.406)  # used by ViCLIP and InternVideo2
IMAGENET_STD: Triplet = (0.229, 0.224, 0.225)


def resize(frames_NCHW: Tensor, height_px: int, width_px: int) -> Tensor:
    """Bicubic with antialias; the input itself if it already has the size."""
    if frames_NCHW.shape[-2:] == (height_px, width_px):
        return frames_NCHW
    return F.interpolate(frames_NCHW, (height_px, width_px), mode="bicubic", antialias=True, align_corners=False)


def scaled_size(height_px: int, width_px: int, side_px: int, target_px: int) -> tuple[int, int]:
    """Height and width after scaling the side `side_px` to the target, each rounded."""
    return round(height_px * target_px / side_px), round(width_px * target_px / side_px)


def resize_shortest(frames_NCHW: Tensor, size_px: int) -> Tensor:
    """Short side to `size_px`, aspect kept."""
    height, width = frames_NCHW.shape[-2:]
    return resize(frames_NCHW, *scaled_size(height, width, min(height, width), size_px))


def crop(frames_NCHW: Tensor, size_px: int, left: int | None = None, top: int | None = None) -> Tensor:
    """A square of `size_px`; central unless an offset is given.

    Differs: T2V-Turbo skips resize and crop together when the short side has the size already, which lets
    frames that are not square through uncropped; here they are cropped.
    """
    height, width = frames_NCHW.shape[-2:]
    top = (height - size_px) // 2 if top is None else top
    left = (width - size_px) // 2 if left is None else left
    return frames_NCHW[..., top : top + size_px, left : left + size_px]


def letterbox(frames_NCHW: Tensor, size_px: int) -> Tensor:
    """Long side to `size_px`, centred on black."""
    height, width = frames_NCHW.shape[-2:]
    inner = resize(frames_NCHW, *scaled_size(height, width, max(height, width), size_px))
    spare_y, spare_x = size_px - inner.shape[-2], size_px - inner.shape[-1]
    return F.pad(inner, (spare_x // 2, spare_x - spare_x // 2, spare_y // 2, spare_y - spare_y // 2))


@dataclass(frozen=True)
class Preprocess:
    """Resize to a square of `size_px`, then (x - mean) / std per channel. Call it with (N, 3, H, W) in [0, 1]."""

    size_px: int
    mean: Triplet
    std: Triplet
    mode: Mode = "squash"
    crop: Crop = "centre"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(
                found=f"resize_mode {self.mode!r}",
                expected=f"one of {', '.join(MODES)}",
                run_next="correct preprocess_cfg in the model's config.json",
            )

    def of(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images (N, 3, H, W) or clips (N, T, 3, H, W) in [0, 1], their last two sides size_px, normalised.

        generator: draws the places of random crops, one for each image or clip.
        """
        frames_NCHW: Tensor = self(pixels.flatten(0, -4))
        return frames_NCHW.unflatten(0, pixels.shape[:-3])

    def __call__(self, frames_NCHW: Tensor) -> Tensor:
        """(N, 3, size_px, size_px), normalised."""
        if frames_NCHW.ndim != 4 or frames_NCHW.shape[1] != 3 or not frames_NCHW.is_floating_point():
            raise ValueError(
                f"frames are {tuple(frames_NCHW.shape)} {frames_NCHW.dtype}; (N, 3, H, W) floats in [0, 1] are needed"
            )
        return self.normalise(self.square(frames_NCHW))

    def square(self, frames_NCHW: Tensor) -> Tensor:
        """(N, 3, size_px, size_px), still in [0, 1] up to bicubic overshoot."""
        if self.mode == "squash":
            return resize(frames_NCHW, self.size_px, self.size_px)
        if self.mode == "shortest":
            return crop(resize_shortest(frames_NCHW, self.size_px), self.size_px)
        return letterbox(frames_NCHW, self.size_px)

    def normalise(self, frames_NCHW: Tensor) -> Tensor:
        """(x - mean) / std per channel."""
        mean = torch.tensor(self.mean, dtype=frames_NCHW.dtype, device=frames_NCHW.device)
        std = torch.tensor(self.std, dtype=frames_NCHW.dtype, device=frames_NCHW.device)
        return (frames_NCHW - mean[:, None, None]) / std[:, None, None]


def preprocess_from(config: Mapping[str, Any], size_px: int) -> Preprocess:
    """The `preprocess_cfg` of a config.json (open_clip's field names: mean, std, resize_mode)."""
    mean, std = (tuple(float(v) for v in config[name]) for name in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise UserError(
            found=f"mean {list(mean)} and std {list(std)} in preprocess_cfg",
            expected="three numbers each",
            run_next="correct the model's config.json",
        )
    return Preprocess(
        size_px, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), config.get("resize_mode", "squash")
    )
