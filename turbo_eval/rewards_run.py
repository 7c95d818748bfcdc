"""What does `turbo-eval rewards` leave behind? A run like any other, its reward scores, their means and differences."""

from __future__ import annotations

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Request
from turbo_eval.outcome import Outcome, contact_sheet, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.report import write_lines, write_results
from turbo_eval.reward_table import reward_results
from turbo_eval.scorers.reward_choice import left_out_line
from turbo_train.rewards.table import REWARDS, find_reward

REWARDS_FILE = "rewards.jsonl"


def run_rewards(request: Request) -> Outcome:
    """Generate what is missing, score it and report. Raises: see scored_run, and reward_choice.choose_rewards."""
    return scored_run(request, _report)


def _report(job: Job, short: Shortfall) -> Outcome:
    scores = merged(job.scores(), unscored_records(job, short))
    trained = {contestant.name: contestant.rewards for contestant in job.contestants}
    left_out = left_out_line(job.unscored)
    found = reward_results(
        scores,
        {scorer.metric: find_reward(scorer.metric) for scorer in job.scorers},
        scorers={scorer.metric: scorer.scorer_id for scorer in job.scorers},
        trained=trained,
        lineage={entry.name: entry.lineage for entry in REWARDS},
        suite=job.plan.suite.name,
        remarks=[left_out] if left_out else [],
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
