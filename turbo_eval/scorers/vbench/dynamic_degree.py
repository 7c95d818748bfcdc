"""Does anything in the clip move far enough? 1 (dynamic) or 0.

Frames are taken at about 8 a second (every max(1, round(fps / 8))-th of them); r of a consecutive pair is the mean of
the largest int(0.05 H W) flow magnitudes; the clip is dynamic when at least round(4 n / 16) of the pairs of its n
frames have r > 6 min(h, w) / 256   (vbench 0.1.5; Python's round: half to even). Pairs are tried in order until the
verdict is certain, which cannot change it.
VBench's flow is RAFT's; the embedded tier's is OpenCV's (encoders/dense_flow.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import DenseFlow
from turbo_eval.scorers.vbench.encoders.speeds import clip_speeds
from turbo_eval.scorers.vbench.spec import DYNAMIC_DEGREE

TOP_SHARE = 0.05


def sampled_indices(frames: int, fps: float) -> range:
    """The frames that are looked at: about 8 a second."""
    return range(0, frames, max(1, round(fps / 8)))


def is_dynamic(radii_px: Iterable[float], num_frames: int, short_side_px: int) -> bool:
    """VBench's verdict from the radii of the n - 1 pairs of n frames, in order; stops as soon as it is certain."""
    threshold_px = 6.0 * short_side_px / 256
    wanted = round(4 * num_frames / 16)
    found, left = 0, num_frames - 1
    for radius_px in radii_px:
        found += radius_px > threshold_px
        left -= 1
        if found >= wanted:  # VBench tests after each pair, so that wanted = 0 (n = 2) is dynamic at once
            return True
        if found + left < wanted:
            return False
    return False


class DynamicDegree(OnEncoder[DenseFlow]):
    """The rule over any dense flow."""

    metric = DYNAMIC_DEGREE

    def __init__(self, encoder: DenseFlow, *, every_pair: bool = False) -> None:
        """every_pair: measure all pairs, as VBench does, before the verdict; for timings beside it."""
        super().__init__(encoder)
        self.every_pair = every_pair

    def score(self, clip: Clip, features: Features) -> Score:
        """1.0 for a dynamic clip, else 0.0; the dimension's mean is the share of dynamic clips."""
        kept = sampled_indices(len(clip.frames_THWC), clip.fps)
        if len(kept) < 2:
            return Score.none(TOO_SHORT)
        speeds = clip_speeds(self.encoder, features, list(pairwise(kept)))
        radii_px: Iterable[float] = (pair.radius(TOP_SHARE) for pair in speeds)
        if self.every_pair:
            radii_px = list(radii_px)
        return Score.of(float(is_dynamic(radii_px, len(kept), min(clip.frames_THWC.shape[1:3]))))
