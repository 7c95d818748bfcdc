"""What is each row of a line-up worth, metric by metric? Means, and differences against a row, with 95 % intervals.

A row is one contestant, or several trainings of one recipe that differ in their seed. A row of several takes for each
clip the mean over its members: its interval resamples prompts (stats.py) and says what other prompts would have
given these very checkpoints. It does not cover other seeds; each member's own number stands beside it instead.
Clips weigh alike: all clips of a model have one length, so weights by frames, as VBench has them, would change no mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from turbo_eval.records import Prompt, ScoreRecord
from turbo_eval.stats import Interval, cluster_bootstrap_mean, paired_difference

Part = Literal["all", "held_out", "seen"]
Key = tuple[str, int]  # prompt_id, sample_index
Values = Mapping[Key, float]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """A row: its name, and the contestants behind it. members: one, or one for each training seed."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A metric, with its group in the table and the id of its scorer."""

    metric: str
    group: str
    scorer: str


@dataclass(frozen=True)
class RowMean:
    """One metric of one row. mean None: no clip has a number; low and high None: too few prompts.

    part: of which prompts; clips: with a number, of each member; unscored: clips without one, of all members.
    in_loop: whether the row's models were trained on this very metric; None: not known, or not the same for all.
    member_means: of each member, in its order; () for a row of one.
    """

    row: str
    metric: str
    group: str
    scorer: str
    part: Part
    in_loop: bool | None
    mean: float | None
    low: float | None
    high: float | None
    clips: int
    prompts: int
    unscored: int
    members: tuple[str, ...]
    member_means: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """A line for programs."""
        return {"schema_version": SCHEMA_VERSION, "kind": "mean", **asdict(self)}


@dataclass(frozen=True)
class RowDifference:
    """`row` minus `against`, paired by prompt and sample; fields as in RowMean."""

    row: str
    against: str
    metric: str
    group: str
    part: Part
    mean: float | None
    low: float | None
    high: float | None
    clips: int
    prompts: int
    members: tuple[str, ...]
    member_means: tuple[float | None, ...]

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_json(self) -> dict[str, Any]:
        """A line for programs."""
        return {"schema_version": SCHEMA_VERSION, "kind": "difference", **asdict(self)}


class Scored:
    """The scores of a run, by metric and contestant."""

    def __init__(self, scores: Sequence[ScoreRecord]) -> None:
        self._values: dict[tuple[str, str], dict[Key, float]] = {}
        self._without: dict[tuple[str, str], list[str]] = {}
        for score in scores:
            if score.value is None:
                self._without.setdefault((score.metric, score.model), []).append(score.prompt_id)
            else:
                kept = self._values.setdefault((score.metric, score.model), {})
                kept[score.prompt_id, score.sample_index] = score.value

    def of_row(self, metric: str, row: Row, prompts: frozenset[str]) -> Values:
        """For each clip of these prompts that every member has a number of: the mean over the members."""
        each = [self.of_member(metric, name, prompts) for name in row.members]
        shared = set(each[0]).intersection(*each[1:])
        return {key: math.fsum(values[key] for values in each) / len(each) for key in sorted(shared)}

    def of_member(self, metric: str, model: str, prompts: frozenset[str]) -> Values:
        """The numbers of one contestant."""
        return {key: value for key, value in self._values.get((metric, model), {}).items() if key[0] in prompts}

    def unscored(self, metric: str, row: Row, prompts: frozenset[str]) -> int:
        """Clips without a number, of all members."""
        return sum(prompt in prompts for name in row.members for prompt in self._without.get((metric, name), ()))

    def has(self, metric: str) -> bool:
        """Whether any clip has a number."""
        return any(name == metric for name, _ in self._values)


def parts_of(prompts: Sequence[Prompt]) -> dict[Part, frozenset[str]]:
    """All prompts; and apart those held out from training and the others, where a suite has both."""
    held = frozenset(prompt.prompt_id for prompt in prompts if prompt.held_out)
    every = frozenset(prompt.prompt_id for prompt in prompts)
    parts: dict[Part, frozenset[str]] = {"all": every}
    if held and held != every:
        parts |= {"held_out": held, "seen": every - held}
    return parts


def means_of(
    scored: Scored,
    rows: Sequence[Row],
    columns: Sequence[Column],
    parts: Mapping[Part, frozenset[str]],
    in_loop: Mapping[str, tuple[str, ...] | None],
) -> Iterator[RowMean]:
    """Every row, metric and part. in_loop: contestant -> the rewards that it was trained on; None: not known."""
    for part, prompts in parts.items():
        for row in rows:
            for column in columns:
                metric = column.metric
                numbers = _numbers(_interval(scored.of_row(metric, row, prompts)))
                many = row.members if len(row.members) > 1 else ()
                each = tuple(_plain_mean(scored.of_member(metric, name, prompts)) for name in many)
                seen = {None if (known := in_loop[name]) is None else metric in known for name in row.members}
                trained = seen.pop() if len(seen) == 1 else None
                missing = scored.unscored(metric, row, prompts)
                name, group, scorer = row.name, column.group, column.scorer
                yield RowMean(name, metric, group, scorer, part, trained, *numbers, missing, row.members, each)


def differences_of(
    scored: Scored,
    rows: Sequence[Row],
    baseline: Row,
    columns: Sequence[Column],
    parts: Mapping[Part, frozenset[str]],
) -> Iterator[RowDifference]:
    """Every other row minus the baseline. A baseline of several seeds is the mean over them, as any row is."""
    for part, prompts in parts.items():
        for row in rows:
            for column in columns if row != baseline else ():
                metric = column.metric
                other = scored.of_row(metric, baseline, prompts)
                numbers = _numbers(paired_difference(scored.of_row(metric, row, prompts), other))
                many = row.members if len(row.members) > 1 else ()
                each = tuple(_plain_difference(scored.of_member(metric, name, prompts), other) for name in many)
                name, group = row.name, column.group
                yield RowDifference(name, baseline.name, metric, group, part, *numbers, row.members, each)


def _interval(values: Values) -> Interval | None:
    if not values:
        return None
    return cluster_bootstrap_mean(list(values.values()), [prompt for prompt, _ in values])


def _plain_mean(values: Values) -> float | None:
    return math.fsum(values.values()) / len(values) if values else None


def _plain_difference(first: Values, second: Values) -> float | None:
    shared = sorted(first.keys() & second.keys())
    return math.fsum(first[key] - second[key] for key in shared) / len(shared) if shared else None


def _numbers(interval: Interval | None) -> tuple[float | None, float | None, float | None, int, int]:
    if interval is None:
        return None, None, None, 0, 0
    return interval.mean, interval.low, interval.high, interval.n, interval.clusters
