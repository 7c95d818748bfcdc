"""Encoders of VBench's networks at tiny sizes: the classes that compute with the published weights, on random ones.

Each function writes the files of one encoder into a folder and returns it, unloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from turbo_eval.scorers.vbench.encoders import ByteArray
from turbo_eval.scorers.vbench.encoders.aesthetic import LaionAesthetic
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode
from turbo_eval.scorers.vbench.encoders.clip import ClipB32, ClipSizes
from turbo_eval.scorers.vbench.encoders.dino import Dino, DinoSizes, new_dino
from turbo_eval.scorers.vbench.encoders.viclip import ViClip
from turbo_train.rewards.viclip_net import new_viclip
from turbo_train.weights.table import WeightFile

CLIP_SIZES = ClipSizes(
    "a tiny CLIP", 12, 32, 8, width=16, layers=3, head_width=8, text_width=16, text_heads=2, text_layers=2
)
DINO_SIZES = DinoSizes(32, 8, 16, 3, 2)
VICLIP_SIZES = {
    "vision": {"input_resolution": 32, "patch_size": 8, "width": 16, "layers": 3, "heads": 2, "output_dim": 12},
    "text": {"embed_dim": 12, "transformer_width": 16, "transformer_heads": 2, "transformer_layers": 2},
}
VICLIP_SIZES["vision"]["num_frames"], VICLIP_SIZES["text"]["context_length"] = 8, 32


class TinyDino(Dino):
    SIZES = DINO_SIZES


class TinyClip(ClipB32):
    SIZES = CLIP_SIZES


class TinyAesthetic(LaionAesthetic):
    SIZES = CLIP_SIZES


class TinyViClip(ViClip):
    SIZES = VICLIP_SIZES


def bytes_of(*shape: int, seed: int = 0) -> ByteArray:
    """A (T, H, W, 3) clip of noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def random_state(net: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a network's names and shapes that let every part of it matter."""
    torch.manual_seed(seed)
    return {name: 0.4 * torch.randn(value.shape) + 0.1 for name, value in net.state_dict().items()}


def clip_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Of the tiny CLIP; matrices in float16, as in OpenAI's archives."""
    from open_clip.model import CLIP

    sizes = CLIP_SIZES
    vision = {"image_size": sizes.image_px, "patch_size": sizes.patch_px, "width": sizes.width, "layers": sizes.layers}
    text = {"width": sizes.text_width, "heads": sizes.text_heads, "layers": sizes.text_layers}
    net = CLIP(sizes.embed_dim, vision | {"head_width": sizes.head_width}, text, quick_gelu=True)
    state = random_state(net, seed)
    return {name: value.half() if value.ndim > 1 else value for name, value in state.items()}


def row(name: str, path: Path, opens: Any = "tensors") -> WeightFile:
    """A row of weights.lock that pins the file as it is."""
    return WeightFile(name, (), opens, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def saved(folder: Path, name: str, state: Mapping[str, torch.Tensor]) -> dict[WeightFile, Path]:
    """A plain state dict under the row's name."""
    path = folder / name.replace("/", "_")
    torch.save(dict(state), path)
    return {row(name, path): path}


def tiny_dino(folder: Path, mode: Mode = MODE) -> TinyDino:
    """DINO."""
    return TinyDino(saved(folder, "dino/vitb16.pth", random_state(new_dino(DINO_SIZES))), mode)


def tiny_clip(folder: Path, mode: Mode = MODE) -> TinyClip:
    """CLIP ViT-B/32."""
    return TinyClip(saved(folder, "clip/ViT-B-32.pt", clip_state()), mode)


def tiny_aesthetic(folder: Path, mode: Mode = MODE) -> TinyAesthetic:
    """CLIP ViT-L/14 and the head."""
    tower = saved(folder, "clip/ViT-L-14.pt", clip_state(1))
    head = random_state(nn.Linear(CLIP_SIZES.embed_dim, 1))
    return TinyAesthetic(tower | saved(folder, "laion/sa_0_4_vit_l_14_linear.pth", head), mode)


def tiny_viclip(folder: Path, mode: Mode = MODE) -> TinyViClip:
    """ViCLIP."""
    state = random_state(new_viclip(VICLIP_SIZES))
    return TinyViClip(saved(folder, "viclip/ViClip-InternVid-10M-FLT.pth", state), mode)
