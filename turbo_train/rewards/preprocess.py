"""How do frames of any size become what a reward model was trained on?

Three ways to the model's square, named as open_clip names them (`resize_mode`):
squash    both sides to the size, the aspect is lost (CLIP, PickScore in T2V-Turbo);
shortest  short side to the size, then a crop (ViCLIP, InternVideo2);
longest   long side to the size, centred on black (HPSv2.1's letterbox).
All bicubic with antialias (cubic a = -0.5, PIL's filter) on float tensors in [0, 1], differentiable; values are not
clamped in between, so they may overshoot, which 8-bit pipelines cut off. float16 and bfloat16 become float32 first:
torch resizes neither on a CPU, and their steps are coarser than 8-bit ones near white.
Differs: T2V-Turbo crops the video rewards' frames at random. Here the crop is central, so that a score is a function of
its clip; crop="random" brings back one random place per clip, the same for all its frames.
Shape legend: N images or clips, T frames, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.rewards.modes import CROPS, MODES, Crop, Mode

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


def resize_shortest(frames_NCHW: Tensor, size_px: int) -> Tensor:
    """Short side to `size_px`, aspect kept: each side is round(side * size_px / short side)."""
    height, width = frames_NCHW.shape[-2:]
    short = min(height, width)
    return resize(frames_NCHW, round(height * size_px / short), round(width * size_px / short))


def crop(frames_NCHW: Tensor, size_px: int, left: int | None = None, top: int | None = None) -> Tensor:
    """A square of `size_px`; central, rounded as torchvision's CenterCrop is, unless an offset is given.

    Differs: T2V-Turbo skips resize and crop together when the short side has the size already, which lets
    frames that are not square through uncropped; here they are cropped.
    """
    height, width = frames_NCHW.shape[-2:]
    top = round((height - size_px) / 2) if top is None else top
    left = round((width - size_px) / 2) if left is None else left
    return frames_NCHW[..., top : top + size_px, left : left + size_px]


def random_place(spare_y: int, spare_x: int, generator: torch.Generator | None = None) -> tuple[int, int]:
    """(left, top) of a crop, each place as likely as another. Two numbers are drawn whatever the size."""
    device = "cpu" if generator is None else generator.device
    y, x = torch.rand(2, generator=generator, device=device, dtype=torch.float64).tolist()
    return int(x * (spare_x + 1)), int(y * (spare_y + 1))


def letterbox(frames_NCHW: Tensor, size_px: int) -> Tensor:
    """Long side to `size_px`, centred on black; an odd remainder goes below and to the right.

    Each side is round(side * (size_px / long side)), as in open_clip 2's ResizeMaxSize, which HPSv2 uses.
    Differs: there, images whose long side has the size already stay as they are, square or not; here they are padded.
    A side is never less than one pixel.
    """
    height, width = frames_NCHW.shape[-2:]
    scale = size_px / max(height, width)
    inner = resize(frames_NCHW, max(1, round(height * scale)), max(1, round(width * scale)))
    spare_y, spare_x = size_px - inner.shape[-2], size_px - inner.shape[-1]
    return F.pad(inner, (spare_x // 2, spare_x - spare_x // 2, spare_y // 2, spare_y - spare_y // 2))


@dataclass(frozen=True)
class Preprocess:
    """Resize to a square of `size_px`, then (x - mean) / std per channel, in float32 or float64.

    crop: what "shortest" keeps of the long side; the other modes have no use for it. UserError: unknown mode or crop.
    """

    size_px: int
    mean: Triplet
    std: Triplet
    mode: Mode = "squash"
    crop: Crop = "centre"

    def __post_init__(self) -> None:
        _one_of("resize_mode", self.mode, MODES)
        _one_of("crop", self.crop, CROPS)

    def __call__(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images (N, 3, H, W) or clips (N, T, 3, H, W) in [0, 1], their last two sides size_px, normalised.

        generator: draws the places of random crops, one for each image or clip in turn; None: torch's default one on
        the CPU. A batch cut into pieces meets the same places.
        """
        if pixels.ndim not in (4, 5) or pixels.shape[-3] != 3 or not pixels.is_floating_point():
            raise ValueError(
                f"frames are {tuple(pixels.shape)} {pixels.dtype}; "
                "(N, 3, H, W) or (N, T, 3, H, W) floats in [0, 1] are needed"
            )
        frames_NCHW = pixels.flatten(0, -4).to(torch.promote_types(pixels.dtype, torch.float32))
        if self.mode == "shortest" and self.crop == "random":
            whole = resize_shortest(frames_NCHW, self.size_px).unflatten(0, pixels.shape[:-3])
            return self.normalise(torch.stack([self._cut(clip, generator) for clip in whole]))
        normal: Tensor = self.normalise(self.square(frames_NCHW)).unflatten(0, pixels.shape[:-3])
        return normal

    def square(self, frames_NCHW: Tensor) -> Tensor:
        """(N, 3, size_px, size_px), still in [0, 1] up to bicubic overshoot; cropped in the centre."""
        if self.mode == "squash":
            return resize(frames_NCHW, self.size_px, self.size_px)
        if self.mode == "shortest":
            return crop(resize_shortest(frames_NCHW, self.size_px), self.size_px)
        return letterbox(frames_NCHW, self.size_px)

    def _cut(self, frames: Tensor, generator: torch.Generator | None) -> Tensor:
        """One random square of an image or of all frames of a clip."""
        height, width = frames.shape[-2:]
        return crop(frames, self.size_px, *random_place(height - self.size_px, width - self.size_px, generator))

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


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(
            found=f"{name} {value!r}",
            expected=f"one of {', '.join(choices)}",
            run_next="correct preprocess_cfg in the model's config.json" if name == "resize_mode" else "",
        )
