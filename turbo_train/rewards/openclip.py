"""How well does one frame match a text? Image rewards and judges on open_clip's CLIP class.

Features: the class token's (or pooled) projection and the text's at the end token, scaled to length 1.
The embedded world's models and the published ViT-H-14 files are this one class at two sizes.
Shape legend: N images, C channels, H, W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from turbo_train.rewards.base import TextCache, Tokenize, cosine, unit
from turbo_train.rewards.folder import load_weights, read_folder, tokenize_with
from turbo_train.rewards.preprocess import Preprocess, preprocess_from

KIND = "open_clip.CLIP"


def new_clip(model_cfg: Mapping[str, Any]) -> CLIP:
    """An untrained open_clip CLIP from a `model_cfg` (embed_dim, vision_cfg, text_cfg, ...)."""
    return CLIP(**model_cfg)


class OpenClipModel(nn.Module):
    """An ImageTextModel around open_clip's CLIP: frozen, in eval mode, text features cached."""

    def __init__(self, net: CLIP, preprocess: Preprocess, tokenize: Tokenize) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()
        self.preprocess = preprocess
        self.tokenize = tokenize
        self._texts = TextCache(self._encode_texts)

    @property
    def weight(self) -> Tensor:
        """A weight, to ask for dtype and device."""
        weight: Tensor = self.net.visual.conv1.weight
        return weight

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        return unit(self.net.encode_text(self.tokenize(texts).to(self.weight.device)))

    def image_features(self, frames_NCHW: Tensor) -> Tensor:
        """(N, 3, H, W) frames in [0, 1] to (N, D) features of length 1; differentiable."""
        return unit(self.net.encode_image(self.preprocess(frames_NCHW).to(self.weight.dtype)))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of length 1, without gradient."""
        return self._texts(texts).to(self.weight.device)

    def score(self, frames_NCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """(N,) cosine of frame i with text i; differentiable in the frames."""
        return cosine(self.image_features(frames_NCHW), self.text_features(texts))

    def train(self, mode: bool = True) -> OpenClipModel:
        """A reward stays in eval mode, whatever it is part of."""
        return self


def wrap_clip(
    net: CLIP, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], tokenize: Tokenize
) -> OpenClipModel:
    """The model around a network, its preprocessing read from the configs."""
    return OpenClipModel(net, preprocess_from(preprocess_cfg, int(model_cfg["vision_cfg"]["image_size"])), tokenize)


def load_openclip(folder: Path, device: torch.device | str = "cpu") -> OpenClipModel:
    """Load a folder with weights in float32. Raises UserError where it is incomplete or of another class."""
    stored = read_folder(folder, KIND)
    net = new_clip(stored.model_cfg)
    load_weights(net, stored.weights, folder)
    tokenize = tokenize_with(stored.tokenizer, int(stored.model_cfg["text_cfg"]["context_length"]))
    return wrap_clip(net, stored.model_cfg, stored.preprocess_cfg, tokenize).to(device)
