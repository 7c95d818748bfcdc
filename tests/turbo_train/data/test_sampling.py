"""Which frames are taken, and do they come to the wanted size as promised?"""

from __future__ import annotations

import numpy as np
import pytest
from tiny_clips import WANTED, clip

from turbo_train.data.clips import read_clip
from turbo_train.data.resize import part, resize
from turbo_train.data.skipped import Unusable
from turbo_train.data.temporal import window


@pytest.mark.parametrize(
    ("native", "wanted", "stride"),
    [(16, 16, 1), (25, 16, 2), (30000 / 1001, 16, 2), (30, 8, 4), (24, 8, 3), (30000 / 1001, 30, 1), (60, 16, 4)],
)
def test_stride_is_the_rounded_ratio(native: float, wanted: float, stride: int) -> None:
    taken = window(200, native, 16, wanted, np.random.default_rng(0))
    assert (len(taken), taken.step) == (16, stride)
    assert taken.start >= 0 and taken.start + 16 * stride <= 200


def test_every_place_is_as_likely_as_another() -> None:
    """20 frames, 8 x 2 wanted: 5 places. 5,000 draws, each 1,000 expected, 6 standard deviations are 170."""
    generator = np.random.default_rng(0)
    starts = np.bincount([window(20, 16, 8, 8, generator).start for _ in range(5000)])
    assert len(starts) == 5 and abs(starts - 1000).max() < 170


def test_clips_that_are_too_slow_or_too_short() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(Unusable, match="10 fps, wanted are 16"):
        window(200, 10, 16, 16, generator)
    with pytest.raises(Unusable, match=r"31 frames at 25 fps, wanted are 32 \(16 x 2\)"):
        window(31, 25, 16, 16, generator)
    assert window(32, 25, 16, 16, generator) == range(0, 32, 2)
    with pytest.raises(Unusable, match="0 fps"):
        window(32, 0, 16, 16, generator)


def thirds() -> np.ndarray:
    """A picture 48 wide and 16 high: a red, a green and a blue square."""
    frames = np.zeros((2, 16, 48, 3), np.uint8)
    for place in range(3):
        frames[:, :, 16 * place : 16 * place + 16, place] = 200
    return frames


def test_crop_keeps_the_aspect_and_squash_the_margins() -> None:
    cropped, squashed = resize(thirds(), 16, 16, "crop"), resize(thirds(), 8, 24, "squash")
    assert cropped.shape == (2, 16, 16, 3) and cropped.dtype == np.uint8
    assert (cropped == (0, 200, 0)).all()  # the middle square, whole
    assert (resize(thirds(), 8, 8, "crop")[:, :, 3:5] == (0, 200, 0)).all()
    assert (squashed[0, 4, [3, 12, 20]] == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]).all()
    narrow = resize(thirds(), 8, 6, "squash")[0, 4]
    assert [int(pixel.argmax()) for pixel in narrow] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("size", [(320, 512), (512, 320), (256, 256)])
def test_the_crop_is_central_and_as_large_as_can_be(size: tuple[int, int]) -> None:
    left, top, right, bottom = part(360, 480, size[0] / size[1])
    assert (left + right, top + bottom) == pytest.approx((480, 360))
    assert (bottom - top) / (right - left) == pytest.approx(size[0] / size[1])
    assert min(480 - (right - left), 360 - (bottom - top)) == pytest.approx(0)


@pytest.mark.parametrize("how", ["crop", "squash"])
def test_fine_stripes_become_grey_and_not_moire(how: str) -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    inner = resize(stripes, 13, 13, how)[0, 2:-2, 2:-2].astype(int)  # type: ignore[arg-type]
    assert abs(inner - 127).max() <= 6


def test_frames_of_the_size_stay_as_they_are_and_small_ones_are_enlarged() -> None:
    assert resize(thirds(), 16, 48) is not None and (resize(thirds(), 16, 48) == thirds()).all()
    assert resize(thirds(), 64, 64).shape == (2, 64, 64, 3)


def test_a_clip_becomes_the_frames_of_its_window() -> None:
    frames_TCHW = read_clip(clip(7), WANTED, np.random.default_rng(1))
    assert tuple(frames_TCHW.shape) == (3, 3, 16, 16) and frames_TCHW.is_contiguous()
    assert (frames_TCHW[:, 0] == 7).all()
    greens = frames_TCHW[:, 1, 0, 0].tolist()
    assert np.diff(greens).tolist() == [20, 20]  # 8 fps to 4: every second frame
    again = read_clip(clip(7), WANTED, np.random.default_rng(1))
    assert again.equal(frames_TCHW)
