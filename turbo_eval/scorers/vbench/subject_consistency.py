"""Does the subject keep its looks through the clip?

s_i = (max(0, cos(f_{i-1}, f_i)) + max(0, cos(f_0, f_i))) / 2, averaged over frames i >= 1
(arXiv 2311.17982, section 3.1; vbench 0.1.5),
where f are features of an image tower: DINO ViT-B/16 in VBench, a judge of the world in the embedded tier.
"""

from __future__ import annotations

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import ImageFeatures, clip_image_features, consistency
from turbo_eval.scorers.vbench.spec import SUBJECT_CONSISTENCY


class SubjectConsistency(OnEncoder[ImageFeatures]):
    """The rule over any image tower. Scores lie in [0, 1]."""

    metric = SUBJECT_CONSISTENCY

    def score(self, clip: Clip, features: Features) -> Score:
        """Of every frame of the clip."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        return Score.of(consistency(clip_image_features(self.encoder, features)))
