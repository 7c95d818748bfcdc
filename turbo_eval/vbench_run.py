"""What does `turbo-eval vbench` leave behind? The run, then its table, files, contact sheet and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Request
from turbo_eval.models import weights_of
from turbo_eval.outcome import Outcome, contact_sheet, machine_of, measured_once, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.records import ScoreRecord
from turbo_eval.report import write_results
from turbo_eval.scorers.base import Scorer
from turbo_eval.scorers.registry import metric_names
from turbo_eval.scorers.vbench.encoders.backbone import Backbone
from turbo_eval.scorers.vbench.published import PublishedRow, published
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_eval.scorers.vbench.strict_rules import is_strict
from turbo_eval.screen import say
from turbo_eval.suites import VBENCH
from turbo_eval.timing.latency import Latency, measure_latency, read_latency, write_latency
from turbo_eval.vbench_table import EMBEDDED, vbench_table
from turbo_train.weights.check import altered


def run_vbench(request: Request) -> Outcome:
    """Generate, score, measure and report. Raises: see scored_run."""
    return scored_run(request, _report)


def _report(job: Job, short: Shortfall) -> Outcome:
    latency = race(job)
    scores = merged(job.scores(), unscored_records(job, short))
    others = _altered(job)
    beside = {} if others else _published(job)
    table = vbench_table(
        scores,
        models=job.names,
        suite=job.plan.suite.name,
        groups=_groups(job),
        frames={clip.clip_id: clip.frames for clip in job.run.clips()},
        unscored=job.unscored,
        latency=latency.timings if latency else {},
        speed_up=latency.speed_up if latency else None,
        partial=short.stamp,
        trained={contestant.name: contestant.rewards for contestant in job.contestants},
        published=beside,
        altered=others,
    )
    table = replace(table, notes=(*table.notes, *_on_trust(job, beside), *_small(job, scores)))
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
    return Outcome(folder, table, (*files, *sheet), _speed(latency), excess_of(job, short))


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


def _networks(job: Job) -> list[tuple[Scorer, Backbone]]:
    """The scorers on VBench's networks, with these."""
    encoders = [(scorer, getattr(scorer, "encoder", None)) for scorer in job.scorers]
    return [(scorer, encoder) for scorer, encoder in encoders if isinstance(encoder, Backbone)]


def _altered(job: Job) -> list[str]:
    """The weights of VBench's networks at work here that are known not to be the published ones."""
    return altered(dict.fromkeys(file for _, network in _networks(job) for file in network.files))


def _on_trust(job: Job, compared: Collection[str]) -> Iterator[str]:
    """Which files are taken for the published ones of which nobody has stated a sha256, where published rows are set
    beside the models `compared`.
    """
    entries = [c.entry for c in job.contestants if c.entry is not None and c.name in compared]
    files = [file for entry in entries if entry.recipe for file in weights_of(entry, entry.recipe)]
    files += [file for _, network in _networks(job) for file in network.files]
    names = [file.name for file in dict.fromkeys(files) if not file.sha256]
    if entries and names:
        yield f"taken for the published files, whose sha256 is not known: {', '.join(names)}"


def _small(job: Job, scores: Sequence[ScoreRecord]) -> Iterator[str]:
    """What to say where a scored clip is too small for a network as VBench runs it."""
    networks = {scorer.metric: network for scorer, network in _networks(job)}
    sides_px = {clip.clip_id: min(clip.height_px, clip.width_px) for clip in job.run.clips()}
    seen = {(networks[s.metric], sides_px[s.clip_id]) for s in scores if s.value is not None and s.metric in networks}
    small = {network.NAME: network.SMALLEST_PX for network, side_px in seen if side_px < network.SMALLEST_PX}
    if small:
        sees = "see" if len(small) > 1 else "sees"
        yield (
            f"clips below {max(small.values())} px a side: {' and '.join(sorted(small))} {sees} them with their "
            "borders repeated; VBench has no numbers for them"
        )


def _published(job: Job) -> dict[str, PublishedRow]:
    """What was published of the models that are run as published, for VBench's own suite, networks and rules."""
    others = any(scorer.scorer_id.startswith(EMBEDDED) or is_strict(scorer.scorer_id) for scorer in job.scorers)
    if job.plan.suite.name != VBENCH or others:
        return {}
    found = {}
    for name, entry in ((contestant.name, contestant.entry) for contestant in job.contestants):
        if entry is not None and name == entry.label:  # else the command line has changed something
            row = published().get((entry.recipe and entry.recipe.published) or entry.published or "")
            if row is not None:
                found[name] = row
    return found


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
