"""How many clips of a prompt are needed for temporal flickering? As many as it takes until five of them are static.

VBench asks for 25 clips of each of its 75 flickering prompts, and its static filter (scorers/vbench/static_filter.py)
keeps the first five static ones. Here the first five are made like any prompt's, and further ones one by one while
fewer than five are static: what comes after the fifth static clip is neither made nor counted, so that the number of
processes changes no result. Differs: VBench takes the first five in the order of file names, where 10 is before 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from turbo_eval.prompt_suite import Suite
from turbo_eval.scorers.vbench.spec import TEMPORAL_FLICKERING

if TYPE_CHECKING:
    from turbo_eval.store import Run
    from turbo_eval.units import Plan


class Needed(NamedTuple):
    """The first `samples` are needed. is_final: no further one will be."""

    samples: int
    is_final: bool


def is_filtered(suite: Suite) -> bool:
    """Whether the suite's protocol asks for more clips than it keeps."""
    return suite.samples_for(TEMPORAL_FLICKERING) > suite.samples


def needed(is_static: Callable[[int], bool | None], least: int, most: int) -> Needed:
    """Of `most` samples. is_static: None while not known of one. least: always made, and so many static ones wanted."""
    static = 0
    for sample in range(most):
        verdict = is_static(sample)
        if verdict is None:
            return Needed(max(least, sample + 1), sample + 1 >= most)
        static += verdict
        if static >= least:
            return Needed(max(least, sample + 1), True)
    return Needed(most, True)


def needed_of(run: Run | None, plan: Plan, model: str, index: int, scorer: str | None) -> Needed:
    """Of one prompt of a run; None: it is not begun.

    scorer: the id of temporal_flickering's; None: nothing scores it, and it needs no clips of its own.

    A clip that could not be made or scored is not static.
    """
    most, least = plan.samples_of(index), plan.suite.samples
    if plan.scope.samples is not None or not is_filtered(plan.suite) or most <= least:
        return Needed(most, True)
    if scorer is None:
        return Needed(least, True)
    prompt = plan.suite.prompts[index]

    def is_static(sample_index: int) -> bool | None:
        clip_id = (model, prompt.prompt_id, sample_index)
        if run is None:
            return None
        clip = run.clip(clip_id)
        score = run.score(clip, TEMPORAL_FLICKERING, scorer) if clip else None
        if score is not None:
            return score.value is not None
        return None if run.failure(clip_id) is None else False

    return needed(is_static, least, most)
