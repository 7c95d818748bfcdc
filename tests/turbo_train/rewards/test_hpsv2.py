"""Is our HPSv2.1 open_clip's own forward pass on letterboxed frames? At a small size, and slowly at the full width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_rewards import SMALL_CLIP, filled, own_open_clip, own_score, shallow, write_hpsv2
from torchvision.transforms import functional as tv

from turbo_train.rewards.hpsv2 import load_hpsv2
from turbo_train.rewards.openclip import VIT_H_14, new_clip
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD

TEXTS = ["A dog's life, 8k -- high   detailed!", "word " * 100]


def boxed(frames_NCHW: torch.Tensor, size: int, rows: int) -> torch.Tensor:
    """Landscape frames with `rows` of picture in a square of `size`, by torchvision alone."""
    picture = tv.resize(frames_NCHW, [rows, size], tv.InterpolationMode.BICUBIC, antialias=True)
    above = (size - rows) // 2
    return tv.normalize(tv.pad(picture, [0, above, 0, size - rows - above]), CLIP_MEAN, CLIP_STD)


@pytest.mark.filterwarnings("ignore:.* prompt.* cut at 77 tokens")
@pytest.mark.parametrize(
    ("model_cfg", "size", "rows"),
    [(SMALL_CLIP, 28, 18), pytest.param(shallow(VIT_H_14), 224, 140, marks=pytest.mark.slow)],
)
def test_score_is_open_clips_own(model_cfg: Mapping[str, Any], size: int, rows: int, tmp_path: Path) -> None:
    net = own_open_clip(model_cfg)
    model = load_hpsv2(write_hpsv2(tmp_path, net, torch.float32), model_cfg=model_cfg)
    frames = torch.rand(2, 3, 320, 512, generator=torch.Generator().manual_seed(0))
    want = own_score(net, boxed(frames, size, rows), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(model.score(frames, TEXTS), want, atol=1e-5, rtol=0)


def test_a_half_precision_file_is_kept_as_it_is_and_can_be_widened(tmp_path: Path) -> None:
    net = filled(new_clip(SMALL_CLIP))
    model = load_hpsv2(write_hpsv2(tmp_path, net), model_cfg=SMALL_CLIP)
    assert model.dtype == torch.float16
    frames = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    texts = ["a red ball", "a blue cube"]
    half, wide = model.score(frames, texts), model.float().score(frames, texts)
    assert half.dtype == wide.dtype == torch.float32
    torch.testing.assert_close(half, wide, atol=2e-3, rtol=0)
    assert all(
        torch.equal(value, net.state_dict()[key].half().float()) for key, value in model.net.state_dict().items()
    )
