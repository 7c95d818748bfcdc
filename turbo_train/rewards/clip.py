"""How well does an image match a text? OpenCLIP's ViT-H-14, trained on LAION-2B (arXiv 2212.07143).

score = cosine(image, text). Frames are squashed to 224 x 224, as T2V-Turbo does.
Differs: open_clip's own transform takes the short side to 224 and crops the centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.openclip import VIT_H_14, OpenClipModel, published_clip

WEIGHTS = "laion/open_clip_pytorch_model.bin"  # its row of weights.lock


def load_clip(files: Mapping[str, Path], *, model_cfg: Mapping[str, Any] = VIT_H_14) -> OpenClipModel:
    """CLIP from the published checkpoint, weights as stored. files: paths by their names in weights.lock.

    UserError: a file that cannot be read, or whose names or shapes differ.
    """
    path = files[WEIGHTS]
    return published_clip(read_tensors(path), path, "open_clip's ViT-H-14, laion2b_s32b_b79k", model_cfg, "squash")
