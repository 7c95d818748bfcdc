"""Do frames reach the reward models as they did in T2V-Turbo? Golden numbers, PIL, letterbox sizes, random crops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from golden import fill
from PIL import Image
from torchvision.transforms import functional as tv

from turbo_train.errors import UserError
from turbo_train.rewards.modes import MODES, Mode
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

RANDOM = Preprocess(12, IMAGENET_MEAN, IMAGENET_STD, "shortest", "random")


def test_golden_resize_crop_and_squash() -> None:
    meta, expected = fill.load("viclip")
    frames = fill.inputs_of(meta)["frames"]
    resized = resize_shortest(frames, 16)
    fill.compare(meta, expected, "preproc/resized", resized)
    video = Preprocess(16, IMAGENET_MEAN, IMAGENET_STD, "shortest")
    normal = video.normalise(crop(resized, 16, left=meta["preproc_crop_left"]))
    fill.compare(meta, expected, "preproc/normalized", normal)
    fill.compare(meta, expected, "preproc/clip_resize", Preprocess(224, CLIP_MEAN, CLIP_STD)(frames))
    fill.compare(meta, expected, "preproc/pick", Preprocess(224, CLIP_MEAN, CLIP_STD)(frames[:1]))
    draws = (replace(video, crop="random")(frames[None], torch.Generator().manual_seed(n))[0] for n in range(100))
    assert sum(torch.allclose(draw, expected["preproc/normalized"], atol=1e-5) for draw in draws) in range(1, 30)


def by_pil(frame_HWC: np.ndarray, size: int, mode: Mode) -> torch.Tensor:
    """A normalised (3, size, size) image by torchvision's transforms of PIL images, 8 bits after each."""
    image = Image.fromarray(frame_HWC)
    width, height = image.size
    if mode == "squash":
        new = (size, size)
    elif mode == "shortest":
        short = min(height, width)
        new = (round(height * size / short), round(width * size / short))
    else:
        scale = size / max(height, width)
        new = (round(height * scale), round(width * scale))
    image = tv.resize(image, list(new), tv.InterpolationMode.BICUBIC)
    if mode == "shortest":
        image = tv.center_crop(image, [size, size])
    if mode == "longest":
        y, x = size - new[0], size - new[1]
        image = tv.pad(image, [x // 2, y // 2, x - x // 2, y - y // 2], fill=0)
    return tv.normalize(tv.to_tensor(image), CLIP_MEAN, CLIP_STD)


def steps_apart(frame_HWC: np.ndarray, size: int, mode: Mode) -> torch.Tensor:
    """Differences between our pipeline and PIL's, in steps of 1/255."""
    pixels = torch.from_numpy(frame_HWC).permute(2, 0, 1)[None].float() / 255
    std = torch.tensor(CLIP_STD)[:, None, None]
    black, white = ((value - torch.tensor(CLIP_MEAN)[:, None, None]) / std for value in (0.0, 1.0))
    ours = Preprocess(size, CLIP_MEAN, CLIP_STD, mode)(pixels)[0]
    return (ours.maximum(black).minimum(white) - by_pil(frame_HWC, size, mode)).abs() * std * 255


@pytest.mark.parametrize("mode", MODES)
def test_photographs_are_within_one_8_bit_step_of_pil(real_clips: dict[str, Path], mode: Mode) -> None:
    # Where PIL's 8 bits cut an overshoot off between its two passes, the two differ by more (7 steps at most here).
    for path in real_clips.values():
        with av.open(str(path)) as file:
            frame = next(file.decode(video=0)).to_ndarray(format="rgb24")
        apart = steps_apart(frame, 224, mode)
        assert float(apart.mean()) < 0.3 and float((apart > 1).float().mean()) < 1e-3 and float(apart.max()) < 8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(40, 60), (91, 37), (320, 512), (33, 32), (9, 7)])
def test_noise_is_within_one_and_a_quarter_8_bit_steps_of_pil(mode: Mode, size: tuple[int, int]) -> None:
    # Noise that cannot overshoot: half a step of rounding per pass, the first weighted by the second's filter.
    frame = np.random.default_rng(0).integers(80, 176, (*size, 3), dtype=np.uint8)
    for target in (32, 224):
        assert float(steps_apart(frame, target, mode).max()) < 1.25


LETTERBOX = {  # height, width: rows and columns of the picture in the 224 x 224 box
    (320, 512): (140, 224),
    (512, 320): (224, 140),
    (333, 100): (224, 67),
    (100, 333): (67, 224),
    (224, 225): (223, 224),
    (225, 224): (224, 223),
    (32, 32): (224, 224),
    (1, 1): (224, 224),
    (2, 3): (149, 224),
    (224, 100): (224, 100),
    (45, 320): (31, 224),  # 45 * 0.7 is just below 31.5 in floating point, and open_clip's rule rounds that
    (1, 999): (1, 224),
}


@pytest.mark.parametrize(("size", "inner"), LETTERBOX.items())
def test_letterbox_keeps_the_aspect_and_centres_on_black(size: tuple[int, int], inner: tuple[int, int]) -> None:
    boxed = letterbox(torch.ones(1, 3, *size), 224)
    assert boxed.shape == (1, 3, 224, 224)
    top, left = ((224 - side) // 2 for side in inner)
    want = torch.zeros(1, 3, 224, 224)
    want[..., top : top + inner[0], left : left + inner[1]] = 1
    torch.testing.assert_close(boxed, want, atol=1e-5, rtol=0)


def test_a_320x512_frame_has_42_black_rows_above_and_below() -> None:
    frames = torch.rand(1, 3, 320, 512, generator=torch.Generator().manual_seed(0))
    normal = Preprocess(224, CLIP_MEAN, CLIP_STD, "longest")(frames)
    black = -torch.tensor(CLIP_MEAN) / torch.tensor(CLIP_STD)
    rows = torch.isclose(normal, black[:, None, None]).all(3).all(1)[0]
    assert rows.nonzero().flatten().tolist() == [*range(42), *range(182, 224)]


@pytest.mark.parametrize("mode", MODES)
def test_the_models_own_size_is_only_normalised(mode: Mode) -> None:
    frames = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Preprocess(32, (0.5,) * 3, (0.3,) * 3, mode)(frames), (frames - 0.5) / 0.3)


@pytest.mark.parametrize("mode", MODES)
def test_odd_frames_have_the_gradient_that_finite_differences_give(mode: Mode) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 3, 9, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Preprocess(6, CLIP_MEAN, CLIP_STD, mode), frames)
    (slope,) = torch.autograd.grad(Preprocess(6, CLIP_MEAN, CLIP_STD, mode)(frames).square().sum(), frames)
    seen = slope[..., 1:-1, :] if mode == "shortest" else slope
    assert bool((seen != 0).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision_frames_are_resized_in_float32_and_keep_their_gradient(mode: Mode, dtype: torch.dtype) -> None:
    frames = torch.rand(2, 3, 20, 13, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    preprocess = Preprocess(12, CLIP_MEAN, CLIP_STD, mode)
    normal = preprocess(frames)
    assert normal.dtype == torch.float32 and torch.equal(normal, preprocess(frames.detach().float()))
    normal.square().sum().backward()
    assert frames.grad is not None and frames.grad.dtype == dtype and bool(frames.grad.any())


def places(cut: torch.Tensor, whole: torch.Tensor) -> list[list[int]]:
    """Per clip, every left offset at which its first frame was cut out of the whole one."""
    side = cut.shape[-1]
    offsets = range(whole.shape[-1] - side + 1)
    return [
        [left for left in offsets if torch.equal(c[0], w[0, ..., left : left + side])]
        for c, w in zip(cut, whole, strict=True)
    ]


def test_a_random_crop_is_one_place_per_clip_that_the_generator_gives() -> None:
    clips = torch.rand(8, 3, 3, 12, 40, generator=torch.Generator().manual_seed(0))
    whole = RANDOM.normalise(clips)
    cut = RANDOM(clips, torch.Generator().manual_seed(7))
    found = places(cut, whole)
    assert all(len(left) == 1 for left in found) and len({left[0] for left in found}) > 3
    for clip, full, (left,) in zip(cut, whole, found, strict=True):
        assert torch.equal(clip, full[..., left : left + 12])  # all frames of it
    assert torch.equal(cut, RANDOM(clips, torch.Generator().manual_seed(7)))
    assert not torch.equal(cut, RANDOM(clips, torch.Generator().manual_seed(8)))
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(cut, torch.cat([RANDOM(part, generator) for part in clips.split(3)]))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        assert torch.equal(cut, RANDOM(clips))


@pytest.mark.parametrize("portrait", [False, True])
def test_every_place_is_as_likely_as_another(portrait: bool) -> None:
    images = torch.arange(15.0).expand(3000, 3, 12, 15) / 20
    images = images.transpose(2, 3) if portrait else images
    cut = Preprocess(12, (0.0,) * 3, (1.0,) * 3, "shortest", "random")(images, torch.Generator().manual_seed(0))
    counts = torch.bincount((cut[:, 0, 0, 0] * 20).round().long(), minlength=4)
    assert len(counts) == 4  # 750 each expected, standard deviation 24
    assert int(counts.min()) > 650 and int(counts.max()) < 850


def test_only_the_random_crop_of_a_long_side_draws() -> None:
    frames = torch.rand(2, 3, 12, 40, generator=torch.Generator().manual_seed(0))
    for preprocess in (replace(RANDOM, crop="centre"), replace(RANDOM, mode="squash"), replace(RANDOM, mode="longest")):
        generator = torch.Generator().manual_seed(3)
        untouched = generator.get_state()
        assert torch.equal(preprocess(frames, generator), replace(preprocess, crop="centre")(frames))
        assert torch.equal(generator.get_state(), untouched)
    tall = frames.transpose(2, 3)
    assert torch.equal(replace(RANDOM, crop="centre")(tall), RANDOM.normalise(tall)[..., 14:26, :])


def test_bad_input_says_what_is_needed() -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\) or \(N, T, 3, H, W\) floats"):
        Preprocess(32, CLIP_MEAN, CLIP_STD)(torch.zeros(1, 32, 32, 3))
    with pytest.raises(UserError, match="found resize_mode 'stretch'; expected one of squash, shortest, longest; try"):
        Preprocess(32, CLIP_MEAN, CLIP_STD, "stretch")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="found crop 'left'; expected one of centre, random"):
        Preprocess(32, CLIP_MEAN, CLIP_STD, "shortest", "left")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="three numbers each"):
        preprocess_from({"mean": [0.5], "std": [0.5]}, 32)
