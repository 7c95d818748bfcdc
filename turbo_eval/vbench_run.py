"""What does `turbo-eval vbench` leave behind? The run, then its table, files, contact sheet and what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turbo_eval.contestants import Request
from turbo_eval.pipeline import Collected, Session, collect, plan, race
from turbo_eval.provenance import environment
from turbo_eval.records import Prompt
from turbo_eval.report import write_contact_sheet, write_results
from turbo_eval.scorers.registry import metric_names
from turbo_eval.scorers.vbench.aggregate import aggregate
from turbo_eval.scorers.vbench.spec import DIMENSIONS, NAMES
from turbo_eval.tables import Table, build_table
from turbo_eval.timing.latency import Latency
from turbo_train.video_io import read_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHEET_ROWS = 8


@dataclass(frozen=True)
class Outcome:
    """A finished run. `remarks`: lines under the table. `missing`: empty when every wanted clip was scored."""

    folder: Path
    table: Table
    files: tuple[Path, ...]
    remarks: tuple[str, ...]
    missing: str

    def to_json(self) -> dict[str, Any]:
        """The document that --json prints: results.json as it was written."""
        document: dict[str, Any] = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))
        return document


def run_vbench(request: Request) -> Outcome:
    """Plan, generate, score, measure and report. UserError for mistakes; KeyboardInterrupt leaves all work kept."""
    if request.threads is not None:
        import torch

        torch.set_num_threads(request.threads)
    session = plan(request)
    collected = collect(session)
    latency = race(session)
    names = [contestant.name for contestant in session.contestants]
    table = build_table(
        collected.scores,
        models=names,
        suite=session.suite.name,
        groups=_groups(session),
        unscored=session.unscored,
        latency=latency.timings if latency else {},
        speed_up=latency.speed_up if latency else None,
    )
    folder = session.run.folder
    files = write_results(
        folder,
        scores=collected.scores,
        table=table,
        identity=session.identity,
        environment=environment(),
        timings=latency.to_json() if latency else {},
    )
    sheet = _contact_sheet(session, names)
    remarks = (*_speed(latency), *_totals(session, collected))
    return Outcome(folder, table, (*files, *sheet), remarks, _missing(session, collected))


def _groups(session: Session) -> dict[str, str]:
    """Every row of the table in its order, with its group."""
    group = {dimension.name: str(dimension.group) for dimension in DIMENSIONS}
    asked = {scorer.metric for scorer in session.scorers} | set(session.unscored)
    return {metric: group.get(metric, "oracle") for metric in metric_names() if metric in asked}


def _totals(session: Session, collected: Collected) -> tuple[str, ...]:
    """VBench's total of each model that has all sixteen dimensions; the table says when there is none."""
    lines = []
    for contestant in session.contestants:
        own = [score for score in collected.scores if score.model == contestant.name and score.metric in NAMES]
        if {score.metric for score in own} != set(NAMES):
            continue
        clips = [clip for clip in session.run.clips() if clip.model == contestant.name]
        totals = aggregate(own, frames={(c.prompt_id, c.sample_index): c.frames for c in clips}).totals
        if totals.total is not None:
            lines.append(f"{contestant.name}: total score {totals.total:.4f}")
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


def _missing(session: Session, collected: Collected) -> str:
    """Which clips have no pixels, in one clause; empty when none."""
    if not collected.unreadable:
        return ""
    total = len(session.suite.prompts) * session.request.samples
    named = [f"{clip.clip_id[1]}-{clip.clip_id[2]} ({clip.reason})" for clip in collected.unreadable[:3]]
    more = ", ..." if len(collected.unreadable) > len(named) else ""
    return f"{len(collected.unreadable)} of {total} clips without a readable file: {', '.join(named)}{more}"


def _contact_sheet(session: Session, names: list[str]) -> tuple[Path, ...]:
    """A picture of evenly spread prompts, the first sample of each, all models side by side."""
    prompts = session.suite.prompts
    last, rows = len(prompts) - 1, min(SHEET_ROWS, len(prompts))
    spread = sorted({round(k * last / max(1, rows - 1)) for k in range(rows)})
    kept = [(prompts[k], frames) for k in spread if (frames := _frames(session, names, prompts[k]))]
    if not kept:
        return ()
    return (write_contact_sheet(session.run.folder / "contact_sheet.png", kept, models=names),)


def _frames(session: Session, names: list[str], prompt: Prompt) -> Mapping[str, NDArray[np.uint8]]:
    records = ((name, session.run.clip((name, prompt.prompt_id, 0))) for name in names)
    return {name: read_video(session.run.clip_path(record)).frames_THWC for name, record in records if record}
