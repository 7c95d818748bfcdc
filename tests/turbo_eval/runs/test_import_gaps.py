"""Which clips of a suite does an import lack? Those that VBench looks at."""

from __future__ import annotations

from turbo_eval.manifest import Scope
from turbo_eval.records import ScoreRecord
from turbo_eval.runs.imported import SCORER, _gaps
from turbo_eval.scorers.vbench import spec
from turbo_eval.suites import load_suite
from turbo_eval.units import Plan

FLICKERING = spec.TEMPORAL_FLICKERING


def test_samples_beyond_those_that_vbench_looks_at_are_no_gap() -> None:
    """The suite makes 25 clips of a prompt for temporal flickering; VBench's results speak of five."""
    plan = Plan(load_suite("vbench:temporal_flickering"), Scope(("m",), limit=1), batch=4)
    wanted = dict(plan.clip_ids("m"))
    assert len(wanted) == 25
    scores = [
        ScoreRecord(*clip, spec.TEMPORAL_FLICKERING, SCORER, value=0.9) for clip in wanted if clip[2] in (0, 2, 3)
    ]
    gaps = list(_gaps(plan, "m", wanted, {clip for clip in wanted if clip[2] < 4}, scores))
    assert [(gap.sample_index, gap.unscored) for gap in gaps] == [
        (1, "VBench counts the clips that its static filter keeps"),
        (4, "no clip"),
    ]
