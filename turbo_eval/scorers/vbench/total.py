"""How do sixteen dimensions become VBench's Quality, Semantic and Total, and how sure are we of these?

n_d = (raw_d - min_d) / (max_d - min_d), not clamped
Quality = sum w_d n_d / sum w_d over seven, Semantic likewise over nine, Total = (4 Quality + Semantic) / 5
(VBench, scripts/cal_final_score.py). Each is  sum_d a_d raw_d + constant,  and a prompt of several dimensions is drawn
for all of them at once (joint_bootstrap.py): the prompts that subject_consistency, motion_smoothness and dynamic_degree
share carry the covariance of these into the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turbo_eval.joint_bootstrap import Weighted, column_of, combined_interval
from turbo_eval.scorers.vbench import spec
from turbo_eval.stats import Interval

NO_CLIP = "no clip was scored"


@dataclass(frozen=True)
class Totals:
    """Scores in 0..1 or a little outside; None where a dimension is missing. missing: dimension -> reason."""

    quality: float | None
    semantic: float | None
    total: float | None
    missing: Mapping[str, str]

    def of(self, score: str) -> float | None:
        """By a name of spec.SCORES."""
        return dict(zip(spec.SCORES, (self.quality, self.semantic, self.total), strict=True))[score]


def normalised(name: str, raw: float) -> float:
    """The raw score on VBench's scale of the dimension, not clamped."""
    d = spec.dimension(name)
    return (raw - d.minimum) / (d.maximum - d.minimum)


def _group(names: Sequence[str], means: Mapping[str, float]) -> float | None:
    if any(name not in means for name in names):
        return None
    weights = [spec.dimension(name).weight for name in names]
    terms = [w * normalised(name, means[name]) for name, w in zip(names, weights, strict=True)]
    return math.fsum(terms) / math.fsum(weights)


def totals(means: Mapping[str, float], reasons: Mapping[str, str] | None = None) -> Totals:
    """Quality, Semantic and Total from raw dimension scores in 0..1; `reasons` says why a dimension is missing."""
    for name in means:
        spec.dimension(name)
    quality, semantic = _group(spec.QUALITY, means), _group(spec.SEMANTIC, means)
    missing = {name: (reasons or {}).get(name, NO_CLIP) for name in spec.NAMES if name not in means}
    total = None
    if quality is not None and semantic is not None:
        share = spec.QUALITY_WEIGHT + spec.SEMANTIC_WEIGHT
        total = (spec.QUALITY_WEIGHT * quality + spec.SEMANTIC_WEIGHT * semantic) / share
    return Totals(quality, semantic, total, missing)


def coefficients(score: str) -> dict[str, float]:
    """a_d of each dimension in quality_score, semantic_score or total_score, which are sum_d a_d raw_d + constant."""
    groups = (
        (spec.QUALITY_SCORE, spec.QUALITY, spec.QUALITY_WEIGHT),
        (spec.SEMANTIC_SCORE, spec.SEMANTIC, spec.SEMANTIC_WEIGHT),
    )
    whole = math.fsum(weight for _, _, weight in groups)
    found = {}
    for group, names, weight in groups:
        share = weight / whole if score == spec.TOTAL_SCORE else float(score == group)
        weights = math.fsum(spec.dimension(name).weight for name in names)
        for d in map(spec.dimension, names if share else ()):
            found[d.name] = share * d.weight / weights / (d.maximum - d.minimum)
    return found


def total_intervals(scores: Mapping[str, Weighted]) -> dict[str, Interval]:
    """Of quality_score, semantic_score and total_score, where all dimensions of theirs have clips with a weight.

    scores: by dimension, clips with their weights (aggregate.weighted_clips).
    """
    columns = {name: column for name, clips in scores.items() if (column := column_of(clips))}
    reached = totals({name: _mean(clips) for name, clips in scores.items() if name in columns})
    found = {}
    for score in spec.SCORES:
        mean = reached.of(score)
        if mean is not None:
            shares = coefficients(score)
            clips = len({clip for name in shares for clip, (_, weight) in scores[name].items() if weight})
            found[score] = combined_interval(mean, [columns[n] for n in shares], list(shares.values()), clips=clips)
    return found


def total_differences(first: Mapping[str, Weighted], second: Mapping[str, Weighted]) -> dict[str, Interval]:
    """As total_intervals, of the first model minus the second: over the clips that both have, drawn together."""
    both = {name: _shared(first[name], second[name]) for name in first if name in second}
    columns = {name: [column_of(clips) for clips in pair] for name, pair in both.items()}
    ours, theirs = (
        totals({name: _mean(pair[side]) for name, pair in both.items() if columns[name][side]}) for side in (0, 1)
    )
    found = {}
    for score in spec.SCORES:
        own, other = ours.of(score), theirs.of(score)
        if own is not None and other is not None:
            shares = coefficients(score)
            clips = len({clip for name in shares for clip in both[name][0]})
            signed = [sign * share for sign in (1.0, -1.0) for share in shares.values()]
            sides = [columns[name][side] for side in (0, 1) for name in shares]
            found[score] = combined_interval(own - other, sides, signed, clips=clips)
    return found


def _shared(first: Weighted, second: Weighted) -> tuple[Weighted, Weighted]:
    keys = sorted(key for key in first.keys() & second.keys() if first[key][1] and second[key][1])
    return {key: first[key] for key in keys}, {key: second[key] for key in keys}


def _mean(clips: Weighted) -> float:
    return math.fsum(w * v for v, w in clips.values()) / math.fsum(w for _, w in clips.values())
