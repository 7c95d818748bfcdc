"""Is the object there? The share of frames in which it is named.

score = frames in whose set of names the asked one is / 16   (arXiv 2311.17982, section 3.2; vbench 0.1.5), where the
names are GRiT's of its ObjectDet task, word for word, and what is asked ("person", "dining table") is the prompt's
auxiliary information. A frame in which nothing is detected is a frame without the object; a clip of such frames has 0.
Differs: in VBench a frame at which the detector fails, by lack of memory too, counts as one without the object; here
the clip fails with its reason. A single frame is unscored like everywhere else, for it is no video.
"""

from __future__ import annotations

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import ObjectDetector
from turbo_eval.scorers.vbench.objects import asked_of, clip_objects, share
from turbo_eval.scorers.vbench.spec import OBJECT_CLASS


class ObjectClass(OnEncoder[ObjectDetector]):
    """The rule over any detector. Scores lie in [0, 1]."""

    metric = OBJECT_CLASS

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip's `middle` frames. UserError: the prompt names no object."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        (name,) = asked_of(clip.prompt, OBJECT_CLASS)
        return Score.of(share(name in seen.names for seen in clip_objects(self.encoder, features, OBJECT_CLASS)))
