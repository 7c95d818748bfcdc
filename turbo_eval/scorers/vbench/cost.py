"""How many operations do VBench's dimensions take on a clip, with what they share? No weights, no torch.

Shared: temporal_style and overall_consistency are one feature of ViCLIP; the four dimensions of GRiT are one pass, with
captions only where color is asked; dynamic_degree and temporal_flickering's static filter share RAFT's pairs.
CLIP ViT-B/32 sees a clip twice, for background and style resize it differently. Decoding is one for all.
RAFT's pairs depend on the clip: a verdict may be certain early, so that its work has a least and a most.
Left out: the scorers' text towers (a pass for each prompt or style, below 0.1 %), and what is no product of matrices.
Assumed, for nobody knows before there are clips: OBJECTS a frame, and the lengths of the texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from turbo_eval.scorers.vbench import operations as of
from turbo_eval.scorers.vbench import operations_captions as captions
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.encoders import LARGE_PX
from turbo_eval.scorers.vbench.operations import NOTHING, Operations

OBJECTS = 10  # a frame's, that VBench's threshold keeps
NAME_WORDS, DESCRIPTION_WORDS, CAPTION_WORDS = 2, 8, 12  # word pieces
ASSUMED = (
    f"assumed: {OBJECTS} objects a frame, names of {NAME_WORDS}, descriptions of {DESCRIPTION_WORDS} and captions of "
    f"{CAPTION_WORDS} word pieces"
)
MIDDLE_FRAMES = 16  # that GRiT, Tag2Text and UMT see
CAPTIONED_FRAMES = 6  # of them, that VBench's scene goes by (scene.py)
LEAST_PX = 128  # a side, to which RAFT's and AMT's smaller frames are padded
ON_GRIT = (spec.OBJECT_CLASS, spec.MULTIPLE_OBJECTS, spec.COLOR, spec.SPATIAL_RELATIONSHIP)
SERVES: Mapping[str, tuple[str, ...]] = {  # network -> dimensions
    "GRiT-B": ON_GRIT,
    "Tag2Text": (spec.SCENE,),
    "RAFT": (spec.DYNAMIC_DEGREE, spec.TEMPORAL_FLICKERING),
    "AMT-S": (spec.MOTION_SMOOTHNESS,),
    "ViCLIP-L/14": (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY),
    "UMT-L/16": (spec.HUMAN_ACTION,),
    "CLIP-L/14, LAION": (spec.AESTHETIC_QUALITY,),
    "DINO-B/16": (spec.SUBJECT_CONSISTENCY,),
    "MUSIQ": (spec.IMAGING_QUALITY,),
    "CLIP-B/32": (spec.BACKGROUND_CONSISTENCY, spec.APPEARANCE_STYLE),
}


@dataclass(frozen=True)
class ClipShape:
    """Of a clip: frames, pixels, frames per second."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames * self.height * self.width


class Bounds(NamedTuple):
    """The least and the most operations."""

    least: Operations
    most: Operations

    @classmethod
    def exactly(cls, operations: Operations) -> Bounds:
        """Where both are the same."""
        return cls(operations, operations)


@dataclass(frozen=True)
class Rules:
    """How clips are scored. filtered: temporal_flickering asks the static filter first, least of static clips.

    at_once: pairs in a pass of RAFT, which is always computed to its end. strict: scene goes by all frames' captions.
    """

    filtered: bool = True
    at_once: int = 8
    strict: bool = False


RULES = Rules()


def clip_cost(dimensions: Collection[str], shape: ClipShape, rules: Rules = RULES) -> dict[str, Bounds]:
    """Operations of each network on one clip that these dimensions are asked of; networks without any are left out."""
    asked = set(dimensions) if shape.frames > 1 else set()
    costs = {"RAFT": _flow(asked, shape, rules)}
    costs |= {network: Bounds.exactly(operations) for network, operations in _fixed(asked, shape, rules.strict)}
    return {network: costs[network] for network in SERVES if network in costs and costs[network].most.total}


def _fixed(asked: AbstractSet[str], shape: ClipShape, strict: bool) -> Iterator[tuple[str, Operations]]:
    """Of the networks whose work the clip's content does not change, but as it is assumed."""
    frames, height, width = shape.frames, shape.height, shape.width
    seen = min(MIDDLE_FRAMES, frames)  # frames that repeat are looked at once
    yield "GRiT-B", seen * _objects(asked, height, width)
    if spec.SCENE in asked:
        captioned = seen if strict else min(CAPTIONED_FRAMES, frames)
        yield "Tag2Text", captioned * (captions.tag2text_picture() + captions.tag2text_caption(CAPTION_WORDS))
    if spec.MOTION_SMOOTHNESS in asked:
        yield "AMT-S", (frames - 1) // 2 * of.amt(max(height, LEAST_PX), max(width, LEAST_PX))
    if asked & set(SERVES["ViCLIP-L/14"]):
        yield "ViCLIP-L/14", of.viclip()
    if spec.HUMAN_ACTION in asked:
        yield "UMT-L/16", of.umt()
    if spec.AESTHETIC_QUALITY in asked:
        yield "CLIP-L/14, LAION", frames * of.aesthetic()
    if spec.SUBJECT_CONSISTENCY in asked:
        yield "DINO-B/16", frames * of.dino(height, width)
    if spec.IMAGING_QUALITY in asked:
        yield "MUSIQ", frames * of.musiq(height, width)
    yield "CLIP-B/32", frames * len(asked & set(SERVES["CLIP-B/32"])) * of.clip_b32()


def _objects(asked: Collection[str], height: int, width: int) -> Operations:
    """GRiT on one frame."""
    wanted = [name for name in ON_GRIT if name in asked]
    if not wanted:
        return NOTHING
    apart = spec.COLOR in wanted and len(wanted) > 1 and min(height, width) > LARGE_PX
    one = captions.grit_frame(height, width) + captions.grit_objects(OBJECTS) + captions.grit_texts(OBJECTS, NAME_WORDS)
    described = captions.grit_texts(OBJECTS, DESCRIPTION_WORDS) if spec.COLOR in wanted else NOTHING
    return one * (2 if apart else 1) + described


def _flow(asked: Collection[str], shape: ClipShape, rules: Rules) -> Bounds:
    """RAFT: consecutive pairs of dynamic_degree's and of the filter's frames, and the filter's two from end to end."""
    runs: dict[int, list[tuple[int, int]]] = {}  # interval -> least and most pairs of each that asks
    ends = NOTHING
    if spec.DYNAMIC_DEGREE in asked:
        interval = max(1, round(shape.fps / 8))
        kept = len(range(0, shape.frames, interval))
        wanted = round(4 * kept / 16)
        if kept > 1:
            runs.setdefault(interval, []).append((min(max(wanted, 1), kept - wanted), kept - 1))
    if spec.TEMPORAL_FLICKERING in asked and rules.filtered:
        allowed = round(2 * shape.frames / 16)
        runs.setdefault(1, []).append((max(1, shape.frames - 1 - allowed), shape.frames - 1))
        ends = _pairs(shape, min(2, shape.frames - 1), 2)  # of two frames one is a consecutive pair
    least = most = ends
    for asking in runs.values():
        total = max(pairs for _, pairs in asking)
        certain = ceil(max(pairs for pairs, _ in asking) / rules.at_once) * rules.at_once
        least += _pairs(shape, min(certain, total))
        most += _pairs(shape, total)
    return Bounds(least, most)


def _pairs(shape: ClipShape, count: int, frames: int | None = None) -> Operations:
    """So many pairs in a row. frames: that they consist of."""
    features = (count + 1 if frames is None else frames) + count  # and the context of each first frame
    height, width = max(shape.height, LEAST_PX), max(shape.width, LEAST_PX)
    return features * of.raft_encoder(height, width) + count * of.raft_pair(height, width)
