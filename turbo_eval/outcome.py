"""What does a command that scores clips leave behind, and how does it get there? vbench_run and its like report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from turbo_eval.collect import collect, excess_of, shard_done
from turbo_eval.completeness import Shortfall, require_complete, require_some
from turbo_eval.contestants import Request
from turbo_eval.pipeline import Job, prepare
from turbo_eval.records import Prompt
from turbo_eval.report import write_contact_sheet
from turbo_eval.screen import say
from turbo_eval.tables import Table
from turbo_eval.worker import check_sources
from turbo_train.video_io import read_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHEET_ROWS = 8
LATENCY_UNIT = "latency"
Measured = TypeVar("Measured")


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


def scored_run(request: Request, report: Callable[[Job, Shortfall], Outcome]) -> Outcome:
    """Generate and score what is missing, then report. UserError for mistakes; KeyboardInterrupt leaves all work kept.

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
    return report(job, short)


def machine_of(job: Job) -> dict[str, object]:
    """What must stay the same for a measured time to stand."""
    here = job.environment
    return {"cpu": here.cpu, "gpus": list(here.gpus), "threads": here.threads, "torch": here.packages.get("torch")}


def measured_once(job: Job, kept: Callable[[], Measured | None], measure: Callable[[], Measured]) -> Measured:
    """What an earlier call kept, else measured now. One process measures and keeps it, others wait for it."""
    if (found := kept()) is not None:
        return found
    with job.session() as session:
        while session.acquire(LATENCY_UNIT) is None:
            time.sleep(1)
        found = kept()
        return measure() if found is None else found


def contact_sheet(job: Job, stamp: str) -> tuple[Path, ...]:
    """A picture of evenly spread prompts, the first sample of each, all models side by side."""
    prompts = job.plan.prompts()
    last, rows = len(prompts) - 1, min(SHEET_ROWS, len(prompts))
    spread = sorted({round(k * last / max(1, rows - 1)) for k in range(rows)})
    kept = [(prompts[k], frames) for k in spread if (frames := _frames(job, prompts[k]))]
    return (write_contact_sheet(job.run.folder, kept, models=job.names, stamp=stamp),) if kept else ()


def _frames(job: Job, prompt: Prompt) -> Mapping[str, NDArray[np.uint8]]:
    records = ((name, job.run.clip((name, prompt.prompt_id, 0))) for name in job.names)
    return {name: read_video(job.run.clip_path(record)).frames_THWC for name, record in records if record}
