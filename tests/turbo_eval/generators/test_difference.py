"""Is the difference of two sets of clips that of their pixels?"""

from __future__ import annotations

import numpy as np
import pytest

from turbo_eval.generators.difference import difference


def clips(seed: int = 0) -> list[np.ndarray]:
    return [np.random.default_rng(seed + k).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8) for k in range(2)]


def test_equal_clips_do_not_differ() -> None:
    same = difference(clips(), clips(), "eager")
    assert (same.than, same.max_levels, same.mean_levels, same.psnr_db) == ("eager", 0, 0.0, None)


def test_one_pixel_of_one_clip() -> None:
    one, other = clips(), clips()
    one[1][2, 3, 5, 1], other[1][2, 3, 5, 1] = 255, 0  # no wrap at 8 bits
    count = 2 * one[0].size
    found = difference(one, other, "eager")
    assert (found.max_levels, found.mean_levels) == (255, 255 / count)
    assert found.psnr_db == pytest.approx(10 * np.log10(count))
    back = difference(other, one, "eager")
    assert back == found


def test_against_the_formula() -> None:
    one, other = clips(0), clips(7)
    apart = np.stack(one).astype(float) - np.stack(other).astype(float)
    found = difference(one, other, "x")
    assert found.max_levels == np.abs(apart).max() and found.mean_levels == pytest.approx(np.abs(apart).mean())
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / (apart**2).mean()))


@pytest.mark.parametrize("other", [clips()[:1], [clip[:2] for clip in clips()], []])
def test_clips_that_cannot_be_compared(other: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="against"):
        difference(clips(), other, "x")
    with pytest.raises(ValueError, match="against"):
        difference([], [], "x")
