"""Are both objects there? The share of frames in which both are named.

score = frames in whose set of names both asked ones are / 16   (arXiv 2311.17982, section 3.2; vbench 0.1.5), where the
names are GRiT's of its ObjectDet task, word for word, and what is asked is the prompt's auxiliary information, split at
" and ": "bird and cat". A frame in which nothing is detected has neither; a clip of such frames has 0.
One object twice ("cat and cat") is asked for once, for a set does not count.
Differs: what is not two objects ends VBench with an error; here the clip is unscored with that reason, and so is a
single frame, for it is no video.
"""

from __future__ import annotations

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import ObjectDetector
from turbo_eval.scorers.vbench.objects import asked_of, clip_objects, share
from turbo_eval.scorers.vbench.spec import MULTIPLE_OBJECTS
from turbo_train.errors import UserError

BETWEEN = " and "


def asked_pair(prompt: Prompt) -> frozenset[str]:
    """The two objects. UserError, which makes the clip unscored: none, or not two."""
    (text,) = asked_of(prompt, MULTIPLE_OBJECTS)
    names = [name.strip() for name in text.split(BETWEEN)]
    if len(names) != 2:
        raise UserError(
            found=f"{text!r} for {MULTIPLE_OBJECTS}",
            expected=f"two objects: 'bird{BETWEEN}cat'",
            run_next="correct it in the suite",
        )
    return frozenset(names)


class MultipleObjects(OnEncoder[ObjectDetector]):
    """The rule over any detector. Scores lie in [0, 1]."""

    metric = MULTIPLE_OBJECTS

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip's `middle` frames. UserError: the prompt does not name two objects."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        asked = asked_pair(clip.prompt)
        return Score.of(share(asked.issubset(s.names) for s in clip_objects(self.encoder, features, MULTIPLE_OBJECTS)))
