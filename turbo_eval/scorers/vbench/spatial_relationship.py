"""Do the objects lie as they should? The mean over frames of the best pair's score.

A pair of boxes with centres (dx, dy) apart has, for left and right: 1 where |dx| > |dy| and IoU < 0.1, 0.1 / IoU where
|dx| > |dy| and IoU >= 0.1, else 0; for top and bottom the same with |dy| > |dx|. A frame has its best pair's, or 0
(arXiv 2311.17982, section 3.2; vbench 0.1.5; GRiT's ObjectDet names and boxes, whose corners are cut to whole pixels).
What is asked is the prompt's auxiliary information: object_a, object_b and the relationship of a to b. As in VBench
- the direction does not count: left is right, top is bottom;
- the pair is any two boxes named like either object, two of one of them as well.
A frame in which nothing is detected, or a single box, has 0. With strict=True: strict_rules.py.
Differs: two boxes without an area end VBench with a division by zero; here their IoU is 0. Another relationship than
the four is unscored, where VBench takes any part of their texts, and gives 0 to the rest. So is a single frame.
Shape legend: N M boxes as x1, y1, x2, y2 in px.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score
from turbo_eval.scorers.vbench.encoders import IntArray, ObjectDetector, SeenObjects
from turbo_eval.scorers.vbench.objects import asked_of, clip_objects
from turbo_eval.scorers.vbench.spec import SPATIAL_RELATIONSHIP
from turbo_eval.scorers.vbench.strict_rules import Correctable
from turbo_train.errors import UserError

OVERLAP = 0.1  # IoU from which a pair's score falls
# relationship of a to b -> axis (0: x, 1: y), and the sign of (b's centre - a's) on it; y runs downwards
DIRECTIONS = {
    "on the left of": (0, 1),
    "on the right of": (0, -1),
    "on the top of": (1, 1),
    "on the bottom of": (1, -1),
}


def asked_relationship(prompt: Prompt) -> tuple[str, str, str]:
    """object_a, object_b, relationship. UserError, which makes the clip unscored: one is missing or not known."""
    first, second, relationship = asked_of(prompt, SPATIAL_RELATIONSHIP)
    if relationship not in DIRECTIONS:
        raise UserError(
            found=f"relationship {relationship!r}",
            expected=f"one of {', '.join(DIRECTIONS)}",
            run_next="correct it in the suite",
        )
    return first, second, relationship


def overlaps(first_N4: IntArray, second_M4: IntArray) -> NDArray[np.float64]:
    """(N, M) intersection over union of every pair; 0 where neither has an area."""
    low_NM2 = np.maximum(first_N4[:, None, :2], second_M4[None, :, :2])
    high_NM2 = np.minimum(first_N4[:, None, 2:], second_M4[None, :, 2:])
    shared_NM = np.clip(high_NM2 - low_NM2, 0, None).prod(-1)
    area_N, area_M = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first_N4, second_M4))
    union_NM = area_N[:, None] + area_M[None] - shared_NM
    ratio_NM: NDArray[np.float64] = np.divide(shared_NM, union_NM, out=np.zeros(union_NM.shape), where=union_NM != 0)
    return ratio_NM


def pair_scores(
    first_N4: IntArray, second_M4: IntArray, relationship: str, *, strict: bool = False
) -> NDArray[np.float64]:
    """(N, M) score of every pair; strictly only where the first lies on its side of the second."""
    axis, sign = DIRECTIONS[relationship]
    centres_N2, centres_M2 = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (first_N4, second_M4))
    apart_NM2 = centres_M2[None] - centres_N2[:, None]
    lies_NM = np.abs(apart_NM2[..., axis]) > np.abs(apart_NM2[..., 1 - axis])
    if strict:
        lies_NM &= sign * apart_NM2[..., axis] > 0
    # 0.1 / max(0.1, IoU) is 1 below 0.1, where both are the same number.
    return np.where(lies_NM, OVERLAP / np.maximum(OVERLAP, overlaps(first_N4, second_M4)), 0.0)


def frame_score(seen: SeenObjects, asked: tuple[str, str, str], *, strict: bool = False) -> float:
    """The best pair's score in a frame; 0.0 without a pair. asked: as of asked_relationship."""
    first, second, relationship = asked
    boxes_N4 = np.asarray(seen.boxes_N4, np.int64).reshape(-1, 4)
    is_first, is_second = (np.array([own == name for own in seen.names], bool) for name in (first, second))
    if strict:  # a box is not on any side of itself, should both names be one
        return float(pair_scores(boxes_N4[is_first], boxes_N4[is_second], relationship, strict=True).max(initial=0.0))
    either_N4 = boxes_N4[is_first | is_second]
    return float(np.triu(pair_scores(either_N4, either_N4, relationship), 1).max(initial=0.0))


class SpatialRelationship(Correctable[ObjectDetector]):
    """The rule over any detector. Scores lie in [0, 1]."""

    metric = SPATIAL_RELATIONSHIP

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the clip's `middle` frames. UserError: the prompt names no two objects and their relationship."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        asked = asked_relationship(clip.prompt)
        frames: Sequence[SeenObjects] = clip_objects(self.encoder, features, SPATIAL_RELATIONSHIP)
        return Score.of(float(np.mean([frame_score(seen, asked, strict=self.strict) for seen in frames])))
