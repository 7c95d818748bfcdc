"""Which scorers are there, and what is not scored, and why?

Two profiles fill the same formulas with encoders: `vbench` with the networks that VBench uses, where their published
weights are on this machine, and `embedded` with the world's judges and OpenCV, where that is honest, and the oracle.
Backbones are loaded when the first clip needs them (the judges: when the first dimension asks for them), and once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from turbo_eval.scorers.base import Scorer
from turbo_eval.scorers.oracle import ORACLE_METRICS, Oracle
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aesthetic_quality import AestheticQuality
from turbo_eval.scorers.vbench.appearance_style import AppearanceStyle
from turbo_eval.scorers.vbench.background_consistency import BackgroundConsistency
from turbo_eval.scorers.vbench.color import Color
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.embedded import EmbeddedEncoders
from turbo_eval.scorers.vbench.encoders import (
    ActionClassifier,
    Captioner,
    DenseFlow,
    FrameInterpolator,
    FrameScores,
    ImageFeatures,
    ImageText,
    ObjectDetector,
    VideoText,
)
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode
from turbo_eval.scorers.vbench.human_action import HumanAction
from turbo_eval.scorers.vbench.imaging_quality import ImagingQuality
from turbo_eval.scorers.vbench.motion_smoothness import MotionSmoothness
from turbo_eval.scorers.vbench.multiple_objects import MultipleObjects
from turbo_eval.scorers.vbench.networks import Networks
from turbo_eval.scorers.vbench.object_class import ObjectClass
from turbo_eval.scorers.vbench.overall_consistency import OverallConsistency
from turbo_eval.scorers.vbench.scene import Scene
from turbo_eval.scorers.vbench.spatial_relationship import SpatialRelationship
from turbo_eval.scorers.vbench.static_filter import StaticFilter
from turbo_eval.scorers.vbench.subject_consistency import SubjectConsistency
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering
from turbo_eval.scorers.vbench.temporal_style import TemporalStyle
from turbo_train.world import WEIGHTS

EMBEDDED, VBENCH = "embedded", "vbench"
STATIC_FILTER = "static_filter"  # its name among the users of weights.lock
PROFILES = (EMBEDDED, VBENCH)


class Encoders(Protocol):
    """What a profile offers. An encoder is asked for only where `why_not` has nothing to say against it."""

    def why_not(self, dimension: str) -> str:
        """Why a dimension cannot be scored; "" where it can."""

    @property
    def subject(self) -> ImageFeatures: ...
    @property
    def background(self) -> ImageFeatures: ...
    @property
    def aesthetic(self) -> FrameScores: ...
    @property
    def imaging(self) -> FrameScores: ...
    @property
    def style(self) -> ImageText: ...
    @property
    def interpolator(self) -> FrameInterpolator: ...
    @property
    def flow(self) -> DenseFlow: ...
    @property
    def video(self) -> VideoText: ...
    @property
    def actions(self) -> ActionClassifier: ...
    @property
    def objects(self) -> ObjectDetector: ...
    @property
    def captioner(self) -> Captioner: ...


BUILDERS: Mapping[str, Callable[[Encoders], Scorer]] = {
    spec.SUBJECT_CONSISTENCY: lambda encoders: SubjectConsistency(encoders.subject),
    spec.BACKGROUND_CONSISTENCY: lambda encoders: BackgroundConsistency(encoders.background),
    spec.TEMPORAL_FLICKERING: lambda encoders: TemporalFlickering(),
    spec.MOTION_SMOOTHNESS: lambda encoders: MotionSmoothness(encoders.interpolator),
    spec.DYNAMIC_DEGREE: lambda encoders: DynamicDegree(encoders.flow),
    spec.AESTHETIC_QUALITY: lambda encoders: AestheticQuality(encoders.aesthetic),
    spec.IMAGING_QUALITY: lambda encoders: ImagingQuality(encoders.imaging),
    spec.OBJECT_CLASS: lambda encoders: ObjectClass(encoders.objects),
    spec.MULTIPLE_OBJECTS: lambda encoders: MultipleObjects(encoders.objects),
    spec.HUMAN_ACTION: lambda encoders: HumanAction(encoders.actions),
    spec.COLOR: lambda encoders: Color(encoders.objects),
    spec.SPATIAL_RELATIONSHIP: lambda encoders: SpatialRelationship(encoders.objects),
    spec.SCENE: lambda encoders: Scene(encoders.captioner),
    spec.APPEARANCE_STYLE: lambda encoders: AppearanceStyle(encoders.style),
    spec.TEMPORAL_STYLE: lambda encoders: TemporalStyle(encoders.video),
    spec.OVERALL_CONSISTENCY: lambda encoders: OverallConsistency(encoders.video),
}
STRICT_BUILDERS: Mapping[str, Callable[[Encoders], Scorer]] = {  # of strict_rules.CORRECTED
    **BUILDERS,
    spec.COLOR: lambda encoders: Color(encoders.objects, strict=True),
    spec.SPATIAL_RELATIONSHIP: lambda encoders: SpatialRelationship(encoders.objects, strict=True),
    spec.SCENE: lambda encoders: Scene(encoders.captioner, strict=True),
}


class Scorers(NamedTuple):
    """The scorers that can be had, and for every other dimension that was asked for the reason."""

    scorers: list[Scorer]
    unscored: dict[str, str]


def metric_names() -> tuple[str, ...]:
    """VBench's sixteen dimensions in VBench's order, then the oracle's metrics."""
    return (*spec.NAMES, *ORACLE_METRICS)


def build_scorers(
    profile: str = EMBEDDED,
    dimensions: Sequence[str] | None = None,
    *,
    weights: Path | None = None,
    mode: Mode = MODE,
    static_filter: bool = False,
    strict_rules: bool = False,
) -> Scorers:
    """Scorers for the metrics of that name, in the order of `metric_names`; None is all of them.

    weights: of the embedded profile, a folder with judge_image/ and judge_video/, by default the package's. mode: of
    VBench's networks. static_filter: temporal flickering is asked of static clips only. strict_rules: the corrected
    rules of vbench/strict_rules.py in place of VBench's. The oracle reads the embedded world alone.
    Raises UserError for an unknown profile or metric (with a guess) and for missing or damaged weights of the world.
    """
    if profile not in PROFILES:
        raise spec.unknown_name("profile", profile, PROFILES)
    names = metric_names()
    for name in dimensions or ():
        if name not in names:
            raise spec.unknown_name("dimension", name, names)
    encoders: Any = Networks(mode) if profile == VBENCH else EmbeddedEncoders(weights or WEIGHTS)
    wanted = [name for name in names if dimensions is None or name in dimensions]
    unscored = {name: why for name in wanted if name in spec.NAMES and (why := encoders.why_not(name))}
    if static_filter and spec.TEMPORAL_FLICKERING in wanted and (why := encoders.why_not(STATIC_FILTER)):
        unscored[spec.TEMPORAL_FLICKERING] = why
    builders = STRICT_BUILDERS if strict_rules else BUILDERS
    scorers = [builders[name](encoders) for name in wanted if name in builders and name not in unscored]
    if static_filter:
        kept = StaticFilter(encoders.flow) if spec.TEMPORAL_FLICKERING not in unscored else None
        scorers = [TemporalFlickering(kept) if s.metric == spec.TEMPORAL_FLICKERING else s for s in scorers]
    oracle = [name for name in wanted if name in ORACLE_METRICS]
    if profile == EMBEDDED:
        scorers += [Oracle(name) for name in oracle]
    elif dimensions is not None:
        unscored |= dict.fromkeys(oracle, f"it reads the embedded world alone: --encoders {EMBEDDED}")
    return Scorers(scorers, unscored)


def expected_metrics(profile: str, *, static_filter: bool = False) -> list[str]:
    """The metrics that `build_scorers` has scorers for here, in the order of `metric_names`; nothing is loaded."""
    encoders: Networks | EmbeddedEncoders = Networks() if profile == VBENCH else EmbeddedEncoders(WEIGHTS)
    dimensions = [name for name in spec.NAMES if not encoders.why_not(name)]
    if static_filter and encoders.why_not(STATIC_FILTER):
        dimensions.remove(spec.TEMPORAL_FLICKERING)
    return [*dimensions, *(ORACLE_METRICS if profile == EMBEDDED else ())]
