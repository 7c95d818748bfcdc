"""Which are VBench's sixteen dimensions, and what are their constants? The only place where they are spelled.

Facts of VBench 1.0 (arXiv 2311.17982): scripts/constant.py of its repository (Min, Max, weights, groups),
VBench_full_info.json of vbench 0.1.5 (prompts), its sampling protocol (5 clips per prompt; 25 of the flickering
prompts, of which the static filter keeps 5), and, for `averaging`, its dimension functions on one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from turbo_train.errors import UserError, near

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
    """One dimension. Raw scores lie in 0..1 or a little outside; normalised = (raw - minimum) / (maximum - minimum).

    weight: in the mean of its group. averaging: what the dimension's mean is taken over; `frames` and `frame_pairs`
    weigh a clip by its length. prompts, samples_per_prompt: the size of the standard suite. auxiliary: the prompt
    must bring more than its text.
    """

    name: str
    group: Group
    minimum: float
    maximum: float
    prompts: int
    question: str
    weight: float = 1.0
    averaging: Averaging = "clips"
    samples_per_prompt: int = 5
    auxiliary: bool = False


# name, group, minimum, maximum, prompts, question
DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        SUBJECT_CONSISTENCY, "quality", 0.1462, 1.0, 72, "does the subject keep its looks?", averaging="frame_pairs"
    ),
    Dimension(
        BACKGROUND_CONSISTENCY, "quality", 0.2615, 1.0, 86, "does the scene keep its looks?", averaging="frame_pairs"
    ),
    Dimension(
        TEMPORAL_FLICKERING, "quality", 0.6293, 1.0, 75, "is a static clip free of flicker?", samples_per_prompt=25
    ),
    Dimension(MOTION_SMOOTHNESS, "quality", 0.706, 0.9975, 72, "can frames be foretold from their neighbours?"),
    Dimension(DYNAMIC_DEGREE, "quality", 0.0, 1.0, 72, "does anything move far enough?", weight=0.5),
    Dimension(AESTHETIC_QUALITY, "quality", 0.0, 1.0, 93, "would people find the frames beautiful?"),
    Dimension(IMAGING_QUALITY, "quality", 0.0, 1.0, 93, "are the frames free of blur and noise?"),
    Dimension(OBJECT_CLASS, "semantic", 0.0, 1.0, 79, "is the object there?", auxiliary=True),
    Dimension(MULTIPLE_OBJECTS, "semantic", 0.0, 1.0, 82, "are both objects there?", auxiliary=True),
    Dimension(HUMAN_ACTION, "semantic", 0.0, 1.0, 100, "does the person do what was asked?"),
    Dimension(COLOR, "semantic", 0.0, 1.0, 85, "does the object have its colour?", auxiliary=True),
    Dimension(SPATIAL_RELATIONSHIP, "semantic", 0.0, 1.0, 84, "do the objects lie as they should?", auxiliary=True),
    Dimension(SCENE, "semantic", 0.0, 0.8222, 86, "is it the right place?", auxiliary=True),
    Dimension(
        APPEARANCE_STYLE,
        "semantic",
        0.0009,
        0.2855,
        90,
        "do the frames have the style?",
        averaging="frames",
        auxiliary=True,
    ),
    Dimension(TEMPORAL_STYLE, "semantic", 0.0, 0.364, 100, "does the camera or the motion have the style?"),
    Dimension(OVERALL_CONSISTENCY, "semantic", 0.0, 0.364, 93, "does the clip show what the text says?"),
)
NAMES: tuple[str, ...] = tuple(d.name for d in DIMENSIONS)
QUALITY: tuple[str, ...] = tuple(d.name for d in DIMENSIONS if d.group == "quality")
SEMANTIC: tuple[str, ...] = tuple(d.name for d in DIMENSIONS if d.group == "semantic")
QUALITY_WEIGHT = 4.0
SEMANTIC_WEIGHT = 1.0
QUALITY_SCORE, SEMANTIC_SCORE, TOTAL_SCORE = "quality_score", "semantic_score", "total_score"
SCORES = (QUALITY_SCORE, SEMANTIC_SCORE, TOTAL_SCORE)


def dimension(name: str) -> Dimension:
    """The dimension of that name; a UserError with the nearest name otherwise."""
    for candidate in DIMENSIONS:
        if candidate.name == name:
            return candidate
    raise unknown_name("dimension", name, NAMES)


def unknown_name(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that nobody knows, with a guess at what was meant."""
    found = f"unknown {kind} {name!r}{near(name, known)}"
    return UserError(found=found, expected=f"one of {', '.join(known)}", run_next="turbo-eval list dimensions")
