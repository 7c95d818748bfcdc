"""What does `turbo-eval vbench` leave behind? The run, then its table, files, contact sheet and what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turbo_eval.collect import collect, excess_of, shard_done
from turbo_eval.completeness import Shortfall, merged, require_complete, require_some, unscored_records
from turbo_eval.contestants import Request
from turbo_eval.pipeline import Job, prepare
from turbo_eval.records import Prompt, ScoreRecord
from turbo_eval.report import write_contact_sheet, write_results
from turbo_eval.scorers.registry import metric_names
from turbo_eval.scorers.vbench.aggregate import aggregate
from turbo_eval.scorers.vbench.spec import DIMENSIONS, NAMES
from turbo_eval.screen import say
from turbo_eval.tables import Table, build_table
from turbo_eval.timing.latency import Latency, measure_latency, read_latency, write_latency
from turbo_eval.worker import check_sources
from turbo_train.video_io import read_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHEET_ROWS = 8
LATENCY_UNIT = "latency"


@dataclass(frozen=True)
class Outcome:
    """A finished part of a run. table None: a shard is done, others are not. remarks: lines under the table.

    excess: failures beyond --max-failures, in one clause; empty when there are none.
    """

    folder: Path
    table: Table | None
    files: tuple[Path, ...]
    remarks: tuple[str, ...]
    excess: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document that --json prints: results.json as it was written, or what a shard has to say."""
        written = next((path for path in self.files if path.name.endswith("results.json")), None)
        if written is None:
            return {"run": str(self.folder), "complete": False, "remarks": list(self.remarks)}
        document: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        return document


def run_vbench(request: Request) -> Outcome:
    """Generate, score, measure and report. UserError for mistakes; KeyboardInterrupt leaves all work kept.

    Incomplete when a wanted clip is missing and that is not allowed.
    """
    job = prepare(request)
    for note in job.run.notes:
        say(note)
    check_sources(job)
    short = collect(job)
    if request.shard is not None and short.pending:
        return Outcome(job.run.folder, None, (), shard_done(job, short), excess_of(job, short))
    require_some(job, short)
    require_complete(
        short, allow_missing=request.allow_missing, max_failures=request.max_failures, folder=job.run.folder
    )
    return _report(job, short)


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
    sheet = _contact_sheet(job, short.stamp)
    remarks = (*_speed(latency), *_totals(job, scores, short))
    return Outcome(folder, table, (*files, *sheet), remarks, excess_of(job, short))


def race(job: Job) -> Latency | None:
    """Latency of the models that are run here; None when there is none, or when it was not asked for.

    Kept in the run until the machine or its number of threads is another. One process measures, others wait for it.
    """
    models = [contestant for contestant in job.contestants if contestant.entry is not None]
    if not models or not job.request.latency:
        return None
    here = job.environment
    machine = {"cpu": here.cpu, "gpus": list(here.gpus), "threads": here.threads, "torch": here.packages.get("torch")}
    machine |= {"models": [job.run.keys[contestant.name] for contestant in models]}
    if (kept := read_latency(job.run.folder, machine)) is not None:
        return kept
    with job.session() as session:
        while (lease := session.acquire(LATENCY_UNIT)) is None:
            time.sleep(1)
        if (kept := read_latency(job.run.folder, machine)) is not None:
            return kept
        say(f"measuring the latency of {' and '.join(c.name for c in models)}, one clip at a time")
        single = {contestant.name: job.generator(contestant).one_at_a_time() for contestant in models}
        latency = measure_latency(single, job.plan.prompts()[0], job.request.seed)
        write_latency(job.run.folder, latency, machine)
        session.release(lease)
    return latency


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


def _contact_sheet(job: Job, stamp: str) -> tuple[Path, ...]:
    """A picture of evenly spread prompts, the first sample of each, all models side by side."""
    prompts = job.plan.prompts()
    last, rows = len(prompts) - 1, min(SHEET_ROWS, len(prompts))
    spread = sorted({round(k * last / max(1, rows - 1)) for k in range(rows)})
    kept = [(prompts[k], frames) for k in spread if (frames := _frames(job, prompts[k]))]
    return (write_contact_sheet(job.run.folder, kept, models=job.names, stamp=stamp),) if kept else ()


def _frames(job: Job, prompt: Prompt) -> Mapping[str, NDArray[np.uint8]]:
    records = ((name, job.run.clip((name, prompt.prompt_id, 0))) for name in job.names)
    return {name: read_video(job.run.clip_path(record)).frames_THWC for name, record in records if record}
