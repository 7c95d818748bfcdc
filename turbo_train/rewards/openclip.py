"""How well does one frame match a text? Image rewards and judges on open_clip's CLIP class.

Features: the class token's (or pooled) projection and the text's at the end token, scaled to length 1.
The embedded world's models and the published ViT-H-14 files are this one class at two sizes.
Shape legend: N images, C channels, H, W pixels, L tokens, D features.
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
from turbo_train.rewards.modes import Mode
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess, preprocess_from
from turbo_train.rewards.published import take_weights
from turbo_train.rewards.tokens import BytePairs, Pieces, Tokenizer

KIND = "open_clip.CLIP"
VIT_H_14: Mapping[str, Any] = {  # open_clip's model_configs/ViT-H-14.json; exact GELU
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}


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
        """(N, L) ids to (N, D). What stands after the end token changes nothing: attention is causal."""
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


def published_clip(
    state: Mapping[str, Tensor], where: Path, expected: str, model_cfg: Mapping[str, Any], mode: Mode
) -> OpenClipModel:
    """The model around published weights under open_clip's names, in the precision they have, none copied.

    where, expected: the file they come from and what it should be. UserError: keys missing or unknown, other shapes.
    """
    with torch.device("meta"):
        net = new_clip(model_cfg)
    take_weights(net, state, where, expected)
    length = int(model_cfg["text_cfg"]["context_length"])
    net.attn_mask = torch.full((length, length), float("-inf")).triu(1)  # stored in no file: as built, but not on meta
    preprocess = Preprocess(int(model_cfg["vision_cfg"]["image_size"]), CLIP_MEAN, CLIP_STD, mode)
    return OpenClipModel(net, preprocess, BytePairs(length))
