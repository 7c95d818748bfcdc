"""Can every second frame be foretold from its neighbours?

The odd frames are dropped and interpolated back from the even ones; d_k = mean |interpolated - original| over pixels
and channels of uint8 frames; score = (255 - mean d_k) / 255   (arXiv 2311.17982, section 3.1; vbench 0.1.5). The last
odd frame of an even-length clip has no right neighbour and is not used. VBench interpolates with AMT-S, the embedded
tier along OpenCV's dense flow (encoders/dense_flow.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turbo_eval.scorers.base import Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import FrameInterpolator
from turbo_eval.scorers.vbench.spec import MOTION_SMOOTHNESS

TOO_SHORT_TO_INTERPOLATE = "needs at least three frames"


def smoothness(differences: NDArray[np.float64]) -> float:
    """Score in [0, 1] from the mean absolute differences d_k, which are in 0..255."""
    return (255.0 - float(np.mean(differences))) / 255.0


def difference(one_HWC: NDArray[np.uint8], other_HWC: NDArray[np.uint8]) -> float:
    """d: the mean absolute difference of two frames, in 0..255."""
    return float(np.mean(np.abs(one_HWC.astype(np.int16) - other_HWC), dtype=np.float64))


class MotionSmoothness(OnEncoder[FrameInterpolator]):
    """The rule over any frame interpolator."""

    metric = MOTION_SMOOTHNESS

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the odd frames that have a neighbour on both sides."""
        frames = clip.frames_THWC
        if len(frames) < 3:
            return Score.none(TOO_SHORT_TO_INTERPOLATE)
        even, odd = frames[::2], frames[1 : len(frames) - 1 : 2]
        foretold = self.encoder.middles(even[: len(odd)], even[1 : len(odd) + 1])
        differences = [difference(guess, truth) for guess, truth in zip(foretold, odd, strict=True)]
        return Score.of(smoothness(np.array(differences)))
