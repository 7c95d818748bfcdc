"""What does the detector see in a clip, and what is it asked for? Shared by the four dimensions on GRiT.

VBench shows it 16 `middle` frames of the clip (one that is shorter repeats its last) in each of the four; here one pass
serves all of them (vbench 0.1.5, whose networks see the same pixels and give the same boxes and names each time).
Captions are written in that pass where color is asked of the clip. Only of frames above 768 px color sees other pixels
than the three others (resized as bytes, not as floats), and has a pass of its own.
Clips that are scored together and want the same are shown together; what cannot be asked of a clip costs no pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Features
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.encoders import LARGE_PX, ObjectDetector, SeenObjects, middle_frames
from turbo_train.errors import UserError

ASKED: Mapping[str, tuple[str, ...]] = {  # the auxiliary information that each dimension needs
    spec.OBJECT_CLASS: ("object",),
    spec.MULTIPLE_OBJECTS: ("object",),
    spec.COLOR: ("color",),
    spec.SPATIAL_RELATIONSHIP: ("object_a", "object_b", "relationship"),
}


class Look(NamedTuple):
    """How the detector looks at a clip: the arguments of ObjectDetector.objects."""

    captions: bool
    as_bytes: bool


def asked_of(prompt: Prompt, dimension: str) -> list[str]:
    """What the dimension asks of the prompt's clips. UserError, which makes the clip unscored: something is missing."""
    return [auxiliary(prompt, dimension, name) for name in ASKED[dimension]]


def clip_objects(encoder: ObjectDetector, features: Features, dimension: str) -> Sequence[SeenObjects]:
    """What is seen in each `middle` frame of the clip, for a dimension that can be asked of it; computed once."""
    look = _look(features, dimension, dimension)

    def compute(lacking: Sequence[Features]) -> list[Sequence[SeenObjects] | None]:
        alike = [number for number, each in enumerate(lacking) if look in _looks(each, dimension)]
        frames = [middle_frames(lacking[number].clip, encoder.num_frames) for number in alike]
        found = encoder.objects(frames, captions=look.captions, as_bytes=look.as_bytes)
        seen = dict(zip(alike, found, strict=True))
        return [seen.get(number) for number in range(len(lacking))]

    objects = features.together_for(("objects", encoder.encoder_id, look), compute)
    assert objects is not None  # None: a clip that has no use for this look, and so never asks for it
    return objects


def share(verdicts: Iterable[bool]) -> float:
    """The share of the frames with a verdict of yes."""
    said = list(verdicts)
    return sum(said) / len(said)


def _askable(features: Features, dimension: str) -> set[str]:
    """Those of the four that are asked of the clip and can be; `dimension` is the one at work."""
    found = set()
    for name in ASKED.keys() & {*features.metrics, dimension}:
        with suppress(UserError):
            asked_of(features.clip.prompt, name)
            found.add(name)
    return found if len(features.clip.frames_THWC) > 1 else set()


def _look(features: Features, at_work: str, dimension: str) -> Look:
    if min(features.clip.frames_THWC.shape[1:3]) > LARGE_PX:
        return Look(captions=dimension == spec.COLOR, as_bytes=dimension == spec.COLOR)
    return Look(captions=spec.COLOR in _askable(features, at_work), as_bytes=False)


def _looks(features: Features, at_work: str) -> set[Look]:
    return {_look(features, at_work, name) for name in _askable(features, at_work)}
