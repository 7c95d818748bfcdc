"""Which are VBench's sixteen dimensions, and what are their constants? The only place where they are spelled.

Facts of VBench 1.0 (arXiv 2311.17982) as in vbench 0.1.5: scripts/constant.py (Min, Max, weights, groups), VBench_full_info.json
(prompts), the sampling protocol (5 clips per prompt, 25 for the flickering prompts, of which the static filter keeps 5), and, for
`averaging`, the dimension functions on one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from turbo_train.errors import UserError

SUBJECT_CONSISTENCY = "subject_consistency"
BACKGROUND_CONSISTENCY = "background_consistency"
TEMPORAL_FLICKERING = "temporal_flickering"
MOTION_SMOOTHNESS = "motion_smoothness"
DYNAMIC_DEGREE = "dynamic_degree"
AESTHETIC_QUALITY = "aesthetic_quality"
IMAGING_QUALITY = "imaging_quality"
OBJECT_CLASS = "object_class"
MULTIPLE_OBJECTS = "multiple_objects"
HUMAN_ACTION = "human_action"
COLOR = "color"
SPATIAL_RELATIONSHIP = "spatial_relationship"
SCENE = "scene"
APPEARANCE_STYLE = "appearance_style"
TEMPORAL_STYLE = "temporal_style"
OVERALL_CONSISTENCY = "overall_consistency"

Group = Literal["quality", "semantic"]
Averaging = Literal["clips", "frames", "frame_pairs"]


@dataclass(frozen=True)
class Dimension:
    """One dimension. Raw scores lie in 0..1 or a little outside (cosines); normalised = (raw - minimum) / (maximum - minimum).

    averaging: what the dimension's mean is taken over. `frames` and `frame_pairs` weigh a clip by its length.
    prompts, samples_per_prompt: the size of the standard suite. auxiliary: the prompt must bring more than its text.
    """

    name: str
    group: Group
    minimum: float
    maximum: float
    weight: float
    prompts: int
    averaging: Averaging
    auxiliary: bool
    question: str
    samples_per_prompt: int = 5


# name, group, minimum, maximum, weight, prompts, averaging, auxiliary, question
DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(SUBJECT_CONSISTENCY, "quality", 0.1462, 1.0, 1.0, 72, "frame_pairs", False, "does the subject keep its looks through the clip?"),
    Dimension(BACKGROUND_CONSISTENCY, "quality", 0.2615, 1.0, 1.0, 86, "frame_pairs", False, "does the scene behind keep its looks?"),
    Dimension(TEMPORAL_FLICKERING, "quality", 0.6293, 1.0, 1.0, 75, "clips", False, "is a static clip free of flicker?", samples_per_prompt=25),
    Dimension(MOTION_SMOOTHNESS, "quality", 0.706, 0.9975, 1.0, 72, "clips", False, "can every second frame be foretold from its neighbours?"),
    Dimension(DYNAMIC_DEGREE, "quality", 0.0, 1.0, 0.5, 72, "clips", False, "does anything move far enough?"),
    Dimension(AESTHETIC_QUALITY, "quality", 0.0, 1.0, 1.0, 93, "clips", False, "would people find the frames beautiful?"),
    Dimension(IMAGING_QUALITY, "quality", 0.0, 1.0, 1.0, 93, "clips", False, "are the frames free of blur, noise and bad exposure?"),
    Dimension(OBJECT_CLASS, "semantic", 0.0, 1.0, 1.0, 79, "clips", True, "is the object there that was asked for?"),
    Dimension(MULTIPLE_OBJECTS, "semantic", 0.0, 1.0, 1.0, 82, "clips", True, "are both objects there?"),
    Dimension(HUMAN_ACTION, "semantic", 0.0, 1.0, 1.0, 100, "clips", False, "does the person do what was asked for?"),
    Dimension(COLOR, "semantic", 0.0, 1.0, 1.0, 85, "clips", True, "does the object have its colour?"),
    Dimension(SPATIAL_RELATIONSHIP, "semantic", 0.0, 1.0, 1.0, 84, "clips", True, "do the two objects lie as they should?"),
    Dimension(SCENE, "semantic", 0.0, 0.8222, 1.0, 86, "clips", True, "is it the place that was asked for?"),
    Dimension(APPEARANCE_STYLE, "semantic", 0.0009, 0.2855, 1.0, 90, "frames", True, "do the frames have the style?"),
    Dimension(TEMPORAL_STYLE, "semantic", 0.0, 0.364, 1.0, 100, "clips", False, "does the camera or the motion have the style?"),
    Dimension(OVERALL_CONSISTENCY, "semantic", 0.0, 0.364, 1.0, 93, "clips", False, "does the clip as a whole show what the text says?"),
)
NAMES: tuple[str, ...] = tuple(d.name for d in DIMENSIONS)
QUALITY: tuple[str, ...] = tuple(d.name for d in DIMENSIONS if d.group == "quality")
SEMANTIC: tuple[str, ...] = tuple(d.name for d in DIMENSIONS if d.group == "semantic")
QUALITY_WEIGHT = 4.0
SEMANTIC_WEIGHT = 1.0
EMBEDDED_TITLE = "embedded encoders: not comparable with VBench"


def dimension(name: str) -> Dimension:
    """The dimension of that name; a UserError with the nearest name otherwise."""
    for candidate in DIMENSIONS:
        if candidate.name == name:
            return candidate
    raise unknown_name("dimension", name, NAMES)


def unknown_name(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that nobody knows, with a guess at what was meant."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"
    return UserError(found=f"unknown {kind} {name!r}", expected=guess, run_next="turbo-eval list dimensions")
