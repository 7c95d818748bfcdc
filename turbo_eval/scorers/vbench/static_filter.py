"""Does the clip stand still? 1 (static) or 0; VBench measures temporal_flickering on the first five static clips.

All n frames are taken; r of a pair is the mean of the largest int(0.02 H W) flow magnitudes, the threshold is
3 min(h, w) / 256. A clip is not static when more than c = round(2 n / 16) of its consecutive pairs have r above the
threshold, or when r of (first, last) or of (last, first) is above 2 c times the threshold   (vbench 0.1.5, its
static_filter command; Python's round: half to even). Pairs are tried until the verdict is certain, which cannot change
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import DenseFlow
from turbo_eval.scorers.vbench.encoders.speeds import clip_speeds

STATIC_FILTER = "static_filter"
TOP_SHARE = 0.02


def is_static(consecutive_px: Iterable[float], ends_px: Iterable[float], num_frames: int, short_side_px: int) -> bool:
    """VBench's verdict from the radii of the n - 1 pairs of n frames, and of (first, last) and (last, first).

    Of either no more are asked for than the verdict needs.
    """
    threshold_px = 3.0 * short_side_px / 256
    allowed = round(2 * num_frames / 16)
    found, left = 0, num_frames - 1
    for radius_px in consecutive_px:
        found += radius_px > threshold_px
        left -= 1
        if found > allowed:
            return False
        if found + left <= allowed:
            break
    return not any(radius_px > threshold_px * allowed * 2 for radius_px in ends_px)


class StaticFilter(OnEncoder[DenseFlow]):
    """The rule over any dense flow; no dimension of its own."""

    metric = STATIC_FILTER

    def score(self, clip: Clip, features: Features) -> Score:
        """1.0 for a static clip, else 0.0."""
        count = len(clip.frames_THWC)
        if count < 2:
            return Score.none(TOO_SHORT)
        consecutive = self._radii(features, list(pairwise(range(count))))
        ends = self._radii(features, [(0, count - 1), (count - 1, 0)])
        return Score.of(float(is_static(consecutive, ends, count, min(clip.frames_THWC.shape[1:3]))))

    def _radii(self, features: Features, pairs: Sequence[tuple[int, int]]) -> Iterator[float]:
        return (speeds.radius(TOP_SHARE) for speeds in clip_speeds(self.encoder, features, pairs))
