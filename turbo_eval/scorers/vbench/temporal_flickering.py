"""How little does a static clip flicker? VBench's temporal_flickering, to the last bit.

score = (255 - mean over consecutive frames of mean |I_{t+1} - I_t|) / 255     (arXiv 2311.17982, section 3.1)
Both means are numpy's float32 means over BGR pixels, as in vbench 0.1.5: channel order does not change the value, but
it changes the order of summation and so the eighth digit. VBench asks this of clips that its static filter has kept.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score, with_versions
from turbo_eval.scorers.vbench.spec import TEMPORAL_FLICKERING


def flickering(frames_THWC: NDArray[np.uint8]) -> float:
    """Score in [0, 1] of uint8 RGB frames; 1 is a frozen clip."""
    frames_BGR = np.ascontiguousarray(frames_THWC[..., ::-1]).astype(np.float32)
    steps = np.array([np.mean(np.abs(after - before)) for before, after in pairwise(frames_BGR)])
    return (255.0 - float(np.mean(steps))) / 255.0


class TemporalFlickering:
    """The scorer; it has no encoder, so it is VBench's own number in every tier."""

    metric = TEMPORAL_FLICKERING
    scorer_id = with_versions(f"vbench/{TEMPORAL_FLICKERING}@1", "numpy")

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the decoded frames."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        return Score.of(flickering(clip.frames_THWC))
