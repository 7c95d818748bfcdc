"""What is a scorer, and how are clips scored by many of them?

A clip is decoded once (`open_clip`), a feature is computed once per clip and for several clips at once (`Features`), a
backbone is loaded once (`registry`). What cannot be scored is `unscored` with its reason: no number, counted, never 0.
Shape legend: T frames, H W pixels, C colours (RGB).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from turbo_eval.records import ClipId, Prompt, ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError
from turbo_train.video_io import UnreadableVideo, Video, read_video

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

T = TypeVar("T")
TOO_SHORT = "needs at least two frames"


@dataclass(frozen=True)
class Clip:
    """A decoded clip. clip_id: (model, prompt_id, sample_index). frames_THWC: uint8 RGB. pictures: see Video."""

    clip_id: ClipId
    prompt: Prompt
    frames_THWC: NDArray[np.uint8]
    fps: float
    pictures: tuple[VideoFrame, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class UnreadableClip:
    """A clip that no decoder reads, and why; every scorer leaves it unscored with this reason."""

    clip_id: ClipId
    prompt: Prompt
    reason: str


class NotFinite(ValueError):
    """A network has computed infinity or nothing at all: its weights are damaged, or its precision too small."""


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
            raise NotFinite(f"a score is finite, not {self.value}")

    @classmethod
    def of(cls, value: float) -> Score:
        """A number."""
        return cls(value=float(value))

    @classmethod
    def none(cls, reason: str) -> Score:
        """No number, because of `reason`."""
        return cls(unscored=reason)


class Features:
    """What the scorers of one clip share. It lives as long as the clips that are scored together.

    company: the clips, this one among them, that the scorer at work looks at; batches are made of them.
    metrics: all that are asked of the clip now, so that one pass of a network can serve several.
    """

    def __init__(self, clip: Clip, metrics: Collection[str] = ()) -> None:
        self.clip = clip
        self.metrics = frozenset(metrics)
        self.company: Sequence[Features] = (self,)
        self._computed: dict[Hashable, Any] = {}

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key`, computed at the first call."""
        if key not in self._computed:
            self._computed[key] = compute()
        return cast(T, self._computed[key])

    def together(self, key: Hashable, compute: Callable[[Sequence[Clip]], Sequence[T]]) -> T:
        """The value of `key`, computed at the first call for all of the company that lacks it: one value a clip."""
        return self.together_for(key, lambda lacking: compute([features.clip for features in lacking]))

    def together_for(self, key: Hashable, compute: Callable[[Sequence[Features]], Sequence[T]]) -> T:
        """As `together`, for who needs more of a clip's Features than the clip.

        Where the company's values are not finite each clip's is computed by itself: it may be another's fault.
        """
        if key not in self._computed:
            lacking = [features for features in self.company if key not in features._computed]
            try:
                values = compute(lacking)
            except NotFinite:
                if len(lacking) == 1:
                    raise
                lacking, values = [self], compute([self])
            for features, value in zip(lacking, values, strict=True):
                features._computed[key] = value
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


class Encoder(Protocol):
    """A network, or another way from frames to numbers. `encoder_id` names what computes and its weights."""

    encoder_id: str


E = TypeVar("E", bound=Encoder)


class OnEncoder(Generic[E]):
    """What every scorer on an encoder has: the encoder's id, loading and relief are its own."""

    def __init__(self, encoder: E) -> None:
        self.encoder = encoder
        self.scorer_id = encoder.encoder_id

    def load(self) -> None:
        """Load the encoder's network, where it has one."""
        encoder: object = self.encoder
        if isinstance(encoder, OnNetwork):
            encoder.load()

    def relieve(self) -> str:
        """Make the encoder's forward pass need less memory, where that can be done."""
        encoder: object = self.encoder
        return encoder.relieve() if isinstance(encoder, OnNetwork) else ""


def on_networks(scorers: Sequence[Scorer]) -> list[OnNetwork]:
    """Those with a network; of several on one encoder the first, for what is done to it is done for all of them."""
    found: dict[int, Scorer] = {}
    for scorer in scorers:
        found.setdefault(id(getattr(scorer, "encoder", None) or scorer), scorer)
    return [scorer for scorer in found.values() if isinstance(scorer, OnNetwork)]


def open_clip(
    path: Path, clip_id: ClipId, prompt: Prompt, read: Callable[[Path], Video] | None = None
) -> Clip | UnreadableClip:
    """Decode a clip: the only decode, however many scorers look at it. read: where the clip may be decoded already."""
    try:
        video = (read or read_video)(path)
    except UnreadableVideo as error:
        # Without the path: the same clip gives the same record on every machine.
        return UnreadableClip(clip_id, prompt, f"unreadable: {error.found.removeprefix(str(path)).strip()}")
    return Clip(clip_id, prompt, video.frames_THWC, video.fps, video.pictures)


def applies(scorer: Scorer, prompt: Prompt) -> bool:
    """Whether the prompt is meant for this metric: VBench's dimensions are each asked of their own prompts.

    A prompt that names no dimension is scored in all of them (VBench's custom mode); other metrics always apply.
    """
    return scorer.metric not in spec.NAMES or not prompt.dimensions or scorer.metric in prompt.dimensions


def score_clips(scorers: Sequence[Scorer], clips: Sequence[Clip | UnreadableClip]) -> list[ScoreRecord]:
    """The records of clips that are scored together, clip by clip in the order of the scorers.

    All of them are in memory, and networks see them in common batches: another company may move a score by a rounding.
    A UserError becomes unscored; a bug propagates, and so does the UserError of a network that cannot be loaded: that
    is no clip's fault.
    """
    features = [
        Features(clip, [scorer.metric for scorer in scorers if applies(scorer, clip.prompt)])
        if isinstance(clip, Clip)
        else None
        for clip in clips
    ]
    records: list[list[ScoreRecord]] = [[] for _ in clips]
    for scorer in scorers:
        wanted = [number for number, clip in enumerate(clips) if applies(scorer, clip.prompt)]
        company = [shared for number in wanted if (shared := features[number]) is not None]
        if company and isinstance(scorer, OnNetwork):
            scorer.load()
        for number in wanted:
            clip, shared = clips[number], features[number]
            if isinstance(clip, Clip) and shared is not None:
                shared.company = company
                score = _score(scorer, clip, shared)
            else:
                assert isinstance(clip, UnreadableClip)
                score = Score.none(clip.reason)
            records[number].append(_record(clip.clip_id, scorer, score))
    return [record for own in records for record in own]


def score_clip(scorers: Sequence[Scorer], clip: Clip | UnreadableClip) -> list[ScoreRecord]:
    """The records of one clip by itself, in the order of the scorers."""
    return score_clips(scorers, [clip])


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
    except NotFinite as error:
        return Score.none(str(error))
    except UserError as error:
        return Score.none(f"{error.found}; expected {error.expected}" if error.expected else error.found)
