"""Which image of a text would people prefer? HPS v2.1 (arXiv 2306.09341): CLIP ViT-H-14, tuned on people's choices.

score = cosine(image, text). Frames are letterboxed to 224: nothing is cropped and no aspect is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.openclip import VIT_H_14, OpenClipModel, published_clip

WEIGHTS = "hpsv2/HPS_v2.1_compressed.pt"  # its row of weights.lock


def load_hpsv2(files: Mapping[str, Path], *, model_cfg: Mapping[str, Any] = VIT_H_14) -> OpenClipModel:
    """HPS v2.1 from the published checkpoint, weights as stored. files: paths by their names in weights.lock.

    UserError: a file that cannot be read, or whose names or shapes differ.
    """
    path = files[WEIGHTS]
    return published_clip(read_tensors(path), path, "HPS v2.1 (open_clip ViT-H-14)", model_cfg, "longest")
