"""Would people find the frames beautiful?

score = mean over all frames of rating / 10   (arXiv 2311.17982, section 3.1; vbench 0.1.5),
where ratings of 0 to 10 are LAION's aesthetic predictor's.
Differs: VBench scores a single frame too; here it is unscored like everywhere else, for it is no video.
"""

from __future__ import annotations

import numpy as np

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import FrameScores, clip_frame_scores
from turbo_eval.scorers.vbench.spec import AESTHETIC_QUALITY

BEST_RATING = 10.0


class AestheticQuality(OnEncoder[FrameScores]):
    """The mean rating. Scores lie in 0..1 or a little outside."""

    metric = AESTHETIC_QUALITY

    def score(self, clip: Clip, features: Features) -> Score:
        """Of every frame of the clip."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        return Score.of(float(np.mean(clip_frame_scores(self.encoder, features), dtype=np.float64)) / BEST_RATING)
