"""What takes the place of VBench's networks in the embedded world? Its judges and OpenCV, where that is honest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.encoders.dense_flow import OpenCvFlow

if TYPE_CHECKING:
    from turbo_eval.scorers.vbench.encoders.judges import ImageJudge, VideoJudge

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


class EmbeddedEncoders:
    """The world's judges, each loaded at its first use. weights: a folder with judge_image/ and judge_video/."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def why_not(self, dimension: str) -> str:
        """Why nothing here can score a dimension; "" where something can."""
        return NO_ENCODER.get(dimension, "")

    @cached_property
    def subject(self) -> ImageJudge:
        """The image judge. Raises UserError where its weights are missing."""
        from turbo_eval.scorers.vbench.encoders.judges import load_image_judge

        return load_image_judge(self.weights / "judge_image")

    @property
    def background(self) -> ImageJudge:
        """The image judge, which is the only one."""
        return self.subject

    @cached_property
    def video(self) -> VideoJudge:
        """The video judge. Raises UserError where its weights are missing."""
        from turbo_eval.scorers.vbench.encoders.judges import load_video_judge

        return load_video_judge(self.weights / "judge_video")

    @cached_property
    def flow(self) -> OpenCvFlow:
        """OpenCV's dense flow; no weights."""
        return OpenCvFlow()

    @property
    def interpolator(self) -> OpenCvFlow:
        """OpenCV's dense flow, along which frames are carried."""
        return self.flow
