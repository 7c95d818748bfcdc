"""A detector that has its answers from a list: what the rules of the four object dimensions are tested on.

A clip's number stands in its first pixel; its frames' own numbers beside it. What the detector is asked is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip
from turbo_eval.scorers.vbench.encoders import ByteArray, SeenObjects

GOLDENS = Path(__file__).parent / "golden" / "vbench"
SMALL = "grit_dimensions_small_clip_2_frames"
Box = Sequence[int]
NOTHING = SeenObjects(np.empty((0, 4), np.int64), ())


def seen(*objects: tuple[str, Box] | tuple[str, Box, str]) -> SeenObjects:
    """A frame: (class, box, caption) of each object, the surest first; captions may be left out."""
    boxes = np.array([box for _, box, *_ in objects], np.int64).reshape(-1, 4)
    captions = [caption[0] if caption else "" for _, _, *caption in objects]
    return SeenObjects(boxes, tuple(name for name, *_ in objects), tuple(captions))


@dataclass
class Replay:
    """An ObjectDetector. answers: by the clip's number, the frames that it repeats until there are enough."""

    answers: Mapping[int, Sequence[SeenObjects]]
    num_frames: int = 16
    encoder_id: str = "vbench/replay@1-0123abcd+torch2.6"
    asked: list[tuple[list[int], bool, bool]] = field(default_factory=list)
    frames: list[ByteArray] = field(default_factory=list)

    def objects(self, clips: Sequence[ByteArray], *, captions: bool, as_bytes: bool) -> list[list[SeenObjects]]:
        """As recorded, one a frame."""
        numbers = [int(clip[0, 0, 0, 0]) for clip in clips]
        self.asked.append((numbers, captions, as_bytes))
        self.frames += clips
        return [
            [
                replace(frame, captions=frame.captions if captions else ())
                for _, frame in zip(clip, self._endless(number), strict=False)
            ]
            for clip, number in zip(clips, numbers, strict=True)
        ]

    def _endless(self, number: int) -> list[SeenObjects]:
        return list(self.answers[number]) * self.num_frames


def clip_of(
    prompt: str = "a red car",
    number: int = 0,
    *,
    frames: int = 4,
    size: tuple[int, int] = (8, 8),
    dimensions: tuple[str, ...] = (),
    **attributes: str,
) -> Clip:
    """A clip that the detector knows by its number. attributes: the prompt's auxiliary information."""
    pixels = np.zeros((frames, *size, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = number, np.arange(frames)
    return Clip(("model", f"p-{number}", 0), Prompt(f"p-{number}", prompt, dimensions, attributes), pixels, 8.0)


def recorded(name: str, dimension: str) -> tuple[list[SeenObjects], dict[str, object]]:
    """The two frames that VBench saw on a golden clip, and its words of it. In ObjectDet caption and class are one."""
    told = json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))
    names = [[row[0] for row in frame["top"]] for frame in told.get("object_class", told[dimension])["intermediate"]]
    frames = [
        seen(*((own, box, text) for own, (text, box, _) in zip(classes, frame["top"], strict=True)))
        for classes, frame in zip(names, told[dimension]["intermediate"], strict=True)
    ]
    return frames, told[dimension]["videos"][0] | {"score": told[dimension]["score"]}
