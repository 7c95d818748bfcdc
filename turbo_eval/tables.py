"""How do two models compare, metric by metric? From score records to a typed table (printed by table_text.py).

Each mean has a 95 % interval that resamples prompts (stats.py); the difference is paired by prompt and sample. Clips
without a number are counted beside the mean and never enter it. Rows come in the order of `groups`. Where clips have
weights, a mean is the weighted one, and a difference is that of two such means over the clips that both models have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from turbo_eval.joint_bootstrap import Weighted, weighted_difference
from turbo_eval.records import ClipId, ScoreRecord
from turbo_eval.stats import Interval, cluster_bootstrap_mean, paired_difference
from turbo_train.errors import UserError

FEW_PROMPTS = "no interval: too few prompts"


class LatencySummary(Protocol):
    """What a table needs of a timing (turbo_eval.timing.latency.Timing fits). Seconds per clip."""

    @property
    def median_s(self) -> float: ...
    @property
    def low_s(self) -> float: ...
    @property
    def high_s(self) -> float: ...


@dataclass(frozen=True)
class Latency:
    """Seconds per clip of one model: median and its interval."""

    model: str
    median_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True)
class Cell:
    """One metric of one model. interval: None when no clip has a number. unscored: clips without one."""

    interval: Interval | None
    unscored: int

    @property
    def mark(self) -> str:
        """What stands beside the number for people."""
        return ""

    @property
    def more(self) -> dict[str, object]:
        """Further columns for programs."""
        return {}


@dataclass(frozen=True)
class Row:
    """One metric: a cell per model, and the first model minus the second over the clips that both have."""

    metric: str
    group: str
    scorer: str
    cells: tuple[Cell, ...]
    difference: Interval | None


@dataclass(frozen=True)
class Table:
    """A comparison. unscored: (metric, reason) of metrics with no number at all, and counted reasons of others.

    partial: `PARTIAL: 70 of 72 clips` where clips are missing, else empty. warnings: what may mislead in it.
    """

    title: str
    models: tuple[str, ...]
    rows: tuple[Row, ...]
    latency: tuple[Latency, ...]
    speed_up: float | None
    speed_up_interval: tuple[float, float] | None
    unscored: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    partial: str = ""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for results.json."""
        return asdict(self)


def build_table(
    scores: Sequence[ScoreRecord],
    *,
    models: Sequence[str],
    suite: str,
    groups: Mapping[str, str],
    unscored: Mapping[str, str] | None = None,
    latency: Mapping[str, LatencySummary] | None = None,
    speed_up: tuple[float, float, float] | None = None,
    note: str = "",
    weights: Mapping[str, Mapping[ClipId, float]] | None = None,
    partial: str = "",
    seed: int = 0,
    resamples: int = 2000,
) -> Table:
    """The table of one or two models: models[0], and models[1] that it is held against.

    groups: metric -> group, in the order of the rows; other metrics go last. unscored: metrics without a scorer.
    note: of the title. weights: metric -> weight of every clip in its mean, where they do not all weigh alike.
    speed_up: ratio, low, high of a race; without it, the ratio of the two medians, which has no interval.
    UserError when a metric was scored by different scorers; ValueError for a clip scored twice.
    """
    by_metric: dict[str, list[ScoreRecord]] = {}
    for score in scores:
        if score.model in models:
            by_metric.setdefault(score.metric, []).append(score)
    order = [*(m for m in groups if m in by_metric), *sorted(m for m in by_metric if m not in groups)]
    rows: list[Row] = []
    without: dict[str, str] = {}
    for metric in order:
        weigh = (weights or {}).get(metric)
        row = _row(metric, groups.get(metric, "other"), by_metric[metric], models, weigh, seed, resamples)
        if any(cell.interval for cell in row.cells):
            rows.append(row)
        reasons = Counter(score.unscored for score in by_metric[metric] if score.unscored is not None)
        if reasons:
            without[metric] = "; ".join(f"{reason} ({count} clips)" for reason, count in sorted(reasons.items()))
    listed = [m for m in groups if m in (unscored or {})] + [m for m in (unscored or {}) if m not in groups]
    without |= {metric: (unscored or {})[metric] for metric in listed if metric not in by_metric}
    times = tuple(
        Latency(model, latency[model].median_s, latency[model].low_s, latency[model].high_s)
        for model in models
        if latency and model in latency
    )
    ratio = times[1].median_s / times[0].median_s if len(times) == 2 else None
    return Table(
        title=(f"{partial}: " if partial else "") + _title(models, suite, note),
        models=tuple(models),
        rows=tuple(rows),
        latency=times,
        speed_up=speed_up[0] if speed_up else ratio,
        speed_up_interval=speed_up[1:] if speed_up else None,
        unscored=tuple(without.items()),
        notes=tuple(_notes(models, rows)),
        partial=partial,
    )


def _title(models: Sequence[str], suite: str, note: str) -> str:
    return " against ".join(models) + f" on {suite}" + (f" ({note})" if note else "")


def _row(
    metric: str,
    group: str,
    scores: Sequence[ScoreRecord],
    models: Sequence[str],
    weights: Mapping[ClipId, float] | None,
    seed: int,
    resamples: int,
) -> Row:
    scorers = sorted({score.scorer for score in scores})
    if len(scorers) > 1:
        who = "; ".join(
            f"{scorer} for {', '.join(sorted({s.model for s in scores if s.scorer == scorer}))}" for scorer in scorers
        )
        raise UserError(
            found=f"{metric} was scored by different scorers: {who}",
            expected="one scorer for all clips, for scores of different scorers are not comparable",
            run_next="score all clips again with one version of turbo-eval, or choose one scorer's records",
        )
    if len({score.clip_id for score in scores}) != len(scores):
        raise ValueError(f"a clip has two scores of {metric}")
    values: dict[str, Weighted] = {
        model: {
            (s.prompt_id, s.sample_index): (s.value, 1.0 if weights is None else weights[s.clip_id])
            for s in scores
            if s.model == model and s.value is not None
        }
        for model in models
    }
    cells = tuple(
        Cell(
            _interval(values[model], seed, resamples),
            sum(score.model == model and score.value is None for score in scores),
        )
        for model in models
    )
    difference = None
    if len(models) == 2:
        both = values[models[0]], values[models[1]]
        if weights is None:
            difference = paired_difference(_plain(both[0]), _plain(both[1]), seed=seed, resamples=resamples)
        else:
            difference = weighted_difference(*both, seed=seed, resamples=resamples)
    return Row(metric, group, scorers[0], cells, difference)


def _interval(clips: Weighted, seed: int, resamples: int) -> Interval | None:
    values, weights = [v for v, _ in clips.values()], [w for _, w in clips.values()]
    if not any(weights):
        return None
    return cluster_bootstrap_mean(values, [p for p, _ in clips], weights=weights, seed=seed, resamples=resamples)


def _plain(clips: Weighted) -> dict[tuple[str, int], float]:
    return {key: value for key, (value, _) in clips.items()}


def _notes(models: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield "mean [95 % interval], prompts resampled (cluster bootstrap)"
    if len(models) == 2:
        yield f"difference: {models[0]} minus {models[1]}, paired by prompt and sample"
    if any(c.interval and c.interval.low is None for row in rows for c in row.cells):
        yield FEW_PROMPTS
