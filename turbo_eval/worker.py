"""How does one process do its part of a run? Micro-batch by micro-batch: lease, make, publish, score, give back.

Any number of processes may run this on one folder, join late, leave or be killed. What one cannot do after three
attempts is written down with its traceback and the others go on. A signal lets the micro-batch in hand finish.
Order of work: what nobody holds first; then it waits for what others hold, in case they die.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from turbo_eval.clip_files import NewClip, Published
from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.disk import MARGIN, check_room
from turbo_eval.durable import sha256_of, writer
from turbo_eval.generators.out_of_memory import is_out_of_memory
from turbo_eval.leases import Lease, Session
from turbo_eval.pipeline import Job
from turbo_eval.records import ClipId, Prompt
from turbo_eval.scorers.base import on_networks
from turbo_eval.scoring import Scoring, ScoringFailed
from turbo_eval.screen import say, stage
from turbo_eval.store import Failure
from turbo_eval.units import Unit
from turbo_train.errors import Incomplete, UserError
from turbo_train.exits import StopRequest
from turbo_train.video_io import UnreadableVideo, Video

T = TypeVar("T")
IMPORT, NO_FILE = "import", "no file"
ATTEMPTS = 3  # the first and two more
SYSTEMATIC = 3  # so many micro-batches failing one after the other are no accident
WAIT_S = (0.05, 2.0)  # between two looks at what others hold: at first, at most
ENCODED_SHARE = 0.5  # of the raw frames: a guess for the first clips; afterwards their own mean is known


class Worker:
    """This process's part of a job."""

    def __init__(self, job: Job, stop: StopRequest) -> None:
        self.job = job
        self.run = job.run
        self.stop = stop
        shard = job.request.shard
        self.units = [unit for number, unit in enumerate(job.units()) if shard is None or shard.takes(number)]
        self._known_failures = {(failure.clip_id, failure.stage, failure.at) for failure in self.run.failures()}
        self._tried: set[str] = set()  # units whose rest this process cannot make
        self._is_roomy = False  # whether there is room for all that is to be made
        self._counted: dict[str, int] = {}  # unit -> clips that were open when the work began
        self._failed_in_row = {"generate": 0, "score": 0}
        self._failed_clips = 0
        self._ahead = DecodeAhead()
        self._scoring = Scoring(job, self._ahead)

    def work(self) -> None:
        """Do every unit that is not done. KeyboardInterrupt after a signal, Incomplete when everything fails."""
        open_units = [unit for unit in self.units if not self._is_settled(unit)]
        total = sum(1 for unit in self.units for _ in self.job.clip_ids(unit))
        self._counted = {unit.name: self._open_clips(unit) for unit in open_units}
        done = total - sum(self._counted.values())
        if done:
            say(f"{done} of {total} clips already done")
        if not open_units and not self.run.sessions.holders():
            return
        with (
            self.job.session() as session,
            stage("clips made and scored", total, done) as advance,
            self._ahead,
        ):
            wait_s, told = WAIT_S[0], False
            while open_units:
                left: list[Unit] = []
                for unit, following in zip_longest(open_units, open_units[1:]):
                    left += [] if self._try(session, unit, following, advance) else [unit]
                if len(left) == len(open_units):
                    if self._is_stuck(left):
                        break
                    if not told:
                        say(f"waiting for {len(left)} micro-batches that other processes hold")
                    told, wait_s = True, min(2 * wait_s, WAIT_S[1])
                    time.sleep(wait_s)
                open_units = left
            session.clear({unit.name for unit in self.units})
        if self.stop.requested:
            raise KeyboardInterrupt

    def _try(self, session: Session, unit: Unit, following: Unit | None, advance: Callable[[int], None]) -> bool:
        """Do a unit unless somebody else is at it, while the next one's files are decoded. True when it is settled."""
        if self.stop.requested:
            raise KeyboardInterrupt
        if self.job.is_undecided(unit):
            self.run.refresh()
            return False
        if not self._is_settled(unit):
            lease = session.acquire(unit.name)
            if lease is None:
                self.run.refresh()
                if not self._is_settled(unit):
                    return False
            else:
                self.run.refresh()
                if not self._is_settled(unit):
                    self._ahead.expect([*self._files(unit), *(self._files(following) if following else ())])
                    self._do(session, lease, unit)
                session.release(lease)
                if not self._is_settled(unit):
                    return False
        advance(self._counted.get(unit.name, 0))
        return True

    def _files(self, unit: Unit) -> Iterator[Path]:
        """The files that will have to be decoded for a unit: finished clips to be copied in or to be scored."""
        yield from (self.run.clip_path(record) for record, _ in self._scoring.lacking(unit))
        if self.job.contestant(unit.model).entry is None and self.job.videos is not None:
            for _, clip_id, prompt in self.job.clip_ids(unit):
                if not self.run.clip(clip_id) and (source := self.job.videos.find(prompt, clip_id[2])):
                    yield source

    def _is_settled(self, unit: Unit) -> bool:
        """Nothing is left to do: all is there, or cannot be had by this process, or has failed since it began."""
        return unit.name in self._tried or not (self._open_clips(unit) or self.job.is_undecided(unit))

    def _is_stuck(self, left: Sequence[Unit]) -> bool:
        """Whether nobody at work will decide what is left: clips of other shards would, or clips that nobody makes."""
        if not all(self.job.is_undecided(unit) for unit in left):
            return False
        others = [name for name in self.run.sessions.names() if name != writer() and self.run.sessions.alive(name)]
        return self.job.request.shard is not None or not others

    def _open_clips(self, unit: Unit) -> int:
        """How many clips of a unit are still to be made or scored. What another process has failed at is not."""
        count = 0
        for _, clip_id, prompt in self.job.clip_ids(unit):
            clip = self.run.clip(clip_id)
            if clip is None or self.job.missing_scorers(clip, prompt):
                failure = self.run.failure(clip_id)
                count += failure is None or (clip_id, failure.stage, failure.at) in self._known_failures
        return count

    def _do(self, session: Session, lease: Lease, unit: Unit) -> None:
        self._tried.add(unit.name)
        fresh = self._attempt(unit, "generate", lambda attempt: self._make(session, lease, unit))
        if fresh is not None:
            self._attempt(unit, "score", lambda attempt: self._score(unit, fresh, attempt))

    def _score(self, unit: Unit, fresh: dict[str, Video], attempt: int) -> None:
        score = self._scoring.together if attempt < ATTEMPTS else self._scoring.one_by_one
        score(unit, fresh)

    # ---------------------------------------------------------------------------------------------- attempts

    def _attempt(self, unit: Unit, stage_name: str, work: Callable[[int], T]) -> T | None:
        """The work's result, or None after three failures, which are then recorded. UserErrors are not retried."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                result = work(attempt)
            except UserError:
                raise
            except Exception as error:
                say(f"{unit.name}: attempt {attempt} of {ATTEMPTS} to {stage_name} failed: {_short(error)}")
                if attempt == ATTEMPTS:
                    self._give_up(unit, stage_name, error)
                    return None
                if is_out_of_memory(error):
                    self._relieve(unit, stage_name, attempt)
            else:
                self._failed_in_row[stage_name] = 0
                return result
        return None

    def _relieve(self, unit: Unit, stage_name: str, step: int) -> None:
        """The scorers' networks, when scoring has failed; else, or where they are as small as can be, the model."""
        scorers = on_networks(self.job.scorers) if stage_name == "score" else []
        done = [what for scorer in scorers if (what := scorer.relieve())]
        generator = self.job.loaded.get(unit.model)
        if not done and generator is not None:
            done = [generator.relieve(step)]
        for what in done:
            say(f"out of memory: {what}")
            self.run.add_relief(unit.model, unit.name, what)

    def _give_up(self, unit: Unit, stage_name: str, error: Exception) -> None:
        failures, clips = [], list(self.job.clip_ids(unit))
        errors = error.errors if isinstance(error, ScoringFailed) else {}
        for _, clip_id, prompt in clips:
            clip = self.run.clip(clip_id)
            metrics = tuple(s.metric for s in self.job.missing_scorers(clip, prompt)) if clip else ()
            if clip is None or metrics:
                own = errors.get(clip_id, error)
                trace = "".join(traceback.format_exception(own))
                failures.append(Failure(clip_id, unit.key, stage_name, metrics, _short(own), trace, ATTEMPTS))
        self.run.add_failures(failures)
        self._failed_in_row[stage_name] = 0 if len(failures) < len(clips) else self._failed_in_row[stage_name] + 1
        self._failed_clips += len(failures)
        tolerated = self._failed_clips <= self.job.request.max_failures
        if self._failed_in_row[stage_name] >= SYSTEMATIC and not tolerated:
            raise Incomplete(
                found=f"{SYSTEMATIC} micro-batches failed one after the other, the last with {_short(error)}",
                expected="a model and scorers that work; everything finished before is kept",
                run_next=f"turbo-eval runs status {self.run.folder} shows the failures",
            )

    # -------------------------------------------------------------------------------------------- generating

    def _make(self, session: Session, lease: Lease, unit: Unit) -> dict[str, Video]:
        """Make the unit's missing clips. Returns the frames of the new ones by sha256, as they were read back."""
        missing = [(i, clip_id, prompt) for i, clip_id, prompt in self.job.clip_ids(unit) if not self.run.clip(clip_id)]
        if not missing:
            return {}
        contestant = self.job.contestant(unit.model)
        if contestant.entry is None:
            return _frames(self._import(missing))
        generator = self.job.generator(contestant)
        self._check_room(unit, generator.clip_bytes * ENCODED_SHARE)
        members = [self.job.plan.suite.prompts[index] for index in unit.members]
        clips = generator.generate(members, [unit.sample_index] * len(members), self.job.request.seed)
        if not session.holds(lease):  # paused for so long that somebody else has taken the unit over
            self._tried.discard(unit.name)
            return {}
        frames = dict(zip(unit.members, clips, strict=True))
        return _frames(self.run.publish([NewClip(c, index, frames[index], generator.fps) for index, c, _ in missing]))

    def _import(self, missing: Sequence[tuple[int, tuple[str, str, int], Prompt]]) -> list[Published]:
        videos, published = self.job.open_videos(), []
        for index, clip_id, prompt in missing:
            source = videos.find(prompt, clip_id[2])
            if source is None:
                self._cannot_import(clip_id, NO_FILE)
                continue
            check_room(self.run.folder, source.stat().st_size, "the next clip")
            try:
                published.append(self.run.import_clip(clip_id, index, source, self._ahead))
            except UnreadableVideo as error:
                self._cannot_import(clip_id, f"unreadable: {error.found.removeprefix(str(source)).strip()}")
        return published

    def _cannot_import(self, clip_id: ClipId, why: str) -> None:
        """Written down for other processes, and tried again by the next command."""
        failure = Failure(clip_id, self.run.keys[clip_id[0]], IMPORT, (), why, "", 1)
        self.run.add_failures([failure])

    def _check_room(self, unit: Unit, guess_bytes: float) -> None:
        """Before the first unit: room for every clip that is still to be made; before the others: for the unit."""
        if self._is_roomy:
            check_room(self.run.folder, len(unit.wanted) * guess_bytes, "the next micro-batch")
            return
        done = [clip.size_bytes for clip in self.run.clips()]
        each = sum(done) / len(done) if done else guess_bytes
        wanted = sum(1 for name in self.job.names for _ in self.job.wanted(name))
        left = max(0, wanted - len(done))
        check_room(self.run.folder, left * each, f"the {left} clips to make", MARGIN)
        self._is_roomy = True


def _frames(published: Sequence[Published]) -> dict[str, Video]:
    return {clip.record.sha256: clip.video for clip in published}


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def check_sources(job: Job) -> None:
    """Refuse a folder of finished clips in which one is not the file that this run has scored."""
    for contestant in job.contestants:
        for clip_id, prompt in job.wanted(contestant.name) if contestant.entry is None else ():
            kept = job.run.clip(clip_id)
            source = job.videos.find(prompt, clip_id[2]) if job.videos and kept else None
            if kept and source and sha256_of(source) != kept.sha256:
                raise UserError(
                    found=f"{source} is not the file that this run has scored",
                    expected="unchanged clips",
                    run_next="choose another --out folder",
                )
