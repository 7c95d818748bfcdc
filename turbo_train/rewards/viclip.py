"""How well does a whole clip match a text? ViCLIP (InternVid, arXiv 2307.06942): the published one and the world's.

The published ViCLIP-L/14 sees 8 frames, short side to 224 and cropped, normalised as for ImageNet. Its tokenizer is
CLIP's with a context of 32: its authors ship the vocabulary file that open_clip ships, so the checkpoint is all.
Shape legend: N clips, T frames, L tokens, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.base import VideoReward
from turbo_train.rewards.folder import load_weights, read_folder
from turbo_train.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, preprocess_from
from turbo_train.rewards.published import take_weights
from turbo_train.rewards.tokens import BytePairs, Pieces, Tokenizer
from turbo_train.rewards.viclip_net import Block, TextConfig, ViCLIP, VisionConfig, new_viclip

KIND = "ViCLIP"
WEIGHTS = "viclip/ViClip-InternVid-10M-FLT.pth"  # its row of weights.lock
VICLIP_L_14: Mapping[str, Any] = {"vision": asdict(VisionConfig()), "text": asdict(TextConfig())}


class ViCLIPModel(VideoReward):
    """A video reward around ViCLIP."""

    net: ViCLIP
    blocks = (Block,)

    def __init__(self, net: ViCLIP, preprocess: Preprocess, tokenizer: Tokenizer) -> None:
        super().__init__(net, preprocess, tokenizer, net.vision_encoder.temporal_positional_embedding.shape[1])

    def see(self, pixels: Tensor) -> Tensor:
        """(N, T, 3, size, size) normalised clips to (N, D)."""
        features: Tensor = self.net.vision_encoder(pixels)
        return features

    def read(self, ids_NL: Tensor) -> Tensor:
        """(N, L) ids to (N, D)."""
        features: Tensor = self.net.text_encoder(ids_NL)
        return features


def wrap_viclip(
    net: ViCLIP, model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], tokenizer: Tokenizer
) -> ViCLIPModel:
    """The model around a network, its preprocessing read from the configs."""
    return ViCLIPModel(net, preprocess_from(preprocess_cfg, int(model_cfg["vision"]["input_resolution"])), tokenizer)


def load_viclip(folder: Path, device: torch.device | str = "cpu") -> ViCLIPModel:
    """Load a folder with weights in float32. Raises UserError where it is incomplete or of another class."""
    stored = read_folder(folder, KIND)
    net = new_viclip(stored.model_cfg)
    load_weights(net, stored.weights, folder)
    tokenizer = Pieces(stored.tokenizer, int(stored.model_cfg["text"]["context_length"]))
    return wrap_viclip(net, stored.model_cfg, stored.preprocess_cfg, tokenizer).to(device)


def load_published_viclip(files: Mapping[str, Path], *, model_cfg: Mapping[str, Any] = VICLIP_L_14) -> ViCLIPModel:
    """ViCLIP from the published checkpoint, weights as stored. files: paths by their names in weights.lock.

    UserError: a file that cannot be read, or whose names or shapes differ.
    """
    path = files[WEIGHTS]
    with torch.device("meta"):
        net = new_viclip(model_cfg)
    take_weights(net, read_tensors(path), path, "the published ViCLIP-L/14")
    vision, text = model_cfg["vision"], model_cfg["text"]
    preprocess = Preprocess(vision["input_resolution"], IMAGENET_MEAN, IMAGENET_STD, "shortest")
    return ViCLIPModel(net, preprocess, BytePairs(text["context_length"]))
