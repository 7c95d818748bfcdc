"""In which group of a table does a metric stand: VBench's groups, the oracle, judges, image and video rewards?"""

from __future__ import annotations

from turbo_eval.reward_table import GROUPS
from turbo_eval.scorers.oracle import ORACLE_METRICS
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_train.rewards.table import REWARDS

ORACLE = "oracle"


def group_of(metric: str) -> str:
    """The heading. ValueError for no metric of ours."""
    if metric in ORACLE_METRICS:
        return ORACLE
    for dimension in DIMENSIONS:
        if dimension.name == metric:
            return str(dimension.group)
    for entry in REWARDS:
        if entry.name == metric:
            return GROUPS["judge" if entry.role == "judge" else entry.kind]
    raise ValueError(f"{metric!r} is no metric")
