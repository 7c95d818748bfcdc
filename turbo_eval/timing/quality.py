"""How good are the clips of the rows that were timed? The means of a scored run, by the contestants' names.

Read are results.json of `vbench` and `rewards` (the table's rows) and of `lineup` (its means over all prompts), or its
lineup.jsonl alone. A row with other options makes the clips of its contestant, but for the tiny VAE, which nobody
scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.timing.row_names import contestant_of, without_dtype
from turbo_train.errors import UserError, near

RESULTS = ("results.json", "PARTIAL-results.json")
LINES = ("lineup.jsonl", "PARTIAL-lineup.jsonl")
PREFERRED = ("total_score", "oracle_all")
GROUPS = ("oracle", "semantic")
RUN = "turbo-eval lineup --models world-turbo,world-teacher --out DIR, then --scores DIR"


@dataclass(frozen=True)
class Score:
    """A metric of one contestant. low, high: its 95 % interval; None: too few prompts."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Quality:
    """A metric of the rows that were scored, by the row's name. notes: what a reader must know of it."""

    metric: str
    of_row: Mapping[str, Score]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Mean:
    contestant: str
    metric: str
    group: str
    score: Score
    members: tuple[str, ...] = ()  # contestants of which it is the mean: trainings that differ in their seed


def quality_of(folder: Path, vaes: Mapping[str, str], metric: str | None = None) -> Quality:
    """The points of a scored run. vaes: row -> full or tiny, which is known before anything is measured.

    metric None: total_score, else the oracle's or a semantic one that all rows have. UserError: no results in the
    folder, no model in common with the rows, an unknown metric.
    """
    means = list(_read(folder))
    rows = {name: contestant_of(name) for name, vae in vaes.items() if vae != "tiny"}
    found = {name: scored for name, contestant in rows.items() if (scored := _named(contestant, means))}
    if not found:
        raise UserError(
            found=f"no model in common: {', '.join(dict.fromkeys(mean.contestant for mean in means)) or 'none'} "
            f"scored in {folder}, {', '.join(vaes)} timed",
            expected="a run with scores of the models that are timed, in the same number of steps",
            run_next=RUN,
        )
    chosen = _metric(metric, means, found)
    drawn = {name: own[chosen] for name, own in found.items() if chosen in own}
    notes = (*_notes(folder, chosen, vaes, drawn), *_others(drawn, rows))
    return Quality(chosen, {name: mean.score for name, mean in drawn.items()}, notes)


def _named(contestant: str, means: list[_Mean]) -> dict[str, _Mean]:
    """Metric -> mean of the contestant of this name; else of that which differs from it in nothing but its dtype; else
    of the seeds that it is one of.
    """
    exact = {mean.metric: mean for mean in means if mean.contestant == contestant}
    other = {mean.metric: mean for mean in means if without_dtype(mean.contestant) == contestant}
    return exact or other or {mean.metric: mean for mean in means if contestant in mean.members}


def _metric(asked: str | None, means: list[_Mean], found: Mapping[str, Mapping[str, _Mean]]) -> str:
    known = dict.fromkeys(mean.metric for mean in means)
    scored = {metric for own in found.values() for metric in own}
    if asked is not None:
        if asked not in scored:
            raise UserError(
                found=f"--metric {asked}{near(asked, scored)}",
                expected=f"one of {', '.join(metric for metric in known if metric in scored)}",
                run_next="leave --metric out",
            )
        return asked
    shared = [metric for metric in known if all(metric in own for own in found.values())]
    groups = {mean.metric: mean.group for mean in means}
    order = [*PREFERRED, *(metric for group in GROUPS for metric in shared if groups[metric] == group), *shared]
    usual = next((metric for metric in order if metric in shared), None)
    if usual is None:
        raise UserError(
            found=f"no metric that all of {', '.join(found)} have",
            expected="one metric for all points",
            run_next=f"--metric {next(metric for metric in known if metric in scored)} draws those that have it",
        )
    return usual


def _others(drawn: Mapping[str, _Mean], rows: Mapping[str, str]) -> Iterator[str]:
    """Of rows whose score is not that of the very contestant."""
    for name, mean in drawn.items():
        if mean.contestant != rows[name]:
            seeds = f", the mean of {len(mean.members)} seeds" if len(mean.members) > 1 else ""
            yield f"{name} stands at the score of {mean.contestant}{seeds}"


def _notes(folder: Path, metric: str, timed: Mapping[str, object], of_row: Mapping[str, object]) -> Iterator[str]:
    yield f"quality: {metric} of {folder}"
    if without := [name for name in timed if name not in of_row]:
        yield f"not scored there, and so not in the scatter: {', '.join(without)}"
    if not (folder / RESULTS[0]).is_file() and not (folder / LINES[0]).is_file():
        yield "the scored run is PARTIAL: clips were missing"


def _read(folder: Path) -> Iterator[_Mean]:
    path = next((path for name in (*RESULTS, *LINES) if (path := folder / name).is_file()), None)
    if path is None:
        raise UserError(
            found=f"--scores {folder}, in which there is no {RESULTS[0]}",
            expected="the folder of a finished run of vbench, rewards or lineup",
            run_next=RUN,
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.name in LINES:
            yield from _of_lineup([json.loads(line) for line in text.splitlines()])
            return
        results = json.loads(text)
        yield from _of_lineup(results["lineup"]) if "lineup" in results else _of_table(results["table"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            found=f"{path} is not as a run leaves it: {type(error).__name__}: {error}",
            expected="a file of this version of turbo-eval",
            run_next=f"turbo-eval runs verify {folder}",
        ) from error


def _of_lineup(records: list[dict[str, Any]]) -> Iterator[_Mean]:
    for record in records:
        if record["kind"] == "mean" and record["part"] == "all" and record["mean"] is not None:
            score = Score(record["mean"], record["low"], record["high"])
            yield _Mean(record["row"], record["metric"], record["group"], score, tuple(record["members"]))


def _of_table(table: dict[str, Any]) -> Iterator[_Mean]:
    for row in table["rows"]:
        for model, cell in zip(table["models"], row["cells"], strict=True):
            interval = cell["interval"]
            if interval is not None:
                score = Score(interval["mean"], interval["low"], interval["high"])
                yield _Mean(model, row["metric"], row["group"], score)
