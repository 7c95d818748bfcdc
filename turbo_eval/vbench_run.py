"""What does `turbo-eval vbench` leave behind? The run, then its table, files, contact sheet and what is missing."""

from __future__ import annotations

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Request
from turbo_eval.outcome import Outcome, contact_sheet, machine_of, measured_once, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.records import ScoreRecord
from turbo_eval.report import write_results
from turbo_eval.scorers.registry import metric_names
from turbo_eval.scorers.vbench.aggregate import aggregate
from turbo_eval.scorers.vbench.spec import DIMENSIONS, NAMES
from turbo_eval.screen import say
from turbo_eval.tables import build_table
from turbo_eval.timing.latency import Latency, measure_latency, read_latency, write_latency


def run_vbench(request: Request) -> Outcome:
    """Generate, score, measure and report. Raises: see scored_run."""
    return scored_run(request, _report)


def _report(job: Job, short: Shortfall) -> Outcome:
    latency = race(job)
    scores = merged(job.scores(), unscored_records(job, short))
    table = build_table(
        scores,
        models=job.names,
        suite=job.plan.suite.name,
        groups=_groups(job),
        unscored=job.unscored,
        latency=latency.timings if latency else {},
        speed_up=latency.speed_up if latency else None,
        partial=short.stamp,
    )
    folder = job.run.folder
    files = write_results(
        folder,
        scores=scores,
        table=table,
        manifest=job.run.manifest,
        environment=job.environment,
        timings=latency.to_json() if latency else {},
        missing=short.to_json() if short.missing else None,
    )
    sheet = contact_sheet(job, short.stamp)
    remarks = (*_speed(latency), *_totals(job, scores, short))
    return Outcome(folder, table, (*files, *sheet), remarks, excess_of(job, short))


def race(job: Job) -> Latency | None:
    """Latency of the models that are run here; None when there is none, or when it was not asked for.

    Kept in the run until the machine or its number of threads is another.
    """
    models = [contestant for contestant in job.contestants if contestant.entry is not None]
    if not models or not job.request.latency:
        return None
    machine = machine_of(job) | {"models": [job.run.keys[contestant.name] for contestant in models]}

    def measured() -> Latency:
        say(f"measuring the latency of {' and '.join(c.name for c in models)}, one clip at a time")
        single = {contestant.name: job.generator(contestant).one_at_a_time() for contestant in models}
        latency = measure_latency(single, job.plan.prompts()[0], job.request.seed)
        write_latency(job.run.folder, latency, machine)
        return latency

    return measured_once(job, lambda: read_latency(job.run.folder, machine), measured)


def _groups(job: Job) -> dict[str, str]:
    """Every row of the table in its order, with its group."""
    group = {dimension.name: str(dimension.group) for dimension in DIMENSIONS}
    asked = {scorer.metric for scorer in job.scorers} | set(job.unscored)
    return {metric: group.get(metric, "oracle") for metric in metric_names() if metric in asked}


def _totals(job: Job, scores: list[ScoreRecord], short: Shortfall) -> tuple[str, ...]:
    """VBench's total of each model that has all sixteen dimensions; the table says when there is none."""
    lines = []
    for name in job.names:
        own = [score for score in scores if score.model == name and score.metric in NAMES]
        if {score.metric for score in own} != set(NAMES) or short.missing:
            continue
        clips = [clip for clip in job.run.clips() if clip.model == name]
        totals = aggregate(own, frames={(c.prompt_id, c.sample_index): c.frames for c in clips}).totals
        if totals.total is not None:
            lines.append(f"{name}: total score {totals.total:.4f}")
    return tuple(lines)


def _speed(latency: Latency | None) -> tuple[str, ...]:
    """How the latency was measured, and the price of a clip that does not depend on the machine."""
    if latency is None:
        return ()
    first = next(iter(latency.timings.values()))
    together = "of each, interleaved, " if len(latency.timings) > 1 else ""
    calls = ", ".join(f"{name} {count}" for name, count in latency.evaluations.items())
    return (
        f"latency: {first.runs} single-clip runs {together}until: {first.stopped_by}",
        f"network evaluations per clip: {calls}",
    )
