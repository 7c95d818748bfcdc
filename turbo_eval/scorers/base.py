"""What is a scorer, and how are clips scored by many of them?

A clip is decoded once (`open_clip`), a feature is computed once per clip (`Features`), a backbone is loaded once
(`registry`). What cannot be scored is `unscored` with its reason: no number, counted, never 0.
Shape legend: T frames, H W pixels, C colours (RGB).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from turbo_eval.records import ClipId, Prompt, ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError
from turbo_train.video_io import UnreadableVideo, read_video

T = TypeVar("T")
TOO_SHORT = "needs at least two frames"


@dataclass(frozen=True)
class Clip:
    """A decoded clip. clip_id: (model, prompt_id, sample_index). frames_THWC: uint8 RGB."""

    clip_id: ClipId
    prompt: Prompt
    frames_THWC: NDArray[np.uint8]
    fps: float


@dataclass(frozen=True)
class UnreadableClip:
    """A clip that no decoder reads, and why; every scorer leaves it unscored with this reason."""

    clip_id: ClipId
    prompt: Prompt
    reason: str


@dataclass(frozen=True)
class Score:
    """A finite number, or the reason why there is none: exactly one of the two."""

    value: float | None = None
    unscored: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is neither or both."""
        if (self.value is None) == (self.unscored is None):
            raise ValueError("a score has a value or a reason, not both and not neither")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is finite, not {self.value}")

    @classmethod
    def of(cls, value: float) -> Score:
        """A number."""
        return cls(value=float(value))

    @classmethod
    def none(cls, reason: str) -> Score:
        """No number, because of `reason`."""
        return cls(unscored=reason)


class Features:
    """What the scorers of one clip share. It lives as long as the clip: memory is bounded by one clip."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._computed: dict[Hashable, Any] = {}

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key`, computed at the first call."""
        if key not in self._computed:
            self._computed[key] = compute()
        return cast(T, self._computed[key])

    @property
    def frames_TCHW(self) -> NDArray[np.float32]:
        """Float32 RGB frames in [0, 1]."""

        def compute() -> NDArray[np.float32]:
            frames_TCHW = np.ascontiguousarray(self.clip.frames_THWC.transpose(0, 3, 1, 2))
            return frames_TCHW.astype(np.float32) / np.float32(255)

        return self.get("frames", compute)


OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")


def with_versions(scorer_id: str, *packages: str) -> str:
    """`embedded/x@1+opencv5.0.0`: the id with the versions of the packages that compute the score.

    Another version may round differently; a resumed run must not mix both in one mean. Read without importing them.
    """
    return "+".join([scorer_id, *(f"{package}{_version(package)}" for package in packages)])


@cache
def _version(package: str) -> str:
    """OpenCV comes under several names; a package that is not there computes nothing."""
    for name in OPENCV if package == "opencv" else (package,):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "-absent"


class Scorer(Protocol):
    """One metric. `scorer_id` names formula, weights and the versions of what computes it (with_versions).

    Scores of different ids are never compared.
    """

    metric: str
    scorer_id: str

    def score(self, clip: Clip, features: Features) -> Score:
        """The clip's score. Raises UserError when the clip or its prompt cannot be scored; never returns NaN."""


@runtime_checkable
class OnNetwork(Protocol):
    """A scorer with a network of its own, which is not loaded before a clip is to be scored."""

    def load(self) -> None:
        """Load it; a second call does nothing. UserError: its files are missing or are not what they should be."""

    def relieve(self) -> str:
        """Make a forward pass need less memory. Returns what was done, or nothing where no more can be done."""


def open_clip(path: Path, clip_id: ClipId, prompt: Prompt) -> Clip | UnreadableClip:
    """Decode a clip: the only decode, however many scorers look at it."""
    try:
        video = read_video(path)
    except UnreadableVideo as error:
        # Without the path: the same clip gives the same record on every machine.
        return UnreadableClip(clip_id, prompt, f"unreadable: {error.found.removeprefix(str(path)).strip()}")
    return Clip(clip_id, prompt, video.frames_THWC, video.fps)


def applies(scorer: Scorer, prompt: Prompt) -> bool:
    """Whether the prompt is meant for this metric: VBench's dimensions are each asked of their own prompts.

    A prompt that names no dimension is scored in all of them (VBench's custom mode); other metrics always apply.
    """
    return scorer.metric not in spec.NAMES or not prompt.dimensions or scorer.metric in prompt.dimensions


def score_clip(scorers: Sequence[Scorer], clip: Clip | UnreadableClip) -> list[ScoreRecord]:
    """The records of one clip, in the order of the scorers. A UserError becomes unscored; a bug propagates.

    So does the UserError of a network that cannot be loaded: that is no clip's fault.
    """
    wanted = [scorer for scorer in scorers if applies(scorer, clip.prompt)]
    if isinstance(clip, UnreadableClip):
        return [_record(clip.clip_id, scorer, Score.none(clip.reason)) for scorer in wanted]
    for scorer in wanted:
        if isinstance(scorer, OnNetwork):
            scorer.load()
    features = Features(clip)
    return [_record(clip.clip_id, scorer, _score(scorer, clip, features)) for scorer in wanted]


def _record(clip_id: ClipId, scorer: Scorer, score: Score) -> ScoreRecord:
    model, prompt_id, sample_index = clip_id
    return ScoreRecord(
        model=model,
        prompt_id=prompt_id,
        sample_index=sample_index,
        metric=scorer.metric,
        scorer=scorer.scorer_id,
        value=score.value,
        unscored=score.unscored,
    )


def _score(scorer: Scorer, clip: Clip, features: Features) -> Score:
    try:
        return scorer.score(clip, features)
    except UserError as error:
        return Score.none(f"{error.found}; expected {error.expected}" if error.expected else error.found)


def score_clips(
    scorers: Sequence[Scorer],
    clips: Iterable[Clip | UnreadableClip],
) -> list[ScoreRecord]:
    """Score clips one after the other; `clips` may be a generator, so that one clip is in memory at a time."""
    return [record for clip in clips for record in score_clip(scorers, clip)]
