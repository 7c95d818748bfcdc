"""Is every clip there that a number claims to stand for? A total or a comparison is printed only if so.

Required are all wanted (prompt, sample) of every model, each with a row whose file still has the row's bytes (it was
decoded to the expected frames, size and fps before the row was written), and what every scorer says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.pipeline import Job
from turbo_eval.records import ClipId, ScoreRecord
from turbo_eval.scorers.base import UnreadableClip, score_clips
from turbo_eval.store import DAMAGED
from turbo_eval.worker import IMPORT, NO_FILE
from turbo_train.errors import Incomplete, UserError

NOT_YET = "not made yet"
NOT_SCORED = "not scored yet"
SHOWN = 3


@dataclass(frozen=True)
class Shortfall:
    """What is missing. failed: of it, what could not be made or scored; absent: finished clips that are not there."""

    wanted: int
    missing: tuple[tuple[ClipId, str], ...]
    failed: int
    absent: int

    @property
    def damaged(self) -> int:
        """Clips that were done once and must be made again."""
        return sum(reason == DAMAGED for _, reason in self.missing)

    @property
    def pending(self) -> int:
        """Clips that nobody has tried yet."""
        return sum(reason in (NOT_YET, NOT_SCORED) for _, reason in self.missing)

    @property
    def stamp(self) -> str:
        """`PARTIAL: 70 of 72 clips`; empty when nothing is missing."""
        return f"PARTIAL: {self.wanted - len(self.missing)} of {self.wanted} clips" if self.missing else ""

    def describe(self) -> str:
        """One clause, with the first few."""
        named = [f"{model} {prompt}-{sample} ({why})" for (model, prompt, sample), why in self.missing[:SHOWN]]
        more = ", ..." if len(self.missing) > SHOWN else ""
        return f"{len(self.missing)} of {self.wanted} clips missing: {', '.join(named)}{more}"

    def to_json(self) -> dict[str, Any]:
        """For results.json."""
        return {"wanted": self.wanted, "missing": [{"clip": list(clip), "why": why} for clip, why in self.missing]}


def shortfall(job: Job, *, read_files: bool = True) -> Shortfall:
    """Looks at every wanted clip. read_files: hashes every file, so that a number stands for the bytes of now."""
    job.run.refresh()
    job.run.forget_hashes()
    missing: list[tuple[ClipId, str]] = []
    wanted = failed = absent = 0
    for name in job.names:
        for clip_id, prompt in job.wanted(name):
            wanted += 1
            clip, failure = job.run.clip(clip_id), job.run.failure(clip_id)
            if clip is None:
                why = failure.error if failure else NOT_YET
            elif read_files and job.run.is_damaged(clip):
                why, failure = DAMAGED, None
            elif job.missing_scorers(clip, prompt):
                why = failure.error if failure else NOT_SCORED
            else:
                continue
            missing.append((clip_id, why))
            absent += failure is not None and failure.stage == IMPORT
            failed += failure is not None and failure.stage != IMPORT
    return Shortfall(wanted, tuple(missing), failed, absent)


def require_complete(short: Shortfall, *, allow_missing: bool, max_failures: int, folder: Path) -> None:
    """Incomplete (exit code 3) when something is missing that was not allowed to be."""
    known = short.failed + short.absent
    tolerated = known == len(short.missing) and known <= max_failures
    if short.missing and not (allow_missing or tolerated):
        raise Incomplete(
            found=short.describe(),
            expected="every clip of the suite, for a mean over others would be another number",
            run_next="add or repair them and run the same command again; --allow-missing prints what there is, "
            f"stamped PARTIAL; turbo-eval runs status {folder} shows more",
        )


def require_some(job: Job, short: Shortfall) -> None:
    """UserError when not one clip of a folder can be read: that is a wrong folder, not a gap in it."""
    for contestant in job.contestants:
        ids = [clip_id for clip_id, _ in job.wanted(contestant.name)]
        if contestant.entry is None and job.videos and not any(job.run.clip(clip_id) for clip_id in ids):
            reasons = [why for clip_id, why in short.missing if clip_id[0] == contestant.name and why != NO_FILE]
            why = reasons[0] if reasons else NO_FILE
            raise UserError(
                found=f"none of the {len(reasons)} clips in {job.videos.folder} can be read: {why}",
                expected="video files that decode to their last frame",
                run_next="make the clips again, or check the copy",
            )


def unscored_records(job: Job, short: Shortfall) -> list[ScoreRecord]:
    """A record without a number, and with the reason, for every missing clip and metric: counted, never a zero."""
    prompts = {prompt.prompt_id: prompt for prompt in job.plan.suite.prompts}
    records: list[ScoreRecord] = []
    for clip_id, why in short.missing:
        wanted = [s for s in job.scorers if job.plan.metric_wants(s.metric, clip_id[2])]
        made = job.run.clip(clip_id)
        open_scorers = job.missing_scorers(made, prompts[clip_id[1]]) if made else wanted
        records += score_clips(open_scorers, [UnreadableClip(clip_id, prompts[clip_id[1]], why)])
    return records


def merged(scores: Sequence[ScoreRecord], more: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Both in canonical order."""
    return sorted([*scores, *more], key=lambda score: score.sort_key)
