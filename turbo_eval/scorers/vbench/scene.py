"""Is the clip in the place that was asked for? The share of VBench's 16 `middle` frames whose caption says so.

A frame succeeds when every word of the place ("ice skating rink" has three) is in its caption: as a part of any word
(arXiv 2311.17982, section 3.2; vbench 0.1.5). Captions are Tag2Text's of the frames decoded at 384x384; an empty one
says nothing, and the frame fails.
As in VBench frame i counts by the caption of frame i // 3: its captioner repeats what it has read for each of its three
beams, transformers 4.33.2 repeats it again, and of the 144 rows the decoder takes the first 48. So only frames 0 to 5
are captioned, and all captions but the first are of other frames than VBench means: of the sixteen, the last ten are
never described. With strict=True: each frame by its own caption, and whole words (strict_rules.py).
Differs: a single frame is unscored, for it is no video, and so is a prompt without a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.encoders import Captioner, middle_indices, squares
from turbo_eval.scorers.vbench.spec import SCENE
from turbo_eval.scorers.vbench.strict_rules import Correctable, words_of
from turbo_train.errors import UserError

FRAMES_A_CAPTION = 3  # VBench's beams


def says(caption: str, place: str, *, strict: bool = False) -> bool:
    """Whether all words of a place are in a caption: as parts of words, or strictly as words."""
    if strict:
        return words_of(place) <= words_of(caption)
    return all(word in caption for word in place.split(" "))


class Scene(Correctable[Captioner]):
    """The rule over any captioner."""

    metric = SCENE

    def score(self, clip: Clip, features: Features) -> Score:
        """In [0, 1]. UserError: the prompt names no place."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        place = auxiliary(clip.prompt, SCENE, SCENE)
        captions = self._captions(features)
        return Score.of(sum(says(caption, place, strict=self.strict) for caption in captions) / len(captions))

    def _captions(self, features: Features) -> list[str]:
        """What each of the `middle` frames counts by."""
        frames = self.encoder.num_frames
        shared = 1 if self.strict else FRAMES_A_CAPTION

        def compute(clips: Sequence[Clip]) -> list[list[str]]:
            asking = [number for number, clip in enumerate(clips) if _can_be_asked(clip)]
            numbers = [middle_indices(len(clips[each].frames_THWC), frames)[: -(-frames // shared)] for each in asking]
            shown = [
                squares(clips[each], own.tolist(), self.encoder.side_px)
                for each, own in zip(asking, numbers, strict=True)
            ]
            said = dict(zip(asking, self.encoder.captions(shown), strict=True))
            return [said.get(number, []) for number in range(len(clips))]

        captions = features.together(("captions", self.encoder.encoder_id, shared), compute)
        return [captions[number // shared] for number in range(frames)]


def _can_be_asked(clip: Clip) -> bool:
    """A clip that will be unscored anyway costs no forward pass."""
    with suppress(UserError):
        return len(clip.frames_THWC) > 1 and bool(auxiliary(clip.prompt, SCENE, SCENE))
    return False
