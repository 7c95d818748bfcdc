"""What happens between `turbo-eval vbench` and its table? Plan, clips, scores, latency, report; each step resumes.

The run's folder is the only memory: a clip or a score that it holds is not made again, so a second call goes on where
the first was stopped, and a third only prints. Latency is kept too, until the number of threads or the machine changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from turbo_eval.contestants import Contestant, Request, contestants_of, output_folder
from turbo_eval.generators.folder import VideoFolder, open_folder
from turbo_eval.provenance import environment
from turbo_eval.records import ClipId, ClipRecord, Prompt, ScoreRecord
from turbo_eval.scorers.base import Scorer, UnreadableClip, applies, open_clip, score_clips
from turbo_eval.scorers.registry import build_scorers
from turbo_eval.scorers.vbench.spec import NAMES
from turbo_eval.screen import say, stage
from turbo_eval.store import Run, RunIdentity, open_run, sha256_of
from turbo_eval.suites import Suite, load_suite, select
from turbo_eval.timing.latency import Latency, measure_latency, read_latency, write_latency
from turbo_train.errors import UserError

if TYPE_CHECKING:  # torch
    from turbo_eval.generators.latent import LatentGenerator


@dataclass
class Session:
    """One run in progress: what was asked, where it goes, and the models loaded so far."""

    request: Request
    suite: Suite
    contestants: tuple[Contestant, ...]
    identity: RunIdentity
    run: Run
    scorers: Sequence[Scorer]
    unscored: dict[str, str]
    videos: VideoFolder | None = None
    loaded: dict[str, LatentGenerator] = field(default_factory=dict)

    def wanted(self, contestant: Contestant) -> Iterator[tuple[ClipId, Prompt]]:
        """Every clip of a contestant, in the suite's order."""
        for prompt in self.suite.prompts:
            for index in range(self.request.samples):
                yield (contestant.name, prompt.prompt_id, index), prompt

    def generator(self, contestant: Contestant) -> LatentGenerator:
        """The contestant's model, loaded once."""
        from turbo_eval.generators.latent import load_generator

        entry = contestant.entry
        assert entry is not None and entry.guidance_scale is not None
        if contestant.name not in self.loaded:
            self.loaded[contestant.name] = load_generator(
                entry.kind, entry.folder, entry.num_steps, entry.guidance_scale, self.request.batch
            )
        return self.loaded[contestant.name]


@dataclass(frozen=True)
class Collected:
    """What the run holds after clips and scores are made. `unreadable`: clips without pixels, and why."""

    scores: list[ScoreRecord]
    unreadable: list[UnreadableClip]


def plan(request: Request) -> Session:
    """Resolve every name, load the scorers, open the run's folder. All mistakes of the command line show here."""
    contestants = contestants_of(request)
    sixteen = [name for name in request.dimensions if name in NAMES]
    whole = load_suite(request.suite)
    only_sixteen = len(sixteen) == len(request.dimensions)
    suite = select(whole, limit=request.limit, dimensions=sixteen if only_sixteen else ())
    videos = open_folder(request.videos, suite.prompts, request.samples) if request.videos else None
    scorers, unscored = build_scorers(dimensions=request.dimensions or None)
    identity = RunIdentity(
        suite=suite.name,
        suite_sha256=suite.sha256,
        models=tuple(c.identity() for c in contestants),
        samples=request.samples,
        seed=request.seed,
    )
    run = open_run(output_folder(request, contestants, suite.name, len(suite.prompts)), identity)
    for note in run.notes:
        say(note)
    return Session(request, suite, contestants, identity, run, scorers, dict(unscored), videos)


def collect(session: Session) -> Collected:
    """Make what is missing: clips, then scores."""
    total = len(session.suite.prompts) * session.request.samples * len(session.contestants)
    names = {contestant.name for contestant in session.contestants}
    done = sum(record.model in names for record in session.run.clips())
    if done:
        say(f"{done} of {total} clips already done")
    unreadable: list[UnreadableClip] = []
    for contestant in session.contestants:
        if contestant.entry is None:
            unreadable += _import(session, contestant)
        else:
            _generate(session, contestant)
    scores = _score(session) + score_clips(list(session.scorers), unreadable)
    return Collected(sorted(scores, key=lambda record: record.sort_key), unreadable)


def _generate(session: Session, contestant: Contestant) -> None:
    run, seed = session.run, session.request.seed
    missing = [(clip_id, prompt) for clip_id, prompt in session.wanted(contestant) if run.clip(clip_id) is None]
    if not missing:
        return
    generator = session.generator(contestant)
    total = len(session.suite.prompts) * session.request.samples
    with stage(f"generate {contestant.name}", total, total - len(missing)) as advance:
        for start in range(0, len(missing), generator.batch):
            group = missing[start : start + generator.batch]
            clips = generator.generate([prompt for _, prompt in group], [clip_id[2] for clip_id, _ in group], seed)
            for (clip_id, _), frames_THWC in zip(group, clips, strict=True):
                run.publish_clip(clip_id, frames_THWC, generator.fps)
                advance(1)


def _import(session: Session, contestant: Contestant) -> list[UnreadableClip]:
    """Copy the folder's clips into the run. Those without pixels come back; if there are no others, UserError."""
    assert session.videos is not None
    unreadable, total = [], 0
    for clip_id, prompt in session.wanted(contestant):
        total += 1
        source = session.videos.find(prompt, clip_id[2])
        kept = session.run.clip(clip_id)
        if kept is not None:
            _check_unchanged(kept, source)
            continue
        if source is None:
            unreadable.append(UnreadableClip(clip_id, prompt, "no file"))
            continue
        clip = open_clip(source, clip_id, prompt)
        if isinstance(clip, UnreadableClip):
            unreadable.append(clip)
            continue
        frames, height_px, width_px, _ = clip.frames_THWC.shape
        session.run.import_clip(clip_id, source, frames=frames, height_px=height_px, width_px=width_px, fps=clip.fps)
    if len(unreadable) == total:
        with_file = [clip for clip in unreadable if clip.reason != "no file"]
        raise UserError(
            found=f"none of the {len(with_file)} clips in {session.videos.folder} can be read: {with_file[0].reason}",
            expected="video files that decode to their last frame",
            run_next="make the clips again, or check the copy",
        )
    return unreadable


def _check_unchanged(kept: ClipRecord, source: Path | None) -> None:
    if source is None or sha256_of(source) == kept.sha256:
        return
    raise UserError(
        found=f"{source} is not the file that this run has scored",
        expected="unchanged clips",
        run_next="choose another --out folder",
    )


def _score(session: Session) -> list[ScoreRecord]:
    run, pending = session.run, []
    by_id = {clip_id: prompt for c in session.contestants for clip_id, prompt in session.wanted(c)}
    records = [record for record in run.clips() if record.clip_id in by_id]
    for record in records:
        prompt = by_id[record.clip_id]
        open_scorers = [
            s for s in session.scorers if applies(s, prompt) and run.score(record, s.metric, s.scorer_id) is None
        ]
        if open_scorers:
            pending.append((record, prompt, open_scorers))
    if pending:
        with stage("score", len(records), len(records) - len(pending)) as advance:
            for record, prompt, open_scorers in pending:
                clip = open_clip(run.clip_path(record), record.clip_id, prompt)
                run.add_scores(record, score_clips(open_scorers, [clip]))
                advance(1)
    made = run.scores((scorer.metric, scorer.scorer_id) for scorer in session.scorers)
    return [score for score in made if score.clip_id in by_id]


def race(session: Session) -> Latency | None:
    """Latency of the models that are run here; None when there is none, or when it was not asked for."""
    models = [contestant for contestant in session.contestants if contestant.entry is not None]
    if not models or not session.request.latency:
        return None
    here = environment()
    machine = {"cpu": here.cpu, "gpus": list(here.gpus), "threads": here.threads, "torch": here.packages.get("torch")}
    if (kept := read_latency(session.run.folder, machine)) is not None:
        return kept
    say(f"measuring the latency of {' and '.join(c.name for c in models)}, one clip at a time")
    single = {contestant.name: session.generator(contestant).one_at_a_time() for contestant in models}
    latency = measure_latency(single, session.suite.prompts[0], session.request.seed)
    write_latency(session.run.folder, latency, machine)
    return latency
