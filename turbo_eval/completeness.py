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
from turbo_eval.records import ClipId, Prompt, ScoreRecord
from turbo_eval.scorers.base import UnreadableClip, score_clips
from turbo_train.errors import Incomplete, UserError

NOT_YET = "not made yet"
NOT_SCORED = "not scored yet"
DAMAGED = "its file was changed or removed"
NO_FILE = "no file"
SHOWN = 3


@dataclass(frozen=True)
class Shortfall:
    """What is missing. failed: clips among `missing` whose making or scoring failed here."""

    wanted: int
    missing: tuple[tuple[ClipId, str], ...]
    failed: int

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


def shortfall(job: Job) -> Shortfall:
    """Looks at every wanted clip; hashes each file that this process has not hashed or written."""
    job.run.refresh()
    missing: list[tuple[ClipId, str]] = []
    wanted = failed = 0
    for name in job.names:
        for clip_id, prompt in job.plan.clip_ids(name):
            wanted += 1
            clip, failure = job.run.clip(clip_id), job.run.failure(clip_id)
            if clip is None:
                why = failure.error if failure else job.unreadable.get(clip_id) or _not_yet(job, clip_id, prompt)
            elif job.run.is_damaged(clip):
                why = DAMAGED
            elif job.missing_scorers(clip, prompt):
                why = failure.error if failure else NOT_SCORED
            else:
                continue
            missing.append((clip_id, why))
            failed += failure is not None
    return Shortfall(wanted, tuple(missing), failed)


def _not_yet(job: Job, clip_id: ClipId, prompt: Prompt) -> str:
    """Why nobody has made a clip: of a folder's clips some are not there, whoever may look."""
    finished = job.contestant(clip_id[0]).entry is None
    lost = finished and job.videos is not None and job.videos.find(prompt, clip_id[2]) is None
    return NO_FILE if lost else NOT_YET


def require_complete(short: Shortfall, *, allow_missing: bool, max_failures: int, folder: Path) -> None:
    """Incomplete (exit code 3) when something is missing that was not allowed to be."""
    tolerated = short.failed == len(short.missing) and short.failed <= max_failures
    if short.missing and not (allow_missing or tolerated):
        raise Incomplete(
            found=short.describe(),
            expected="every clip of the suite, for a mean over others would be another number",
            run_next="add or repair them and run the same command again; --allow-missing prints what there is, "
            f"stamped PARTIAL; turbo-eval runs status {folder} shows more",
        )


def require_some(job: Job, short: Shortfall) -> None:
    """UserError when not one clip of a folder can be read: that is a wrong folder, not a gap in it."""
    reasons = dict(short.missing)
    for contestant in job.contestants:
        ids = [clip_id for clip_id, _ in job.plan.clip_ids(contestant.name)]
        if contestant.entry is None and job.videos and all(clip_id in reasons for clip_id in ids):
            with_file = [reasons[clip_id] for clip_id in ids if reasons[clip_id] != NO_FILE]
            raise UserError(
                found=f"none of the {len(with_file)} clips in {job.videos.folder} can be read: {with_file[0]}",
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
