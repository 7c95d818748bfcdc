"""Does the object have its colour? Of the frames that show it with a colour, the share with the colour asked for.

N_obj = frames in which a caption of the object names any of 12 colours; N_col = those in which one names the asked one
score = N_col / N_obj, for clips with N_obj > 0   (arXiv 2311.17982, section 3.2; vbench 0.1.5)
Captions are GRiT's of its DenseCap task, classes its names of ObjectDet for the same boxes. As in VBench
- the class of a frame's surest detection stands for all of them: if it is the object, every caption of the frame is
  the object's, else none is;
- a colour is a substring ("red" is in "covered"), and gray and grey are two;
- the object is what is left of the prompt without "a ", "an " and the colour, wherever they stand in it;
- N_col does not ask for N_obj: an asked colour that is none of the twelve may be found in more frames than that;
- clips without N_obj are left out of the mean.
A frame in which nothing is detected counts in neither number. With strict=True: strict_rules.py.
Differs: where no clip at all shows the object with a colour VBench divides by zero; here such clips are unscored, and
without any other the dimension has no number. So is a single frame, for it is no video, and a prompt without an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score
from turbo_eval.scorers.vbench.encoders import ObjectDetector, SeenObjects
from turbo_eval.scorers.vbench.objects import asked_of, clip_objects
from turbo_eval.scorers.vbench.spec import COLOR
from turbo_eval.scorers.vbench.strict_rules import Correctable, words_of
from turbo_train.errors import UserError

GREY = ("gray", "grey")
COLOURS = ("white", "red", "pink", "blue", "silver", "purple", "orange", "green", "yellow", "black", *GREY)
NOT_SHOWN = "no frame shows the object with a colour: left out of the mean, as in VBench"
ARTICLES = ("a ", "an ")


def asked_object(prompt: Prompt, colour: str) -> str:
    """The object of a prompt. UserError, which makes the clip unscored: nothing is left."""
    text = prompt.prompt
    for gone in (*ARTICLES, colour):
        text = text.replace(gone, "")
    if not text.strip():
        raise UserError(
            found=f"the prompt {prompt.prompt!r} names no object beside {colour!r}",
            expected="'a red car'",
            run_next="correct it in the suite",
        )
    return text.strip()


def captions_of(seen: SeenObjects, name: str, *, strict: bool = False) -> Iterator[str]:
    """The captions of a frame that count as the object's."""
    for own, caption in zip(seen.names, seen.captions, strict=True):
        if (own if strict else seen.names[0]) == name:
            yield caption


def names_colour(caption: str, colour: str, *, strict: bool = False) -> bool:
    """Whether a caption has the colour: as a part of any word, or strictly as a word."""
    if not strict:
        return colour in caption
    spellings = GREY if colour in GREY else (colour,)
    return any(words_of(spelling) <= words_of(caption) for spelling in spellings)


def counts(frames: Sequence[SeenObjects], name: str, colour: str, *, strict: bool = False) -> tuple[int, int]:
    """(N_obj, N_col) of an object and its colour. Strictly, an asked colour that is none of the twelve is one too."""
    known = {*COLOURS, colour} if strict else COLOURS
    shown = right = 0
    for seen in frames:
        captions = list(captions_of(seen, name, strict=strict))
        shown += any(names_colour(caption, each, strict=strict) for caption in captions for each in known)
        right += any(names_colour(caption, colour, strict=strict) for caption in captions)
    return shown, right


class Color(Correctable[ObjectDetector]):
    """The rule over any detector that describes what it sees. Scores of VBench's own prompts lie in [0, 1]."""

    metric = COLOR

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip's `middle` frames. UserError: the prompt names no colour, or no object."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        (colour,) = asked_of(clip.prompt, COLOR)
        name = asked_object(clip.prompt, colour)
        frames = clip_objects(self.encoder, features, COLOR)
        shown, right = counts(frames, name, colour, strict=self.strict)
        return Score.of(right / shown) if shown else Score.none(NOT_SHOWN)
