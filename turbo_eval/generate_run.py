"""What does `turbo-eval generate` leave behind? The clips of a suite or of prompts, in a run's folder, nothing else.

The folder is that of any run: the same command goes on, others may join, and `vbench --out` with the same suite scores
what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.collect import collect, excess_of, shard_done
from turbo_eval.completeness import Shortfall, require_complete
from turbo_eval.contestants import Request
from turbo_eval.pipeline import Job, prepare
from turbo_eval.records import ClipRecord
from turbo_eval.screen import say

SHOWN = 20  # paths in a listing for people


@dataclass(frozen=True)
class Made:
    """The clips that are there, by prompt; remarks about what is not."""

    folder: Path
    clips: tuple[tuple[ClipRecord, str], ...]  # with the prompt's text
    complete: bool
    remarks: tuple[str, ...]
    excess: str  # failures beyond --max-failures, in one clause; empty when there are none

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = [{**clip.to_json(), "prompt": text, "file": str(self.folder / clip.path)} for clip, text in self.clips]
        return {"run": str(self.folder), "complete": self.complete, "clips": rows, "remarks": list(self.remarks)}

    def lines(self) -> list[str]:
        """For people."""
        shown = [f"{self.folder / clip.path}  {text}" for clip, text in self.clips[:SHOWN]]
        more = [f"... {len(self.clips) - SHOWN} more in {self.folder}"] if len(self.clips) > SHOWN else []
        return [*shown, *more, *self.remarks]


def run_generate(request: Request) -> Made:
    """Make what is missing. UserError for mistakes, Incomplete when a clip is missing and that is not allowed."""
    job = prepare(request)
    for note in job.run.notes:
        say(note)
    short = collect(job)
    if request.shard is not None and short.pending:
        return _made(job, short, shard_done(job, short))
    require_complete(
        short, allow_missing=request.allow_missing, max_failures=request.max_failures, folder=job.run.folder
    )
    return _made(job, short, (short.stamp,) if short.stamp else ())


def _made(job: Job, short: Shortfall, remarks: tuple[str, ...]) -> Made:
    wanted = [
        (job.run.clip(clip_id), prompt.prompt) for name in job.names for clip_id, prompt in job.plan.clip_ids(name)
    ]
    there = tuple((clip, text) for clip, text in wanted if clip is not None)
    return Made(job.run.folder, there, not short.missing, remarks, excess_of(job, short))
