"""Does the scene behind the subject keep its looks?

s_i = (max(0, cos(f_{i-1}, f_i)) + max(0, cos(f_0, f_i))) / 2, averaged over frames i >= 1
(arXiv 2311.17982, section 3.1; vbench 0.1.5),
where f are features of an image tower: CLIP ViT-B/32 in VBench, a judge of the world in the embedded tier. The
whole frame is looked at, subject included, as in VBench. The embedded tier has one judge for both, so there it is
subject_consistency's number again, on every prompt that has both tags.
"""

from __future__ import annotations

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import ImageFeatures, clip_image_features, consistency
from turbo_eval.scorers.vbench.spec import BACKGROUND_CONSISTENCY


class BackgroundConsistency(OnEncoder[ImageFeatures]):
    """The rule over any image tower. Scores lie in [0, 1]."""

    metric = BACKGROUND_CONSISTENCY

    def score(self, clip: Clip, features: Features) -> Score:
        """Of every frame of the clip."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        return Score.of(consistency(clip_image_features(self.encoder, features)))
