"""Does the camera, or the motion, have the style that was asked for?

score = cos(video feature, text feature)   (arXiv 2311.17982, section 3.2; vbench 0.1.5)
It is overall_consistency's number on other prompts ("..., in slow motion"); the text is the whole prompt.
Differs: VBench scores a single frame too; here it is unscored like everywhere else, for it is no video.
"""

from __future__ import annotations

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import VideoText, clip_video_features, cosine
from turbo_eval.scorers.vbench.spec import TEMPORAL_STYLE


class TemporalStyle(OnEncoder[VideoText]):
    """The cosine over any pair of towers. Scores lie in [-1, 1]; VBench's own seldom leave 0..0.364."""

    metric = TEMPORAL_STYLE

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip and its prompt, as it stands."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        video_D = clip_video_features(self.encoder, features)
        return Score.of(float(cosine(video_D, self.encoder.text_features(clip.prompt.prompt))))
