"""Which clips does a run have, of what shape, and which dimensions are asked of each? By groups; nothing is decoded.

Where five clips of a flickering prompt or all 25 may be needed (static_clips.py) a group has a least and a most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from turbo_eval.contestants import Request
from turbo_eval.generators.folder import open_folder
from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.cost import ClipShape
from turbo_eval.scorers.vbench.human_action import asked_action
from turbo_eval.scorers.vbench.objects import ASKED
from turbo_eval.static_clips import is_filtered
from turbo_eval.units import Plan
from turbo_train.errors import UserError

NEEDS: Mapping[str, Sequence[str]] = {  # the auxiliary information that a dimension cannot do without
    **ASKED,
    spec.SCENE: (spec.SCENE,),
    spec.APPEARANCE_STYLE: (spec.APPEARANCE_STYLE,),
}


@dataclass(frozen=True)
class Span:
    """The least and the most."""

    least: float = 0.0
    most: float = 0.0

    def __add__(self, other: Span) -> Span:
        return Span(self.least + other.least, self.most + other.most)

    def __mul__(self, times: float) -> Span:
        return Span(self.least * times, self.most * times)


class Asked(NamedTuple):
    """Clips of one shape that the same dimensions are asked of."""

    dimensions: frozenset[str]
    shape: ClipShape
    clips: Span


def made_clips(request: Request, plan: Plan, shape: ClipShape) -> list[Asked]:
    """The clips of one model that is run."""
    clips = _samples(plan)
    return _grouped(Asked(_dimensions(request, plan, p, k), shape, Span(k < least, 1)) for p, k, least in clips)


def found_clips(request: Request, plan: Plan) -> list[Asked]:
    """Those of the request's videos that belong to its prompts. UserError: no such folder, a file that is no video."""
    assert request.videos is not None
    most = max(plan.samples_of(index) for index in range(len(plan.suite.prompts)))
    videos = open_folder(request.videos, plan.prompts(), most)
    found = ((p, k, least, path) for p, k, least in _samples(plan) if (path := videos.find(p, k)))
    return _grouped(
        Asked(_dimensions(request, plan, p, k), shape_of(path), Span(k < least, 1)) for p, k, least, path in found
    )


def _samples(plan: Plan) -> Iterator[tuple[Prompt, int, int]]:
    """Prompt, sample index, and how many samples of the prompt are needed at least."""
    lazily = plan.scope.samples is None and is_filtered(plan.suite)
    for index, prompt in enumerate(plan.suite.prompts):
        count = plan.samples_of(index)
        for sample in range(count):
            yield prompt, sample, min(count, plan.suite.samples) if lazily else count


def _grouped(clips: Iterable[Asked]) -> list[Asked]:
    groups: dict[tuple[frozenset[str], ClipShape], Span] = {}
    for dimensions, shape, count in clips:
        groups[dimensions, shape] = groups.get((dimensions, shape), Span()) + count
    return [Asked(*key, count) for key, count in groups.items()]


def _dimensions(request: Request, plan: Plan, prompt: Prompt, sample: int) -> frozenset[str]:
    """Those that are asked of a clip and can be."""
    wanted = request.dimensions or spec.NAMES
    meant = [name for name in wanted if name in spec.NAMES and name in (prompt.dimensions or spec.NAMES)]
    return frozenset(name for name in meant if plan.metric_wants(name, sample) and _askable(prompt, name))


def _askable(prompt: Prompt, dimension: str) -> bool:
    with suppress(UserError):
        if dimension == spec.HUMAN_ACTION:
            return bool(asked_action(prompt.prompt))
        return all(auxiliary(prompt, dimension, name) for name in NEEDS.get(dimension, ()))
    return False


def shape_of(path: Path) -> ClipShape:
    """By the file's header: no frame is decoded. UserError: it is no video."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 8)
            frames = stream.frames or round(fps * (container.duration or 0) / 1e6)
            return ClipShape(max(1, frames), stream.height, stream.width, fps)
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        raise UserError(found=f"{path}: {error}", expected="a video", run_next="move it away") from error
