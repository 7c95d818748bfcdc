"""How do clip scores become VBench's Quality, Semantic and Total?

clip -> dimension (mean) -> n_d = (raw_d - min_d) / (max_d - min_d), not clamped
Quality = sum w_d n_d / sum w_d over seven, Semantic likewise over nine, Total = (4 Quality + Semantic) / 5
(VBench, scripts/cal_final_score.py). All in float64 with exact summation (math.fsum), so that neither the order of the
records nor the number of workers changes a bit.

A dimension's mean is that of VBench on one process: over the frame pairs of all clips for the two consistencies, over
frames for appearance style, over clips for the others (`spec.Dimension.averaging`). On several GPUs VBench averages
subject consistency over clips, and appearance style over last frames only; the leaderboard does not say which it is.
Differs: VBench counts a missing dimension as raw 0; here there is no total then, and the reasons are listed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from turbo_eval.records import ScoreRecord
from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError

NO_CLIP = "no clip was scored"


@dataclass(frozen=True)
class DimensionScore:
    """One dimension of one model: mean raw score, how many clips have a score and how many have none and why."""

    dimension: str
    mean: float | None
    scored: int
    unscored: int
    reasons: Mapping[str, int]
    scorer: str | None


@dataclass(frozen=True)
class Totals:
    """Scores in 0..1 or a little outside; None where a dimension is missing. missing: dimension -> reason."""

    quality: float | None
    semantic: float | None
    total: float | None
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Aggregate:
    """All sixteen dimensions of one model, in the order of `spec.DIMENSIONS`, and what follows from them."""

    model: str
    dimensions: tuple[DimensionScore, ...]
    totals: Totals


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


def _weight(averaging: spec.Averaging, frames: int) -> int:
    return {"clips": 1, "frames": frames, "frame_pairs": frames - 1}[averaging]


def dimension_score(
    name: str, records: Sequence[ScoreRecord], frames: Mapping[tuple[str, int], int] | None = None
) -> DimensionScore:
    """One dimension from its records. frames: (prompt_id, sample_index) -> frame count, for the weighted means.

    Without `frames` all clips are taken to be of one length, where the weights are equal anyway.
    """
    scorers = sorted({r.scorer for r in records})
    if len(scorers) > 1:
        raise UserError(
            found=f"{name} scored by {' and '.join(scorers)}",
            expected="one scorer: scores of different scorers are never averaged or compared",
            run_next="score all clips again into a new output folder",
        )
    averaging = spec.dimension(name).averaging
    scored = [r for r in records if r.value is not None]
    weights = [1 if frames is None else _weight(averaging, frames[r.prompt_id, r.sample_index]) for r in scored]
    terms = [w * r.value for w, r in zip(weights, scored, strict=True) if r.value is not None]
    total = math.fsum(weights)
    mean = math.fsum(terms) / total if total else None  # no clip, or none that has a pair of frames
    reasons = Counter(r.unscored for r in records if r.unscored is not None)
    scorer = scorers[0] if scorers else None
    return DimensionScore(name, mean, len(scored), len(records) - len(scored), dict(sorted(reasons.items())), scorer)


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
    return Aggregate(models[0], scores, totals(means, reasons))


def _reason(score: DimensionScore, unscored: Mapping[str, str]) -> str:
    if score.dimension in unscored:
        return unscored[score.dimension]
    if not score.reasons:
        return NO_CLIP
    return "; ".join(f"{reason} ({count} clips)" for reason, count in score.reasons.items())
