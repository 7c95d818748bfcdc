"""How do models compare by VBench? The table of tables.py with VBench's own means, totals, and what may mislead in it.

A dimension's mean is that of VBench's rule (scorers/vbench/aggregate.py): where it is taken over frames, or over pairs
of them, long clips weigh more. A difference is that of two such means over the clips that both models have.
Quality, Semantic and Total are rows only of models that have all sixteen dimensions, and only when no clip is missing.
Two dimensions are ViCLIP's cosine of clip and prompt: what a model trained on the reward `viclip` was optimised for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from turbo_eval.in_loop import Trained, is_in_loop
from turbo_eval.joint_bootstrap import Weighted
from turbo_eval.records import ClipId, ScoreRecord
from turbo_eval.reward_table import MARK, RewardCell
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import clip_weight, weighted_clips
from turbo_eval.scorers.vbench.published import PublishedRow
from turbo_eval.scorers.vbench.strict_rules import CORRECTED, STRICT
from turbo_eval.scorers.vbench.total import coefficients, total_differences, total_intervals
from turbo_eval.tables import Cell, LatencySummary, Row, Table, build_table

EMBEDDED_NOTE = "embedded encoders: not comparable with VBench"
EMBEDDED = "embedded/"
NETWORK = re.compile(r"vbench/(?P<name>[^@]+)@\d+-[0-9a-f]{8}(?P<labels>[^+]*)")  # encoders/backbone.py
LABEL = re.compile(r"vbench-cuda|[^-]+")
REWARD_OF = {"viclip": "viclip"}  # a network of VBench's -> the reward that is the same network
TOTAL_SCORER = "vbench/total@1"
TOTAL_GROUP = "total"


def encoder_note(scorers: Collection[str], altered: Sequence[str] = ()) -> str:
    """Why the scores of these scorer ids are not VBench's, or not quite; "" where nothing is known against them.

    altered: files of their weights that are known not to be the published ones.
    """
    if any(scorer.startswith(EMBEDDED) for scorer in scorers):
        return EMBEDDED_NOTE
    notes = [f"weights that are not the published ones ({', '.join(altered)}): not comparable with VBench"]
    found = [match for scorer in scorers if (match := NETWORK.match(scorer))]
    labels = {label for match in found for label in LABEL.findall(match["labels"])}
    strict = f"strict rules in {', '.join(CORRECTED)}: not comparable with VBench"
    modes = sorted(labels - {STRICT})
    networks = f"VBench's networks, {', '.join(modes)}"
    return "; ".join(
        [*(notes if altered else []), *([networks] if modes else []), *([strict] if STRICT in labels else [])]
    )


@dataclass(frozen=True)
class VBenchCell(RewardCell):
    """One row of one model. published: the score that its paper prints, in 0..1; None: none, or none to set beside."""

    published: float | None = None

    @property
    def mark(self) -> str:
        """`in_loop`, and the published score."""
        beside = "" if self.published is None else f"(published {self.published:.4f})"
        return f"{super().mark} {beside}".strip()

    @property
    def more(self) -> dict[str, object]:
        """Columns for programs."""
        return {**super().more, "published": "" if self.published is None else self.published}


def vbench_table(
    scores: Sequence[ScoreRecord],
    *,
    models: Sequence[str],
    suite: str,
    groups: Mapping[str, str],
    frames: Mapping[ClipId, int],
    unscored: Mapping[str, str] | None = None,
    latency: Mapping[str, LatencySummary] | None = None,
    speed_up: tuple[float, float, float] | None = None,
    partial: str = "",
    trained: Trained | None = None,
    published: Mapping[str, PublishedRow] | None = None,
    altered: Sequence[str] = (),
    note: str | None = None,
) -> Table:
    """The table of one or two models; what is not said here: see build_table. frames: of every clip with a score.

    trained: model -> rewards that it was trained on. published: by model, to set beside. altered: see encoder_note.
    note: in place of encoder_note's.
    """
    own = [score for score in scores if score.model in models]
    title = encoder_note({score.scorer for score in own}, altered) if note is None else note
    weights = {
        name: {s.clip_id: clip_weight(name, frames[s.clip_id]) for s in own if s.metric == name and s.value is not None}
        for name in spec.NAMES
        if spec.dimension(name).averaging != "clips"
    }
    table = build_table(
        scores,
        models=models,
        suite=suite,
        groups=groups,
        unscored=unscored,
        latency=latency,
        speed_up=speed_up,
        note=title,
        weights=weights,
        partial=partial,
    )
    lacking = {model: _lacking(table, place) for place, model in enumerate(models)}
    whole = [model for model in models if not lacking[model] and not table.partial]
    rows = [*table.rows, *_total_rows(own, models, whole, frames)]
    notes = [*table.notes, *_total_notes(table, lacking, whole)]
    if published or any(_reward_of(row) for row in rows):
        known = {model: (trained or {}).get(model) for model in models}
        rows = [_marked(row, known, published or {}) for row in rows]
        notes += [*_loop_notes(rows, known), *_published_notes(published or {})]
    return replace(table, rows=tuple(rows), notes=tuple(notes))


def _lacking(table: Table, place: int) -> list[str]:
    """The dimensions in which the model at that place has no number."""
    there = {row.metric for row in table.rows if row.cells[place].interval is not None}
    return [name for name in spec.NAMES if name not in there]


def _total_rows(
    scores: Sequence[ScoreRecord], models: Sequence[str], whole: Sequence[str], frames: Mapping[ClipId, int]
) -> Iterator[Row]:
    clips = {model: _clips_of([s for s in scores if s.model == model], frames) for model in whole}
    intervals = {model: total_intervals(clips[model]) for model in whole}
    paired = total_differences(*clips.values()) if len(whole) == 2 else {}
    for name in spec.SCORES if whole else ():
        needed = coefficients(name)
        without = {s.clip_id for s in scores if s.metric in needed and s.value is None}
        cells = tuple(
            Cell(intervals[model].get(name), sum(clip[0] == model for clip in without))
            if model in whole
            else Cell(None, 0)
            for model in models
        )
        yield Row(name, TOTAL_GROUP, TOTAL_SCORER, cells, paired.get(name))


def _clips_of(scores: Sequence[ScoreRecord], frames: Mapping[ClipId, int]) -> dict[str, Weighted]:
    own = {score.clip_id[1:]: frames[score.clip_id] for score in scores if score.value is not None}
    return {name: weighted_clips(name, [s for s in scores if s.metric == name], own) for name in spec.NAMES}


def _total_notes(table: Table, lacking: Mapping[str, Sequence[str]], whole: Sequence[str]) -> Iterator[str]:
    """What the totals are, or why there are none; silent where VBench was not asked at all."""
    if whole:
        yield "quality, semantic and total score: VBench's weights; prompts are drawn for all their dimensions together"
    reasons = dict(table.unscored)
    told = {row.metric for row in table.rows} | set(reasons)
    if told.isdisjoint(spec.NAMES):
        return
    alike = len({tuple(names) for names in lacking.values()}) == 1
    for model, names in list(lacking.items())[: 1 if alike else None]:
        whose = "" if alike else f" of {model}"
        unscored = [name for name in names if name in reasons]
        unasked = [name for name in names if name not in reasons]
        parts = [f"{_count(unscored)} unscored: {', '.join(unscored)}"] if unscored else []
        parts += [f"{_count(unasked)} asked of no clip: {', '.join(unasked)}"] if unasked else []
        if parts:
            yield f"no quality, semantic or total score{whose}: {'; '.join(parts)}"
        elif table.partial:
            yield f"no quality, semantic or total score{whose}: clips are missing"


def _count(names: Sequence[str]) -> str:
    return "1 dimension is" if len(names) == 1 else f"{len(names)} dimensions are"


def _reward_of(row: Row) -> str:
    """The reward that is the network of a dimension's scorer; "" where none is."""
    match = NETWORK.match(row.scorer) if row.metric in spec.NAMES else None
    return REWARD_OF.get(match["name"], "") if match else ""


def _marked(row: Row, trained: Trained, published: Mapping[str, PublishedRow]) -> Row:
    cells = []
    for cell, (model, rewards) in zip(row.cells, trained.items(), strict=True):
        percent = published[model].scores.get(row.metric) if model in published else None
        in_loop = None if row.group == TOTAL_GROUP else is_in_loop(_reward_of(row), rewards)
        beside = None if percent is None else round(percent / 100, 6)
        cells.append(VBenchCell(cell.interval, cell.unscored, in_loop, beside))
    return replace(row, cells=tuple(cells))


def _loop_notes(rows: Sequence[Row], trained: Trained) -> Iterator[str]:
    on_rewards = {_reward_of(row) for row in rows} - {""}
    seen = [reward for reward in sorted(on_rewards) if any(is_in_loop(reward, own) for own in trained.values())]
    if seen:
        contain = "; semantic and total score contain it" if any(row.group == TOTAL_GROUP for row in rows) else ""
        yield f"{MARK}: the model was trained on the reward {', '.join(seen)}, the network of this row{contain}"
    for model, rewards in trained.items():
        if on_rewards and rewards is None:
            yield f"not known: the rewards that {model} was trained on"


def _published_notes(published: Mapping[str, PublishedRow]) -> Iterator[str]:
    for row in published.values():
        yield f"published: {row.model} over the whole suite as its paper prints it, not measured here ({row.source})"
