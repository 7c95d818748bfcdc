"""What does `turbo-eval rewards` leave behind? A run like any other, its reward scores, their means and differences."""

from __future__ import annotations

from collections.abc import Iterator

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Request
from turbo_eval.outcome import Outcome, contact_sheet, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.report import write_lines, write_results
from turbo_eval.reward_table import reward_results
from turbo_eval.scorers.reward import FLOAT32
from turbo_eval.scorers.reward_choice import left_out_line, strange_line, unknown_words
from turbo_train.rewards.table import REWARDS, find_reward

REWARDS_FILE = "rewards.jsonl"


def run_rewards(request: Request) -> Outcome:
    """Generate what is missing, score it and report. Raises: see scored_run, and reward_choice.choose_rewards."""
    return scored_run(request, _report)


def _report(job: Job, short: Shortfall) -> Outcome:
    scores = merged(job.scores(), unscored_records(job, short))
    trained = {contestant.name: contestant.rewards for contestant in job.contestants}
    found = reward_results(
        scores,
        {scorer.metric: find_reward(scorer.metric) for scorer in job.scorers},
        scorers={scorer.metric: scorer.scorer_id for scorer in job.scorers},
        trained=trained,
        lineage={entry.name: entry.lineage for entry in REWARDS},
        suite=job.plan.suite.name,
        suite_sha256=job.plan.suite.sha256,
        remarks=list(_remarks(job)),
        partial=short.stamp,
    )
    folder, partial = job.run.folder, bool(short.missing)
    lines = [*(mean.to_json() for mean in found.means), *(difference.to_json() for difference in found.differences)]
    files = write_results(
        folder,
        scores=scores,
        table=found.table,
        manifest=job.run.manifest,
        environment=job.environment,
        timings={},
        missing=short.to_json() if partial else None,
        more={
            "rewards": lines,
            "trained_on": trained,
            "left_out": job.unscored,
            "warnings": list(found.table.warnings),
        },
    )
    records = write_lines(folder, REWARDS_FILE, lines, partial=partial)
    sheet = contact_sheet(job, short.stamp)
    return Outcome(folder, found.table, (*files, records, *sheet), (), excess_of(job, short))


def _remarks(job: Job) -> Iterator[str]:
    """How these numbers differ from the usual ones, in every form of the table and however often it is printed."""
    choice, entries = job.request.rewards, [find_reward(scorer.metric) for scorer in job.scorers]
    clips = [clip for name in job.names for clip_id, _ in job.plan.clip_ids(name) if (clip := job.run.clip(clip_id))]
    texts = [prompt.prompt for prompt in job.plan.prompts()]
    if choice and choice.dtype != FLOAT32:
        yield f"reward networks in {choice.dtype}"
    for frames in sorted({entry.frames for entry in entries if entry.frames} if choice and choice.repeat_last else ()):
        if short := sum(clip.frames < frames for clip in clips):
            yield f"clips with fewer than {frames} frames whose last one was repeated: {short} (--repeat-last)"
    yield from (strange_line(entry.name, words) for entry in entries if (words := unknown_words(entry, texts)))
    if left_out := left_out_line(job.unscored):
        yield left_out
    held = {name: {s.clip_id for s in job.run.scores() if s.metric == name} for name in job.unscored}
    for name, ids in held.items():
        if ids:
            yield f"not shown: scores of {name}, left out here, that this run holds of {len(ids)} clips"
