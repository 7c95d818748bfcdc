"""Do our towers see what VBench's do? Its transforms, composed of torchvision's as vbench 0.1.5 composes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_encoders import bytes_of
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Lambda, Normalize, Resize, ToTensor

from turbo_eval.scorers.vbench.encoders.transforms import (
    clip_transform,
    dino_transform,
    picture_square,
    picture_transform,
)

CLIP = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = Lambda(lambda x: x.float().div(255.0))
BICUBIC = InterpolationMode.BICUBIC
CLIP_OFFICIAL = Compose([Resize(224, interpolation=BICUBIC, antialias=False), CenterCrop(224), UNIT, CLIP])
# VBench says antialias=False here too; torchvision warns that PIL knows no such thing.
PICTURE_OFFICIAL = Compose([Resize(224, interpolation=BICUBIC), CenterCrop(224), ToTensor(), CLIP])
DINO_OFFICIAL = Compose([Resize(size=224, antialias=False), UNIT, IMAGENET])
SIZES = [(320, 512), (250, 334), (333, 251), (99, 61), (224, 224), (224, 301), (227, 225), (512, 40)]
ATOL = 2e-6  # of values of about 2: torchvision's resize may sum in another order


def frames_of(height: int, width: int) -> np.ndarray:
    return bytes_of(2, height, width, 3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clip_on_floats_overshoots_and_on_bytes_is_rounded(height, width):
    frames = torch.from_numpy(frames_of(height, width))
    frames_NCHW = frames.permute(0, 3, 1, 2)
    torch.testing.assert_close(clip_transform(frames), CLIP_OFFICIAL(frames_NCHW.float()), rtol=0, atol=ATOL)
    assert torch.equal(clip_transform(frames, rounded=True), CLIP_OFFICIAL(frames_NCHW))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_dinos_frames_are_not_cropped(height, width):
    frames = torch.from_numpy(frames_of(height, width))
    official = DINO_OFFICIAL(frames.permute(0, 3, 1, 2).float())
    assert min(official.shape[2:]) == 224
    torch.testing.assert_close(dino_transform(frames), official, rtol=0, atol=ATOL)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pictures_go_through_pil(height, width):
    clip = frames_of(height, width)
    ours = picture_transform(torch.from_numpy(picture_square(clip)))
    assert torch.equal(ours, torch.stack([PICTURE_OFFICIAL(Image.fromarray(frame)) for frame in clip]))


def test_the_three_ways_to_a_square_are_three():
    clip = frames_of(320, 512)
    frames = torch.from_numpy(clip)
    on_floats, on_bytes = clip_transform(frames), clip_transform(frames, rounded=True)
    as_pictures = picture_transform(torch.from_numpy(picture_square(clip)))
    assert on_floats.max() > on_bytes.max() + 0.1  # the overshoot of noise
    assert (on_bytes - as_pictures).abs().mean() > 0.1  # antialias
