"""What does `turbo-eval lineup` leave behind? One run with any number of contestants, and the table of all of them.

Every contestant makes its clips of a prompt from the same noise, one after the other, so that no more than two models
are in memory. The folder depends on the suite and not on the contestants: whoever joins later finds the others' clips.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Contestant, Request
from turbo_eval.in_loop import hacking_of
from turbo_eval.lineup_choice import Lineup
from turbo_eval.lineup_numbers import Column, Row, RowDifference, Scored, differences_of, means_of, parts_of
from turbo_eval.lineup_text import Cost, LineupTable, to_csv, to_markdown
from turbo_eval.outcome import Outcome, machine_of, measured_once, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.records import ScoreRecord
from turbo_eval.report import write_lines, write_texts
from turbo_eval.reward_table import NOTE
from turbo_eval.scorers.groups import group_of
from turbo_eval.screen import say
from turbo_eval.timing.latency import CountedGenerator, latency_rules
from turbo_eval.timing.lineup_latency import (
    LineupLatency,
    measure_lineup,
    read_lineup_latency,
    stand_ins,
    write_lineup_latency,
)
from turbo_eval.timing.stop_rule import Rules
from turbo_eval.vbench_table import encoder_note
from turbo_train.rewards.table import REWARDS

LINEUP_FILE = "lineup.jsonl"


def run_lineup(request: Request, lineup: Lineup, latency_s: float = Rules.max_s) -> Outcome:
    """Generate, score, time and report. latency_s: how long timing may take. Raises: see scored_run."""
    asked = replace(request, lineup=lineup.contestants, model=None, against=None, num_steps=None)
    return scored_run(asked, lambda job, short: _report(job, short, lineup, latency_s))


def _report(job: Job, short: Shortfall, lineup: Lineup, latency_s: float) -> Outcome:
    latency = time_lineup(job, latency_s)
    scores = merged(job.scores(), unscored_records(job, short))
    table = table_of(job, short, lineup, scores, latency)
    folder, partial = job.run.folder, bool(short.missing)
    markdown = to_markdown(table)
    files = write_texts(
        folder,
        scores,
        job.run.manifest,
        job.environment,
        latency.to_json() if latency else {},
        short.to_json() if partial else None,
        {"table.md": markdown, "table.csv": to_csv(table)},
        {"lineup": table.records(), "unscored": job.unscored, "warnings": list(table.warnings)},
    )
    records = write_lines(folder, LINEUP_FILE, table.records(), partial=partial)
    return Outcome(folder, None, (*files, records), tuple(markdown.splitlines()), excess_of(job, short))


def table_of(
    job: Job, short: Shortfall, lineup: Lineup, scores: list[ScoreRecord], latency: LineupLatency | None
) -> LineupTable:
    """The line-up's numbers. Metrics of which no clip has one are named with their reasons instead."""
    scored = Scored(scores)
    columns = columns_of(job, scored)
    parts = parts_of(job.plan.prompts())
    trained = {contestant.name: contestant.rewards for contestant in job.contestants}
    gaps = [differences_of(scored, lineup.rows, baseline, columns, parts) for baseline in lineup.baselines]
    differences = tuple(gap for one in gaps for gap in one)
    title = f"{len(lineup.rows)} models on {job.plan.suite.name}, {len(parts['all'])} prompts"
    return LineupTable(
        title=f"{short.stamp}: {title}" if short.stamp else title,
        rows=lineup.rows,
        columns=columns,
        baselines=tuple(row.name for row in lineup.baselines),
        prompts={part: len(prompts) for part, prompts in parts.items()},
        means=tuple(means_of(scored, lineup.rows, columns, parts, trained)),
        differences=differences,
        costs=tuple(_cost(job, row, lineup, latency) for row in lineup.rows),
        unscored=tuple(without_number(job, scored, scores).items()),
        notes=(*_encoders(job), NOTE, *_unknown(trained), *_timing_notes(latency)),
        warnings=tuple(_warnings(job, lineup, differences)),
    )


def _encoders(job: Job) -> Iterator[str]:
    """What the scores of VBench's dimensions are not, if they are not VBench's."""
    if note := encoder_note({scorer.scorer_id for scorer in job.scorers}):
        yield note


def _warnings(job: Job, lineup: Lineup, differences: tuple[RowDifference, ...]) -> Iterator[str]:
    """Of reward hacking, between rows of one kind of model in one setting."""
    lineage = {entry.name: entry.lineage for entry in REWARDS}
    for row in lineup.rows:
        known = {job.contestant(name).rewards for name in row.members}
        trained = known.pop() if len(known) == 1 else None
        for other in lineup.baselines:
            if other == row or len({_way(job.contestant(name)) for name in (*row.members, *other.members)}) > 1:
                continue
            own = [gap for gap in differences if (gap.row, gap.against) == (row.name, other.name)]
            yield from hacking_of(own, trained, lineage)


def _way(contestant: Contestant) -> Hashable:
    """What must be equal for a difference to be the training's: student or teacher, and the setting."""
    return contestant.entry and (contestant.entry.kind, contestant.entry.setting)


def columns_of(job: Job, scored: Scored) -> tuple[Column, ...]:
    """The metrics that any clip has a number of, in the scorers' order."""
    return tuple(Column(s.metric, group_of(s.metric), s.scorer_id) for s in job.scorers if scored.has(s.metric))


def without_number(job: Job, scored: Scored, scores: list[ScoreRecord]) -> dict[str, str]:
    """Metric -> why no clip has a number of it."""
    reasons = dict(job.unscored)
    for score in scores:
        if score.unscored is not None and not scored.has(score.metric):
            reasons.setdefault(score.metric, score.unscored)
    return reasons


def time_lineup(job: Job, latency_s: float) -> LineupLatency | None:
    """Seconds per clip; None where nothing is run here, or it was not asked for."""
    models = [contestant for contestant in job.contestants if contestant.entry is not None]
    if not models or not job.request.latency:
        return None
    stands_in = stand_ins({contestant.name: _kind_of_work(contestant) for contestant in models})
    timed = list(dict.fromkeys(stands_in.values()))
    machine = machine_of(job) | {"models": {name: job.run.keys[name] for name in timed}, "stands_in": stands_in}

    def load(name: str) -> CountedGenerator:
        return job.generator(job.contestant(name)).one_at_a_time()

    def measured() -> LineupLatency:
        say(f"measuring the latency of {', '.join(timed)}, one clip at a time, about {latency_s:g} s")
        latency = measure_lineup(load, stands_in, job.plan.prompts()[0], job.request.seed, latency_rules(latency_s))
        write_lineup_latency(job.run.folder, latency, machine)
        return latency

    return measured_once(job, lambda: read_lineup_latency(job.run.folder, machine), measured)


def _kind_of_work(contestant: Contestant) -> Hashable:
    """What decides the time of a clip: the network that is run, and how."""
    assert contestant.entry is not None and contestant.entry.source is not None
    source = under = contestant.entry.source
    while under.base is not None:
        under = under.base
    return source.layout, source.clip, under.path.resolve(), under.clip, contestant.entry.setting


def _cost(job: Job, row: Row, lineup: Lineup, latency: LineupLatency | None) -> Cost:
    first = row.members[0]
    entry = job.contestant(first).entry
    if entry is None:
        return Cost(row.name, None, None)
    cost = Cost(row.name, entry.setting.num_steps, entry.setting.guidance_scale)
    if latency is None:
        return cost
    name = latency.stands_in[first]
    timing = latency.timings[name]
    others = [other for other in lineup.baselines if other != row and other.members[0] in latency.stands_in]
    return replace(
        cost,
        network_evaluations=latency.evaluations[name],
        median_s=timing.median_s,
        low_s=timing.low_s,
        high_s=timing.high_s,
        times_faster=tuple((o.name, *latency.times_faster(first, o.members[0])) for o in others),
        timed_as=name,
    )


def _timing_notes(latency: LineupLatency | None) -> tuple[str, ...]:
    if latency is None:
        return ()
    first = next(iter(latency.timings.values()))
    return (
        f"latency: {first.runs} single-clip runs of each that was timed, interleaved, until: {first.stopped_by}",
        "timed as: students of one teacher in one setting run equal networks equally often; one of them was timed",
    )


def _unknown(trained: dict[str, tuple[str, ...] | None]) -> tuple[str, ...]:
    names = [name for name, rewards in trained.items() if rewards is None]
    return (f'not known: the rewards that {", ".join(names)} were trained on ("rewards" in config.json)',) * bool(names)
