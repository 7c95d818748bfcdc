"""How well does one frame match a text? Image rewards and judges on open_clip's CLIP class.

Features: the class token's (or pooled) projection and the text's at the end token, scaled to length 1.
The embedded world's models and the published ViT-H-14 files are this one class at two sizes.
Shape legend: N images, C channels, H, W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from turbo_train.rewards.base import ImageReward
from turbo_train.rewards.folder import load_weights, read_folder
from turbo_train.rewards.preprocess import preprocess_from
from turbo_train.rewards.tokens import Pieces, Tokenizer

KIND = "open_clip.CLIP"


def new_clip(model_cfg: Mapping[str, Any]) -> CLIP:
    """An untrained open_clip CLIP from a `model_cfg` (embed_dim, vision_cfg, text_cfg, ...)."""
    return CLIP(**model_cfg)


class OpenClipModel(ImageReward):
    """An image reward around open_clip's CLIP."""

    net: CLIP
    blocks = (ResidualAttentionBlock,)

    def see(self, pixels: Tensor) -> Tensor:
        """(N, 3, size, size) normalised images to (N, D)."""
        features: Tensor = self.net.encode_image(pixels)
        return features

    def read(self, ids_NL: Tensor) -> Tensor:
        """(N, L) ids to (N, D)."""
        features: Tensor = self.net.encode_text(ids_NL)
        return features


def wrap_clip(
    net: CLIP, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], tokenizer: Tokenizer
) -> OpenClipModel:
    """The model around a network, its preprocessing read from the configs."""
    return OpenClipModel(net, preprocess_from(preprocess_cfg, int(model_cfg["vision_cfg"]["image_size"])), tokenizer)


def load_openclip(folder: Path, device: torch.device | str = "cpu") -> OpenClipModel:
    """Load a folder with weights in float32. Raises UserError where it is incomplete or of another class."""
    stored = read_folder(folder, KIND)
    net = new_clip(stored.model_cfg)
    load_weights(net, stored.weights, folder)
    tokenizer = Pieces(stored.tokenizer, int(stored.model_cfg["text_cfg"]["context_length"]))
    return wrap_clip(net, stored.model_cfg, stored.preprocess_cfg, tokenizer).to(device)
