"""Does the clip show what its prompt says? 1 or 0 per attribute, by the world's oracle in place of a human eye.

An attribute that the oracle cannot read is a miss, 0: nobody would see it. An attribute that the prompt does not say is
unscored. oracle_all is 1 when every attribute that the prompt says is right.
"""

from __future__ import annotations

from collections.abc import Mapping

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score, with_versions
from turbo_train.errors import UserError
from turbo_train.world.captions import Said
from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, SHAPES

VALUES = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS, "background": BACKGROUNDS}
ALL = "all"
ORACLE_METRICS = tuple(f"oracle_{name}" for name in (*VALUES, ALL))
SMALLEST_PX = 8  # turbo_train.world.oracle.read's own limit
COUNT = "count"
NO_ATTRIBUTES = "the prompt names no attributes of the world"


def said_by(attributes: Mapping[str, str]) -> Said:
    """The attributes of a one-object prompt as the oracle's question. UserError for a value that the world lacks."""
    for name, values in VALUES.items():
        if name in attributes and attributes[name] not in values:
            raise UserError(found=f"{name} {attributes[name]!r} in the prompt's attributes", expected=", ".join(values))
    thing = (attributes.get("shape"), attributes.get("colour"))
    return Said((thing,), attributes.get("motion"), attributes.get("background"), None)


def agreement(clip: Clip) -> dict[str, bool]:
    """For each attribute that the prompt says, and the number of things: is it right? Unread is wrong."""
    from turbo_train.world.oracle import read
    from turbo_train.world.oracle_agree import agree

    if min(clip.frames_THWC.shape[1:3]) < SMALLEST_PX:
        raise UserError(found=f"frames of {clip.frames_THWC.shape[1:3]} px", expected=f"at least {SMALLEST_PX} px")
    result = agree(read(clip.frames_THWC), said_by(clip.prompt.attributes))
    return {name: result[name] is True for name in (*VALUES, COUNT) if name == COUNT or name in clip.prompt.attributes}


class Oracle:
    """One metric of the oracle; the clip is read once for all of them."""

    scorer_id = with_versions("embedded/oracle@2", "opencv", "numpy")

    def __init__(self, metric: str) -> None:
        if metric not in ORACLE_METRICS:
            raise ValueError(f"{metric!r} is not one of {ORACLE_METRICS}")
        self.metric = metric
        self.attribute = metric.removeprefix("oracle_")

    def score(self, clip: Clip, features: Features) -> Score:
        """1.0 or 0.0, or unscored where the prompt says nothing of it."""
        asked = [name for name in VALUES if name in clip.prompt.attributes and self.attribute in (name, ALL)]
        if not asked:
            return Score.none(NO_ATTRIBUTES if self.attribute == ALL else f"the prompt names no {self.attribute}")
        if "motion" in asked and len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        right = features.get(("oracle", self.scorer_id), lambda: agreement(clip))
        if self.attribute == ALL:
            asked.append(COUNT)  # a second thing that nobody asked for is a fault
        return Score.of(float(all(right[name] for name in asked)))
