"""Do frames reach the reward models as they did in T2V-Turbo? Golden numbers, PIL, letterbox sizes, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import fill
from PIL import Image

from turbo_train.errors import UserError
from turbo_train.rewards.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocess,
    crop,
    letterbox,
    preprocess_from,
    resize_shortest,
)


def test_golden_resize_crop_and_squash() -> None:
    meta, expected = fill.load("viclip")
    frames = fill.inputs_of(meta)["frames"]
    resized = resize_shortest(frames, 16)
    fill.compare(meta, expected, "preproc/resized", resized)
    normal = Preprocess(16, IMAGENET_MEAN, IMAGENET_STD, "shortest").normalise(crop(resized, 16, left=8))
    fill.compare(meta, expected, "preproc/normalized", normal)
    squashed = Preprocess(224, CLIP_MEAN, CLIP_STD, "squash")(frames)
    fill.compare(meta, expected, "preproc/clip_resize", squashed)
    assert len(meta["outputs"]["preproc/pick"]["shape"]) == squashed.ndim


def test_resize_agrees_with_pil() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    ours = Preprocess(24, (0.0,) * 3, (1.0,) * 3)(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255)
    pil = np.asarray(Image.fromarray(frame).resize((24, 24), Image.Resampling.BICUBIC), np.float32) / 255
    difference = np.abs(ours[0].permute(1, 2, 0).clamp(0, 1).numpy() - pil)
    assert difference.max() < 1.6 / 255  # PIL rounds to 8 bits after each of its two passes


@pytest.mark.parametrize(
    ("height", "width", "inner"), [(320, 512, (140, 224)), (333, 100, (224, 67)), (32, 32, (224, 224))]
)
def test_letterbox_keeps_the_aspect_and_centres_on_black(height: int, width: int, inner: tuple[int, int]) -> None:
    boxed = letterbox(torch.ones(1, 3, height, width), 224)
    assert boxed.shape == (1, 3, 224, 224)
    rows, columns = (boxed[0, 0] > 0.5).any(1).nonzero().flatten(), (boxed[0, 0] > 0.5).any(0).nonzero().flatten()
    assert (len(rows), len(columns)) == inner
    assert int(rows[0]) == (224 - inner[0]) // 2 and int(columns[0]) == (224 - inner[1]) // 2


def test_the_models_own_size_is_only_normalised() -> None:
    frames = torch.rand(2, 3, 32, 32)
    for mode in ("squash", "shortest", "longest"):
        out = Preprocess(32, (0.5,) * 3, (0.3,) * 3, mode)(frames)
        torch.testing.assert_close(out, (frames - 0.5) / 0.3)


def test_gradient_reaches_every_pixel() -> None:
    frames = torch.rand(1, 3, 20, 20, requires_grad=True)
    Preprocess(12, IMAGENET_MEAN, IMAGENET_STD)(frames).square().sum().backward()
    assert frames.grad is not None and bool((frames.grad != 0).all())


def test_bad_input_says_what_is_needed() -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\) floats"):
        Preprocess(32, CLIP_MEAN, CLIP_STD)(torch.zeros(1, 32, 32, 3))
    with pytest.raises(UserError, match="found resize_mode 'stretch'; expected one of squash, shortest, longest"):
        Preprocess(32, CLIP_MEAN, CLIP_STD, "stretch")
    with pytest.raises(UserError, match="three numbers each"):
        preprocess_from({"mean": [0.5], "std": [0.5]}, 32)
