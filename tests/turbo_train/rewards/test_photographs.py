"""Does a photograph score as through the packages' own transforms of PIL images? To what 8 bits let through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from tiny_rewards import (
    SMALL_CLIP,
    Files,
    new_transformers_clip,
    own_open_clip,
    own_score,
    write_clip,
    write_hpsv2,
    write_pickscore,
)
from transformers import CLIPImageProcessor

from turbo_train.rewards.base import unit
from turbo_train.rewards.clip import load_clip
from turbo_train.rewards.hpsv2 import load_hpsv2
from turbo_train.rewards.openclip import OpenClipModel
from turbo_train.rewards.pickscore import load_pickscore
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD

SIZE = SMALL_CLIP["vision_cfg"]["image_size"]
TEXTS = ["a red ball"]


@pytest.fixture(scope="module")
def photographs(real_clips: dict[str, Path]) -> list[np.ndarray]:
    """The first frame of each clip, and a tall piece of one; bytes (H, W, 3)."""
    frames = []
    for path in real_clips.values():
        with av.open(str(path)) as file:
            frames.append(next(file.decode(video=0)).to_ndarray(format="rgb24"))
    return [*frames, np.ascontiguousarray(frames[0][:, : frames[0].shape[0] // 2])]


def pixels_of(photograph: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    ("load", "write", "mode"),
    [
        (load_clip, write_clip, "squash"),
        (load_hpsv2, partial(write_hpsv2, dtype=torch.float32), "longest"),
    ],
)
def test_scores_are_those_of_open_clips_transform(
    load: Callable[..., OpenClipModel],
    write: Callable[..., Files],
    mode: str,
    photographs: list[np.ndarray],
    tmp_path: Path,
) -> None:
    net = own_open_clip(SMALL_CLIP)
    model = load(write(tmp_path, net), model_cfg=SMALL_CLIP)
    theirs = image_transform(
        SIZE, is_train=False, mean=CLIP_MEAN, std=CLIP_STD, resize_mode=mode, interpolation="bicubic", fill_color=0
    )
    apart = []
    for photograph in photographs:
        want = own_score(net, theirs(Image.fromarray(photograph))[None], TEXTS)
        apart.append(float((model.score(pixels_of(photograph), TEXTS) - want).abs()))
    assert max(apart) < 2e-3


def test_features_are_those_of_transformers_processor_of_square_photographs(
    photographs: list[np.ndarray], tmp_path: Path
) -> None:
    """Of others it takes the short side to the size and crops, where T2V-Turbo squashes."""
    own = new_transformers_clip(SMALL_CLIP)
    model = load_pickscore(write_pickscore(tmp_path, own), model_cfg=SMALL_CLIP)
    processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=SIZE)
    for photograph in photographs:
        side = min(photograph.shape[:2])
        square = np.ascontiguousarray(photograph[:side, :side])
        normal = processor(Image.fromarray(square), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            want = unit(own.get_image_features(normal).pooler_output)
        torch.testing.assert_close(model.features(pixels_of(square)), want, atol=5e-3, rtol=0)
