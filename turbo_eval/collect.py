"""How does one command get everything that is missing? Work, look, and make again what turns out to be damaged."""

from __future__ import annotations

from turbo_eval.completeness import Shortfall, shortfall
from turbo_eval.pipeline import Job
from turbo_eval.screen import say
from turbo_eval.worker import Worker
from turbo_train.exits import finishing

ROUNDS = 3  # of making clips again whose files turn out to be damaged


def collect(job: Job) -> Shortfall:
    """Make what is missing: clips and scores. What is damaged is made again."""
    for _ in range(ROUNDS):
        with finishing(say) as stop:
            Worker(job, stop).work()
        if job.request.shard is not None and (short := shortfall(job, read_files=False)).pending:
            break  # others are still at it: what is there is looked at by whoever comes last
        short = shortfall(job)
        if not short.damaged:
            break
        say(f"{short.damaged} clips no longer have the bytes of their rows; making them again")
    return short


def shard_done(job: Job, short: Shortfall) -> tuple[str, str]:
    """What to say when a shard is done and others are not."""
    done = f"shard {job.request.shard} is done; {short.pending} of {short.wanted} clips of other shards are not there"
    return done, f"the same command without --shard reports once they are: {job.run.folder}"


def excess_of(job: Job, short: Shortfall) -> str:
    """Failures beyond --max-failures, in one clause; empty when there are none."""
    return short.describe() if short.failed > job.request.max_failures else ""
