"""Is our CLIP open_clip's own forward pass on squashed frames? At a small size, and slowly at the full width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_rewards import SMALL_CLIP, own_open_clip, own_score, shallow, write_clip
from torchvision.transforms import functional as tv

from turbo_train.errors import UserError
from turbo_train.rewards.clip import load_clip
from turbo_train.rewards.openclip import VIT_H_14
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD

TEXTS = ["A dog's life, 8k -- high   detailed!", "", "caf\u00e9 &amp; t\u00eate"]


@pytest.mark.parametrize("model_cfg", [SMALL_CLIP, pytest.param(shallow(VIT_H_14), marks=pytest.mark.slow)])
def test_score_is_open_clips_own(model_cfg: Mapping[str, Any], tmp_path: Path) -> None:
    net = own_open_clip(model_cfg)
    model = load_clip(write_clip(tmp_path, net), model_cfg=model_cfg)
    frames = torch.rand(3, 3, 100, 333, generator=torch.Generator().manual_seed(0))
    size = model_cfg["vision_cfg"]["image_size"]
    squashed = tv.resize(frames, [size, size], tv.InterpolationMode.BICUBIC, antialias=True)
    want = own_score(net, tv.normalize(squashed, CLIP_MEAN, CLIP_STD), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(model.score(frames, TEXTS), want, atol=1e-5, rtol=0)


def test_files_of_other_depths_and_widths_are_refused(tmp_path: Path) -> None:
    net = own_open_clip(SMALL_CLIP)
    files = write_clip(tmp_path, net)
    with pytest.raises(UserError, match=r"found 12 keys of .* unknown visual\.transformer\.resblocks\.2\.") as caught:
        load_clip(files, model_cfg=shallow(SMALL_CLIP))
    assert caught.value.exit_code == 2 and "laion2b_s32b_b79k" in caught.value.expected
    with pytest.raises(UserError, match=r"differ from the 686 expected"):
        load_clip(files)
