"""How do clip scores become VBench's dimensions, Quality, Semantic and Total?

clip -> dimension (mean) -> Quality, Semantic, Total (total.py). All in float64 with exact sums (math.fsum): neither the
order of the records nor the number of workers changes a bit.

A dimension's mean is that of VBench on one process: over the frame pairs of all clips for the two consistencies, over
frames for appearance style, over clips for the others (`spec.Dimension.averaging`). On several GPUs VBench averages
subject consistency over clips, and appearance style over last frames only; the leaderboard does not say which it is.
Differs: VBench counts a missing dimension as raw 0; here there is no total then, and the reasons are listed.

Intervals (95 %, prompts drawn: stats.py) are of these very means; those of Quality, Semantic and Total are in total.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from turbo_eval.joint_bootstrap import Weighted
from turbo_eval.records import ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.total import NO_CLIP, Totals, total_intervals, totals
from turbo_eval.stats import Interval, cluster_bootstrap_mean
from turbo_train.errors import UserError


@dataclass(frozen=True)
class DimensionScore:
    """One dimension of one model: mean raw score, how many clips have a score and how many have none and why.

    interval: of the mean; None without one. Its bounds are None with too few prompts.
    """

    dimension: str
    mean: float | None
    scored: int
    unscored: int
    reasons: Mapping[str, int]
    scorer: str | None
    interval: Interval | None = None


@dataclass(frozen=True)
class Aggregate:
    """All sixteen dimensions of one model, in the order of `spec.DIMENSIONS`, and what follows from them.

    intervals: of those of quality_score, semantic_score and total_score that there are.
    """

    model: str
    dimensions: tuple[DimensionScore, ...]
    totals: Totals
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def clip_weight(name: str, frames: int) -> int:
    """How much a clip of so many frames weighs in the mean of the dimension."""
    return {"clips": 1, "frames": frames, "frame_pairs": frames - 1}[spec.dimension(name).averaging]


def weighted_clips(
    name: str, records: Iterable[ScoreRecord], frames: Mapping[tuple[str, int], int] | None = None
) -> Weighted:
    """The scores of one dimension of one model that have a number, with their weights; frames as in dimension_score."""
    return {
        (r.prompt_id, r.sample_index): (
            r.value,
            1 if frames is None else clip_weight(name, frames[r.prompt_id, r.sample_index]),
        )
        for r in records
        if r.value is not None
    }


def dimension_score(
    name: str, records: Sequence[ScoreRecord], frames: Mapping[tuple[str, int], int] | None = None
) -> DimensionScore:
    """One dimension from its records. frames: (prompt_id, sample_index) -> frame count, for the weighted means.

    Without `frames` all clips are taken to be of one length, where the weights are equal anyway.
    UserError for two scorers, ValueError for a clip scored twice.
    """
    scorers = sorted({r.scorer for r in records})
    if len(scorers) > 1:
        raise UserError(
            found=f"{name} scored by {' and '.join(scorers)}",
            expected="one scorer: scores of different scorers are never averaged or compared",
            run_next="score all clips again into a new output folder",
        )
    if len({r.clip_id for r in records}) != len(records):
        raise ValueError(f"a clip has two scores of {name}")
    scored = weighted_clips(name, records, frames)
    interval = None
    if any(weight for _, weight in scored.values()):  # else no clip, or none that has a pair of frames
        values, weights = zip(*scored.values(), strict=True)
        interval = cluster_bootstrap_mean(values, [prompt for prompt, _ in scored], weights=weights)
    reasons = Counter(r.unscored for r in records if r.unscored is not None)
    scorer = scorers[0] if scorers else None
    mean = interval.mean if interval else None
    unscored = sum(r.value is None for r in records)
    return DimensionScore(name, mean, len(scored), unscored, dict(sorted(reasons.items())), scorer, interval)


def aggregate(
    records: Iterable[ScoreRecord],
    *,
    frames: Mapping[tuple[str, int], int] | None = None,
    unscored: Mapping[str, str] | None = None,
) -> Aggregate:
    """Everything that VBench says of one model. Records of metrics that are not VBench's are passed over.

    unscored: dimension -> why nobody could score it (from `registry.build_scorers`).
    """
    rows = [r for r in records if r.metric in spec.NAMES]
    models = sorted({r.model for r in rows})
    if len(models) != 1:
        raise UserError(
            found=f"scores of {len(models)} models ({', '.join(models) or 'none'})",
            expected="scores of one model",
            run_next="turbo-eval score",
        )
    scores = tuple(dimension_score(name, [r for r in rows if r.metric == name], frames) for name in spec.NAMES)
    reasons = {s.dimension: _reason(s, unscored or {}) for s in scores}
    means = {s.dimension: s.mean for s in scores if s.mean is not None}
    clips = {name: weighted_clips(name, [r for r in rows if r.metric == name], frames) for name in spec.NAMES}
    return Aggregate(models[0], scores, totals(means, reasons), total_intervals(clips))


def _reason(score: DimensionScore, unscored: Mapping[str, str]) -> str:
    if score.dimension in unscored:
        return unscored[score.dimension]
    if not score.reasons:
        return NO_CLIP
    return "; ".join(f"{reason} ({count} clips)" for reason, count in score.reasons.items())
