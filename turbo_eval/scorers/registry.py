"""Which scorers are there, and what is not scored, and why?

One profile, `embedded`: VBench's formulas over the world's judges and OpenCV, where that is honest, and the oracle.
Backbones are loaded when the first dimension asks for them, and once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from turbo_eval.scorers.base import Scorer
from turbo_eval.scorers.oracle import ORACLE_METRICS, Oracle
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.background_consistency import BackgroundConsistency
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.encoders.dense_flow import OpenCvFlow
from turbo_eval.scorers.vbench.motion_smoothness import MotionSmoothness
from turbo_eval.scorers.vbench.overall_consistency import OverallConsistency
from turbo_eval.scorers.vbench.subject_consistency import SubjectConsistency
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering
from turbo_train.world import WEIGHTS

if TYPE_CHECKING:
    from turbo_eval.scorers.vbench.encoders.judges import ImageJudge, VideoJudge

EMBEDDED = "embedded"
PROFILES = (EMBEDDED,)

NO_ENCODER: Mapping[str, str] = {
    spec.AESTHETIC_QUALITY: "no honest embedded encoder: nobody has rated the world's clips for beauty",
    spec.IMAGING_QUALITY: "no honest embedded encoder: nobody has rated the world's clips for blur and noise",
    spec.OBJECT_CLASS: "no honest embedded encoder: no COCO object is in the world (oracle_shape reads its shapes)",
    spec.MULTIPLE_OBJECTS: "no honest embedded encoder: no COCO object is in the world",
    spec.HUMAN_ACTION: "no honest embedded encoder: nobody is in the world",
    spec.COLOR: "no honest embedded encoder: it is asked of COCO's objects (oracle_colour reads the world's)",
    spec.SPATIAL_RELATIONSHIP: "no honest embedded encoder: it is asked of pairs of COCO's objects",
    spec.SCENE: "no honest embedded encoder: the world has plain backgrounds, no places (oracle_background reads them)",
    spec.APPEARANCE_STYLE: "no honest embedded encoder: the world knows one style",
    spec.TEMPORAL_STYLE: "no honest embedded encoder: the world has no camera (oracle_motion reads its motions)",
}


class Encoders:
    """The embedded backbones, each loaded at its first use."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    @cached_property
    def image(self) -> ImageJudge:
        """The image judge. Raises UserError where its weights are missing."""
        from turbo_eval.scorers.vbench.encoders.judges import load_image_judge

        return load_image_judge(self.weights / "judge_image")

    @cached_property
    def video(self) -> VideoJudge:
        """The video judge. Raises UserError where its weights are missing."""
        from turbo_eval.scorers.vbench.encoders.judges import load_video_judge

        return load_video_judge(self.weights / "judge_video")

    @cached_property
    def flow(self) -> OpenCvFlow:
        """OpenCV's dense flow; no weights."""
        return OpenCvFlow()


BUILDERS: Mapping[str, Callable[[Encoders], Scorer]] = {
    spec.SUBJECT_CONSISTENCY: lambda encoders: SubjectConsistency(encoders.image),
    spec.BACKGROUND_CONSISTENCY: lambda encoders: BackgroundConsistency(encoders.image),
    spec.TEMPORAL_FLICKERING: lambda encoders: TemporalFlickering(),
    spec.MOTION_SMOOTHNESS: lambda encoders: MotionSmoothness(encoders.flow),
    spec.DYNAMIC_DEGREE: lambda encoders: DynamicDegree(encoders.flow),
    spec.OVERALL_CONSISTENCY: lambda encoders: OverallConsistency(encoders.video),
}


class Scorers(NamedTuple):
    """The scorers that can be had, and for every other dimension that was asked for the reason."""

    scorers: list[Scorer]
    unscored: dict[str, str]


def metric_names() -> tuple[str, ...]:
    """VBench's sixteen dimensions in VBench's order, then the oracle's metrics."""
    return (*spec.NAMES, *ORACLE_METRICS)


def build_scorers(
    profile: str = EMBEDDED, dimensions: Sequence[str] | None = None, *, weights: Path | None = None
) -> Scorers:
    """Scorers for the metrics of that name, in the order of `metric_names`; None is all of them.

    weights: a folder with judge_image/ and judge_video/, by default the package's; read only if a metric needs it.
    Raises UserError for an unknown profile or metric (with a guess) and for missing weights.
    """
    if profile not in PROFILES:
        raise spec.unknown_name("profile", profile, PROFILES)
    names = metric_names()
    for name in dimensions or ():
        if name not in names:
            raise spec.unknown_name("dimension", name, names)
    encoders = Encoders(weights or WEIGHTS)
    wanted = [name for name in names if dimensions is None or name in dimensions]
    scorers = [BUILDERS[name](encoders) for name in wanted if name in BUILDERS]
    scorers += [Oracle(name) for name in wanted if name in ORACLE_METRICS]
    return Scorers(scorers, {name: NO_ENCODER[name] for name in wanted if name in NO_ENCODER})
