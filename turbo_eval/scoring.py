"""How are the clips of a micro-batch scored? In company, one decode a clip, and one by one where that fails.

Networks see clips in common batches, and another company may move a score by a rounding. So a clip's company does not
depend on what was scored before: it is the micro-batch's clips that are there, in their order, as many at a time as fit
into GROUP_BYTES of frames. What one of them has already is computed again and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.pipeline import Job
from turbo_eval.records import ClipId, ClipRecord, Prompt, ScoreRecord
from turbo_eval.scorers.base import Clip, Scorer, UnreadableClip, open_clip, score_clips
from turbo_eval.units import Unit
from turbo_train.errors import UserError
from turbo_train.video_io import Video

GROUP_BYTES = 2**30  # of decoded frames that are scored together; a single clip may be larger
PIXEL_BYTES = 4.5  # RGB, and the decoder's own picture of 8 bits with chroma for 2x2 pixels
Scored = list[tuple[ClipRecord, list[ScoreRecord]]]


class ScoringFailed(Exception):
    """Some clips could not be scored even by themselves. errors: each one's own."""

    def __init__(self, errors: Mapping[ClipId, Exception]) -> None:
        self.errors = dict(errors)
        first = next(iter(self.errors.values()))
        super().__init__(f"{len(self.errors)} clips by themselves, the first by {type(first).__name__}: {first}")


class Company(NamedTuple):
    """Clips that are scored together, and the scorers that any of them lacks."""

    scorers: list[Scorer]
    members: list[tuple[ClipRecord, Prompt]]


class Scoring:
    """Scores the clips of a job's micro-batches; what is decoded ahead is taken from there."""

    def __init__(self, job: Job, ahead: DecodeAhead) -> None:
        self.job, self.run, self.ahead = job, job.run, ahead

    def lacking(self, unit: Unit) -> list[tuple[ClipRecord, Prompt]]:
        """The unit's clips that are there, if any of them lacks a score."""
        found = [(self.run.clip(clip_id), prompt) for _, clip_id, prompt in self.job.clip_ids(unit)]
        there = [(record, prompt) for record, prompt in found if record is not None]
        return there if any(self.job.missing_scorers(*pair) for pair in there) else []

    def together(self, unit: Unit, fresh: Mapping[str, Video]) -> None:
        """Score them, and record all scores in one write. fresh: frames that were just read back, by sha256."""
        scored: Scored = []
        for company in self._companies(unit):
            scored += self._scored(company, fresh)
        self.run.add_scores(scored)

    def one_by_one(self, unit: Unit, fresh: Mapping[str, Video]) -> None:
        """Score each clip by itself, scorer by scorer, so that one's fault is no other's.

        ScoringFailed, after all were tried; what worked is recorded.
        """
        errors: dict[ClipId, Exception] = {}
        for record, prompt in self.lacking(unit):
            for scorer in self.job.missing_scorers(record, prompt):
                try:
                    self.run.add_scores(self._scored(Company([scorer], [(record, prompt)]), fresh))
                except UserError:
                    raise
                except Exception as error:
                    errors.setdefault(record.clip_id, error)
        if errors:
            raise ScoringFailed(errors)

    def _companies(self, unit: Unit) -> list[Company]:
        companies: list[Company] = []
        room = 0
        for record, prompt in self.lacking(unit):
            size = int(record.frames * record.height_px * record.width_px * PIXEL_BYTES)
            if not companies or size > room:
                companies.append(Company([], []))
                room = GROUP_BYTES
            scorers, members = companies[-1]
            missing = self.job.missing_scorers(record, prompt)
            scorers[:] = [scorer for scorer in self.job.scorers if scorer in scorers or scorer in missing]
            members.append((record, prompt))
            room -= size
        return [company for company in companies if company.scorers]

    def _scored(self, company: Company, fresh: Mapping[str, Video]) -> Scored:
        clips = [self._open(record, prompt, fresh) for record, prompt in company.members]
        scores = score_clips(company.scorers, clips)
        return [(record, [s for s in scores if s.clip_id == record.clip_id]) for record, _ in company.members]

    def _open(self, record: ClipRecord, prompt: Prompt, fresh: Mapping[str, Video]) -> Clip:
        if (video := fresh.get(record.sha256)) is not None:
            return Clip(record.clip_id, prompt, video.frames_THWC, video.fps, video.pictures)
        if self.run.is_damaged(record):
            raise RuntimeError(f"{record.path} has not the sha256 {record.sha256[:12]} of its row any more")
        read = partial(self.ahead.take, sha256=record.sha256)
        clip = open_clip(self.run.clip_path(record), record.clip_id, prompt, read)
        if isinstance(clip, UnreadableClip):  # its bytes are those that did decode: not the clip's fault
            raise RuntimeError(f"{record.path} has its row's bytes and was not read: {clip.reason}")
        return clip
