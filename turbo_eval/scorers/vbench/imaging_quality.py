"""Are the frames free of blur, noise and over-exposure?

score = mean over the frames of MUSIQ's score, / 100   (arXiv 2311.17982, section 3.1; vbench 0.1.5, whose
`video_results` are not yet divided by 100; its dimension is).
Differs: VBench scores a single frame too; here it is unscored like everywhere else, for it is no video.
"""

from __future__ import annotations

import numpy as np

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import FrameScores, clip_frame_scores
from turbo_eval.scorers.vbench.spec import IMAGING_QUALITY

BEST = 100.0


class ImagingQuality(OnEncoder[FrameScores]):
    """The rule over any network that scores frames from 0 to 100. Scores lie in about 0..1."""

    metric = IMAGING_QUALITY

    def score(self, clip: Clip, features: Features) -> Score:
        """Of every frame of the clip."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        scores_T = clip_frame_scores(self.encoder, features)
        return Score.of(float(np.mean(scores_T, dtype=np.float64)) / BEST)
