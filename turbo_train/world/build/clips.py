"""What do the world's networks learn from? Rendered clips with captions, each set from its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from turbo_train.world.captions import caption
from turbo_train.world.render import render
from turbo_train.world.scene import Scene, sample_scene


@dataclass(frozen=True)
class Clips:
    """frames_BTCHW: uint8. Captions and scenes in the same order."""

    frames_BTCHW: Tensor
    captions: tuple[str, ...]
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.scenes)


def pixels(scenes: Sequence[Scene], chunk: int = 500) -> Tensor:
    """(B, T, 3, H, W) uint8 of rendered scenes."""
    parts = [
        np.round(render(scenes[i : i + chunk]).frames_BTHWC * 255).astype(np.uint8)
        for i in range(0, len(scenes), chunk)
    ]
    return torch.from_numpy(np.concatenate(parts)).permute(0, 1, 4, 2, 3).contiguous()


def make_clips(
    count: int, seed: int, split: str = "train", pair_share: float = 0.0, wrong: float = 0.0, missing: float = 0.0
) -> Clips:
    """Rendered clips of a split with captions; `wrong` and `missing` are the shares of noisy captions."""
    rng = np.random.default_rng(seed)
    scenes = tuple(sample_scene(rng, split, pair_share) for _ in range(count))
    words = tuple(caption(rng, scene, wrong, missing) for scene in scenes)
    return Clips(pixels(scenes), words, scenes)


def signed(frames: Tensor) -> Tensor:
    """uint8 frames to float32 in [-1, 1], the VAE's range."""
    return frames.float().div_(127.5).sub_(1.0)
