"""Does the clip as a whole show what its text says?

score = cos(video feature, text feature)   (arXiv 2311.17982, section 3.2; ViCLIP in VBench, a judge of the world in the
embedded tier). The video tower sees VBench's `middle` frames; a clip that is too short repeats its last frame.
Differs: VBench scores a single frame too; here it is unscored like everywhere else, for it is no video.
"""

from __future__ import annotations

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import VideoText, clip_video_features, cosine
from turbo_eval.scorers.vbench.spec import OVERALL_CONSISTENCY


class OverallConsistency(OnEncoder[VideoText]):
    """The cosine over any pair of towers. Scores lie in [-1, 1]; VBench's own seldom leave 0..0.364."""

    metric = OVERALL_CONSISTENCY

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip and its prompt, as it stands."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        video_D = clip_video_features(self.encoder, features)
        return Score.of(float(cosine(video_D, self.encoder.text_features(clip.prompt.prompt))))
