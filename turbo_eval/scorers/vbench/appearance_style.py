"""Do the frames have the style that was asked for?

score = mean over all frames of cos(frame, style)   (arXiv 2311.17982, section 3.2; vbench 0.1.5 on one process),
where the style ("oil painting") is the prompt's auxiliary information, and frame and style are features of CLIP
ViT-B/32. A dimension's mean is over frames (spec.py, `averaging`).
Differs: VBench scores a single frame too; here it is unscored like everywhere else, for it is no video. On several
processes VBench takes the last frame's cosine for the clip's.
"""

from __future__ import annotations

import numpy as np

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.encoders import ImageText, clip_picture_features, style_cosines
from turbo_eval.scorers.vbench.spec import APPEARANCE_STYLE


class AppearanceStyle(OnEncoder[ImageText]):
    """The mean cosine. Scores lie in [-1, 1]; VBench's own seldom leave 0.0009..0.2855."""

    metric = APPEARANCE_STYLE

    def score(self, clip: Clip, features: Features) -> Score:
        """Of every frame of the clip. UserError: the prompt names no style."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        style_D = self.encoder.text_features(auxiliary(clip.prompt, APPEARANCE_STYLE, APPEARANCE_STYLE))
        return Score.of(float(np.mean(style_cosines(clip_picture_features(self.encoder, features), style_D))))
