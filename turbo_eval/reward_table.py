"""How do models compare by reward models? The table of tables.py, with what each model was trained on beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from turbo_eval.in_loop import Trained, is_in_loop, warnings_of
from turbo_eval.records import ScoreRecord
from turbo_eval.reward_records import RewardDifference, RewardMean
from turbo_eval.stats import Interval
from turbo_eval.tables import Cell, Row, Table, build_table

if TYPE_CHECKING:  # it can load torch
    from turbo_train.rewards.table import RewardEntry

NOTE = "reward scores: cosines, comparable within a row"
MARK = "in_loop"
GROUPS = {"image": "image rewards", "video": "video rewards", "judge": "judges"}


@dataclass(frozen=True)
class RewardCell(Cell):
    """One reward of one model. in_loop: whether the model was trained on it; None: not known."""

    in_loop: bool | None = None

    @property
    def mark(self) -> str:
        """`in_loop`, where that is known."""
        return MARK if self.in_loop else ""

    @property
    def more(self) -> dict[str, object]:
        """A column for programs: true, false, or empty."""
        return {MARK: "" if self.in_loop is None else str(self.in_loop).lower()}


@dataclass(frozen=True)
class RewardResults:
    """The table, and its numbers as records in its order: means by reward and model, then differences."""

    table: Table
    means: tuple[RewardMean, ...]
    differences: tuple[RewardDifference, ...]


def reward_results(
    scores: Sequence[ScoreRecord],
    entries: Mapping[str, RewardEntry],
    *,
    scorers: Mapping[str, str],
    trained: Trained,
    lineage: Mapping[str, str],
    suite: str,
    suite_sha256: str,
    remarks: Sequence[str] = (),
    partial: str = "",
) -> RewardResults:
    """One or two models: the keys of `trained`, in the table's order.

    entries, scorers: reward -> its row of the table of rewards, and the scorer's id. lineage: of all rewards there are.
    remarks: notes of the caller.
    """
    models = list(trained)
    order = sorted(entries.values(), key=lambda entry: list(GROUPS).index(_kind(entry)))
    groups = {entry.name: GROUPS[_kind(entry)] for entry in order}
    plain = build_table(scores, models=models, suite=suite, groups=groups, note=NOTE, partial=partial)
    rows = tuple(_marked(row, trained) for row in plain.rows)
    by_name = {row.metric: row for row in rows}
    means = tuple(
        _mean(suite_sha256, model, entry, scorers[entry.name], by_name.get(entry.name), scores, trained)
        for entry in order
        for model in models
    )
    differences = _differences(suite_sha256, order, scorers, by_name, trained) if len(models) == 2 else ()
    table = replace(
        plain,
        rows=rows,
        notes=(*plain.notes, *_several(differences), *_notes(means, trained, lineage), *remarks),
        warnings=warnings_of(means, differences, trained, lineage),
    )
    return RewardResults(table, means, differences)


def _kind(entry: RewardEntry) -> str:
    return "judge" if entry.role == "judge" else entry.kind


def _marked(row: Row, trained: Trained) -> Row:
    cells = (
        RewardCell(cell.interval, cell.unscored, is_in_loop(row.metric, rewards))
        for cell, rewards in zip(row.cells, trained.values(), strict=True)
    )
    return replace(row, cells=tuple(cells))


def _mean(
    suite_sha256: str,
    model: str,
    entry: RewardEntry,
    scorer: str,
    row: Row | None,
    scores: Sequence[ScoreRecord],
    trained: Trained,
) -> RewardMean:
    interval = row.cells[list(trained).index(model)].interval if row else None
    unscored = sum(s.model == model and s.metric == entry.name and s.value is None for s in scores)
    mean, low, high, clips, prompts = _numbers(interval)
    return RewardMean(
        suite_sha256=suite_sha256,
        model=model,
        reward=entry.name,
        scorer=scorer,
        role=entry.role,
        in_loop=is_in_loop(entry.name, trained[model]),
        mean=mean,
        low=low,
        high=high,
        clips=clips,
        prompts=prompts,
        unscored=unscored,
    )


def _differences(
    suite_sha256: str,
    order: Sequence[RewardEntry],
    scorers: Mapping[str, str],
    rows: Mapping[str, Row],
    trained: Trained,
) -> tuple[RewardDifference, ...]:
    (model, own), (against, other) = trained.items()
    found = []
    for entry in order:
        row = rows.get(entry.name)
        numbers = _numbers(row.difference if row else None)
        marks = is_in_loop(entry.name, own), is_in_loop(entry.name, other)
        name = entry.name
        found.append(RewardDifference(suite_sha256, model, against, name, scorers[name], *numbers, *marks))
    return tuple(found)


def _numbers(interval: Interval | None) -> tuple[float | None, float | None, float | None, int, int]:
    if interval is None:
        return None, None, None, 0, 0
    return interval.mean, interval.low, interval.high, interval.n, interval.clusters


def _several(differences: Sequence[RewardDifference]) -> list[str]:
    """What several rows at once mean for their intervals, none of which is widened for the others."""
    judged = sum(difference.low is not None for difference in differences)
    note = "each interval is 95 % for its row alone: of 20 rewards without a difference one is expected to show one"
    return [note] if judged > 1 else []


def _notes(means: Sequence[RewardMean], trained: Trained, lineage: Mapping[str, str]) -> list[str]:
    notes = [f"{MARK}: the model was trained on this reward"] if any(mean.in_loop for mean in means) else []
    for place, (model, rewards) in enumerate(trained.items()):
        if rewards is None:
            how = '"rewards" in its config.json' if place else "--in-loop NAMES or none"
            notes.append(f"not known: the rewards that {model} was trained on ({how})")
    for model, rewards in trained.items():
        if strange := [reward for reward in rewards or () if reward not in lineage]:
            notes.append(f"{model} was trained on {', '.join(strange)}, which turbo-eval list rewards does not know")
    return notes
