"""What are the features of subject_consistency? DINO ViT-B/16's class token (Caron et al. 2021, arXiv 2104.14294).

    patches of 16 + [class token] + positions -> 12 blocks -> LayerNorm(class token), 768 numbers, not scaled
The blocks are timm's. Frames are not cropped, so the table of 14 x 14 positions is stretched to the frame's patches as
DINO's released code does it: bicubic by the factors (rows + 0.1) / 14 and (columns + 0.1) / 14; the 0.1, there against
rounding, also moves the sampling points. A remainder of less than a patch is not looked at.
Shape legend: N frames, C colours, H W pixels, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import Backbone
from turbo_eval.scorers.vbench.encoders.transforms import dino_transform
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_timm
from turbo_train.rewards.published import take_weights


@dataclass(frozen=True)
class DinoSizes:
    """The defaults are ViT-B/16's at 224 pixels."""

    image_px: int = 224
    patch_px: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12


def new_dino(sizes: DinoSizes) -> VisionTransformer:
    """timm's vision transformer without a head; its names are the published ones."""
    return VisionTransformer(
        img_size=sizes.image_px,
        patch_size=sizes.patch_px,
        embed_dim=sizes.width,
        depth=sizes.layers,
        num_heads=sizes.heads,
        num_classes=0,
        weight_init="skip",
    )


def class_tokens(net: VisionTransformer, frames_NCHW: Tensor) -> Tensor:
    """(N, D) features of (N, C, H, W) normalised frames of any shape."""
    parts: Any = net
    patches_NPD = parts.patch_embed.proj(frames_NCHW).flatten(2).transpose(1, 2)
    x_NLD = torch.cat([parts.cls_token.expand(len(patches_NPD), -1, -1), patches_NPD], dim=1)
    patch_px = parts.patch_embed.patch_size[0]
    seen_NLD = parts.blocks(x_NLD + positions(parts.pos_embed, frames_NCHW.shape[2], frames_NCHW.shape[3], patch_px))
    features: Tensor = parts.norm(seen_NLD[:, 0])
    return features


def positions(table_1LD: Tensor, height_px: int, width_px: int, patch_px: int) -> Tensor:
    """(1, L, D) positions of the class token and of a frame's patches, from those of a square of patches."""
    rows, columns = height_px // patch_px, width_px // patch_px
    if height_px == width_px and rows * columns == table_1LD.shape[1] - 1:
        return table_1LD
    side = round((table_1LD.shape[1] - 1) ** 0.5)
    grid_1Dhw = table_1LD[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    factors = ((rows + 0.1) / side, (columns + 0.1) / side)
    stretched = F.interpolate(grid_1Dhw, scale_factor=factors, mode="bicubic")
    return torch.cat([table_1LD[:, :1], stretched.flatten(2).transpose(1, 2)], dim=1)


class Dino(Backbone):
    """ImageFeatures of DINO ViT-B/16."""

    NAME = "dino-vit-b16"
    FILES = ("dino/vitb16.pth",)
    PACKAGES = ("torch", "timm")
    SIZES: ClassVar[DinoSizes] = DinoSizes()

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> VisionTransformer:
        """The network with the published weights. UserError: names or shapes differ."""
        (path,) = self.files.values()
        with torch.device("meta"):
            net = new_dino(self.SIZES)
        take_weights(net, tensors[self.FILES[0]], path, "DINO's published ViT-B/16")
        quicken_timm(net.blocks)
        return net.float()

    def image_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of every frame of each clip, (T, H, W, C) RGB."""
        return self.see(clips, self._look)

    def _look(self, frames_NHWC: Tensor) -> Tensor:
        assert isinstance(self._net, VisionTransformer)
        return class_tokens(self._net, dino_transform(frames_NHWC, self.SIZES.image_px))
