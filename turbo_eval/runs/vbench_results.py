"""What does a results file of VBench say of each clip?

    OUT/NAME_eval_results.json = {dimension: [score, [{"video_path": ..., "video_results": ..., ...}, ...]]}

as vbench 0.1.5 writes it (vbench/__init__.py, VBench.evaluate). In all sixteen dimensions `video_results` is one
number or a truth value: a mean of similarities, a share of frames, a verdict. What else an entry has (frame_results,
success_frame_count, frame_count, video_sim, cnt_per_video, cor_num_per_video, cur_sim, cur_success_frame_rate) is
what VBench itself averages on several GPUs, and is not read.
A value comes out on the scale of the dimension's score. Differs: imaging_quality's video_results are 0..100 there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError

PATTERN = "*_eval_results.json"
PER_VIDEO_SCALE = {spec.IMAGING_QUALITY: 100.0}  # what divides video_results; imaging_quality.py, technical_quality


@dataclass(frozen=True)
class VideoResult:
    """One clip in one dimension. number: place in the dimension's list, from 1."""

    video_path: str
    value: float
    number: int


@dataclass(frozen=True)
class DimensionResults:
    """One dimension: the score that VBench reports, and its clips in the file's order."""

    reported: float
    videos: tuple[VideoResult, ...]


@dataclass(frozen=True)
class ResultsFile:
    """A file of results, read and checked."""

    path: Path
    sha256: str
    dimensions: Mapping[str, DimensionResults]

    @property
    def reported(self) -> dict[str, float]:
        """dimension -> the score that VBench reports."""
        return {name: results.reported for name, results in self.dimensions.items()}


def read_results(path: Path) -> ResultsFile:
    """A results file. UserError names the file and the place of what is not VBench's format."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror or error}") from error
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _broken(path, "not a JSON object of dimensions")
    dimensions = {}
    for name, value in content.items():
        try:
            dimensions[spec.dimension(name).name] = _dimension(name, value)
        except UserError as error:
            raise _broken(path, f"{error.found} ({error.expected})") from error
        except ValueError as error:
            raise _broken(path, f"{name}{error}") from error
    return ResultsFile(path, hashlib.sha256(data).hexdigest(), dimensions)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return content


def _dimension(name: str, value: Any) -> DimensionResults:
    """ValueError says what is wrong and where, to be put behind the dimension's name."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        raise ValueError(" is not [score, [results of the clips]]")
    reported = _number(value[0], "'s score")
    scale = PER_VIDEO_SCALE.get(name, 1.0)
    videos: list[VideoResult] = []
    first: dict[str, int] = {}
    for number, entry in enumerate(value[1], start=1):
        place = f", clip {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("video_path"), str) or not entry["video_path"]:
            raise ValueError(f"{place} is not an object with a video_path")
        video_path = entry["video_path"]
        place += f" ({video_path[-120:]})"
        if "video_results" not in entry:
            raise ValueError(f"{place} has no video_results")
        if first.setdefault(video_path, number) != number:
            raise ValueError(f"{place} again, first as clip {first[video_path]}")
        videos.append(
            VideoResult(video_path, _number(entry["video_results"], f"{place}: video_results") / scale, number)
        )
    return DimensionResults(reported, tuple(videos))


def _number(value: Any, place: str) -> float:
    """A finite number; True is 1 and False is 0, as VBench averages them."""
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{place} is not a number but {json.dumps(value)[:80]}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{place} is not a finite number")
    return number


def _broken(path: Path, reason: str) -> UserError:
    return UserError(
        found=f"{path}: {reason}",
        expected="a results file as VBench writes it: {dimension: [score, [{video_path, video_results}, ...]]}",
        run_next="the same command with --results FILE, a file that vbench has written to its end",
    )
