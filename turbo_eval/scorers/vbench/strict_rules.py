"""Which of VBench's rules are corrected under `--strict-rules`, and why? Scores of those have ids of their own.

By default every rule is VBench's, so that numbers can be set beside published ones. Corrected are
color                 each caption counts for its own detection's class, where VBench takes the class of the frame's
                      surest detection for every caption; a colour is a whole word ("red" is not in "covered"), and
                      gray and grey are one colour.
spatial_relationship  the direction counts: of two objects side by side one is on the left; and the two boxes are one of
                      object_a and one of object_b, where VBench takes left for right and two boxes of one class.
scene                 each word of the place is a whole word of the caption, and each frame counts by its own caption,
                      where VBench takes that of the frame at a third of its number.
object_class and multiple_objects compare whole names already: nothing is to be corrected, and their ids stay.
Static filter, networks and frames are the same; so are published numbers, which are by VBench's rules and are not set
beside these.
"""

from __future__ import annotations

import re

from turbo_eval.scorers.base import E, OnEncoder
from turbo_eval.scorers.vbench import spec

STRICT = "strict"
CORRECTED = (spec.COLOR, spec.SPATIAL_RELATIONSHIP, spec.SCENE)
WORD = re.compile(r"[^\W_]+")


class Correctable(OnEncoder[E]):
    """A scorer whose rule is VBench's, or strictly the corrected one, under an id of its own."""

    def __init__(self, encoder: E, *, strict: bool = False) -> None:
        super().__init__(encoder)
        self.strict = strict
        if strict:
            self.scorer_id = strict_id(encoder.encoder_id)


def strict_id(encoder_id: str) -> str:
    """`vbench/x@1-0123abcd-strict+torch2`: the encoder's id with a label before the versions of its packages."""
    name, plus, versions = encoder_id.partition("+")
    return f"{name}-{STRICT}{plus}{versions}"


def is_strict(scorer_id: str) -> bool:
    """Whether the score is by a corrected rule."""
    return STRICT in scorer_id.partition("+")[0].split("-")


def words_of(text: str) -> frozenset[str]:
    """The words of a text, in lower case; what is neither letter nor digit parts them."""
    return frozenset(WORD.findall(text.lower()))
