"""What will a run cost, before it is begun? Clips to make, what is there already, disk, and time.

The time comes from a short calibration: one micro-batch of each model (two, if the first took less than ten seconds:
the first call is slower), coded and scored, in memory and a temporary folder; where clips lack scores, two of them are
scored. Nothing is written to the run. With a shard only its micro-batches are counted. Of clips that are made only
until five of a prompt are static (static_clips.py) those are counted that are known to be needed; a note says how many
more there may be.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from turbo_eval.contestants import Contestant, Request
from turbo_eval.disk import MARGIN, room_of
from turbo_eval.manifest import MANIFEST, changed_keys, check_same
from turbo_eval.pipeline import Draft, Job, draft, needed
from turbo_eval.printing import duration
from turbo_eval.records import ClipId, ClipRecord, Prompt
from turbo_eval.scorers.base import Clip, applies, open_clip, score_clips
from turbo_eval.static_clips import Needed
from turbo_eval.store import Run
from turbo_eval.units import Unit
from turbo_train.video_io import encode_mp4
from turbo_train.weights.sizes import readable

BRIEF_S = 10.0
SCORED = 2  # finished clips that are decoded and scored to learn the time of one
UNTIL_STATIC = "not counted: more clips for temporal flickering, made until five of a prompt are static; at most"
LATENCY = "measuring the latency takes up to a minute more (--no-latency leaves it out)"


@dataclass(frozen=True)
class ModelForecast:
    """What one model still needs. to_score: clips that are there without all of their scores.

    clip_s: to make, code and score one; score_s: to score one that is there. None: not calibrated.
    """

    model: str
    clips: int
    there: int
    to_make: int
    to_score: int
    micro_batches: int
    clip_s: float | None = None
    clip_bytes: float | None = None
    score_s: float | None = None

    @property
    def time_s(self) -> float | None:
        """Of one process."""
        making, scoring = _times(self.to_make, self.clip_s), _times(self.to_score, self.score_s)
        return None if making is None or scoring is None else making + scoring

    @property
    def disk_bytes(self) -> float | None:
        """Of the clips to make."""
        return _times(self.to_make, self.clip_bytes)


def _times(count: int, each: float | None) -> float | None:
    """Nothing costs nothing, calibrated or not."""
    if not count:
        return 0.0
    return None if each is None else count * each


@dataclass(frozen=True)
class Forecast:
    """What the whole run, or one shard of it, needs. fits: as the run itself will judge before its first clip.

    notes: what a person should know before the start.
    """

    folder: Path
    suite: str
    prompts: int
    models: tuple[ModelForecast, ...]
    free_bytes: int
    fits: bool | None
    notes: tuple[str, ...]

    @property
    def time_s(self) -> float | None:
        """Of one process, without the measuring of latency."""
        times = [model.time_s for model in self.models]
        return None if None in times else sum(t for t in times if t is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        models = [{**asdict(m), "time_s": m.time_s, "disk_bytes": m.disk_bytes} for m in self.models]
        return {**asdict(self), "folder": str(self.folder), "models": models, "time_s": self.time_s}


def forecast(request: Request, *, calibrate: bool = True) -> Forecast:
    """Looks at the run and, if `calibrate`, times what it still needs. UserError as the run itself would give."""
    d = draft(request)
    job, notes = _job_there(d)
    if request.shard is not None:
        notes.append(f"shard {request.shard}: only its micro-batches are counted; the disk must hold all of them")
    if request.latency and any(contestant.entry for contestant in d.contestants):
        notes.append(LATENCY)
    notes += [d.strays] if d.strays else []
    if further := _further(d, job):
        notes.append(f"{UNTIL_STATIC} {further}")
    units = list(d.plan.units(d.manifest.keys))
    own = [unit for number, unit in enumerate(units) if request.shard is None or request.shard.takes(number)]
    models = []
    needed_bytes: float | None = 0.0
    for contestant in d.contestants:
        of_model = [unit for unit in units if unit.model == contestant.name]
        known, unscored = _count(d, job, contestant.name, [unit for unit in own if unit.model == contestant.name])
        if calibrate and known.to_make:
            clip_s, clip_bytes = _calibrate(d, contestant, of_model[0])
            known = replace(known, clip_s=clip_s, clip_bytes=clip_bytes)
        if calibrate and job is not None and unscored:
            known = replace(known, score_s=_calibrate_scores(job, unscored))
        models.append(known)
        more = _times(_count(d, job, contestant.name, of_model)[0].to_make, known.clip_bytes)
        needed_bytes = None if needed_bytes is None or more is None else needed_bytes + more
    room = room_of(d.folder)
    fits = None if needed_bytes is None else not needed_bytes or room.fits(needed_bytes, MARGIN)
    return Forecast(d.folder, d.suite.name, len(d.plan.prompts()), tuple(models), room.free_bytes, fits, tuple(notes))


def _job_there(d: Draft) -> tuple[Job | None, list[str]]:
    """The job on the run as it is, if it was begun, opened without changing it; and what to say of it."""
    if not (d.folder / MANIFEST).is_file():
        return None, ["the run is new"]
    notes = changed_keys(check_same(d.folder, d.manifest), d.manifest)
    run = Run(d.folder, repair=False)
    run.keys = d.manifest.keys
    job = Job(d.request, d.contestants, d.plan, run, d.scorers, d.unscored, d.environment, d.device, d.videos)
    return job, notes


def _needed(d: Draft, job: Job | None, model: str, index: int) -> Needed:
    return needed(d.request, d.plan, d.scorers, job.run if job is not None else None, model, index)


def _further(d: Draft, job: Job | None) -> int:
    """The most clips that may turn out to be needed beyond those that are counted, of all models."""
    asked = [(_needed(d, job, c.name, i), i) for c in d.contestants for i in range(len(d.suite.prompts))]
    return sum(d.plan.samples_of(index) - one.samples for one, index in asked if not one.is_final)


def _count(
    d: Draft, job: Job | None, model: str, units: Sequence[Unit]
) -> tuple[ModelForecast, list[tuple[ClipRecord, Prompt]]]:
    """What the units of a model need, and their clips that lack scores."""
    clips = to_make = open_units = 0
    unscored = []
    for unit in units:
        missing = wanted = 0
        for index in unit.wanted:
            if unit.sample_index >= _needed(d, job, model, index).samples:
                continue
            wanted += 1
            prompt = d.suite.prompts[index]
            clip_id: ClipId = (model, prompt.prompt_id, unit.sample_index)
            clip = job.run.clip(clip_id) if job is not None else None
            missing += clip is None
            if job is not None and clip is not None and job.missing_scorers(clip, prompt):
                unscored.append((clip, prompt))
        clips, to_make, open_units = clips + wanted, to_make + missing, open_units + bool(missing)
    return ModelForecast(model, clips, clips - to_make, to_make, len(unscored), open_units), unscored


def _calibrate_scores(job: Job, unscored: Iterable[tuple[ClipRecord, Prompt]]) -> float | None:
    """Seconds to score one clip by the scorers that have not seen it; None where no file is as it was written."""
    whole = (pair for pair in unscored if not job.run.is_damaged(pair[0]))
    seconds = []
    for clip, prompt in islice(whole, SCORED):
        start = time.perf_counter()
        score_clips(job.missing_scorers(clip, prompt), [open_clip(job.run.clip_path(clip), clip.clip_id, prompt)])
        seconds.append(time.perf_counter() - start)
    return sum(seconds) / len(seconds) if seconds else None


def _calibrate(d: Draft, contestant: Contestant, unit: Unit) -> tuple[float, float]:
    """Seconds and bytes of one clip, made, coded and scored."""
    from turbo_eval.generators.latent import load_generator

    if contestant.entry is None:
        return _calibrate_folder(d)
    entry = contestant.entry
    assert entry.source is not None
    generator = load_generator(entry.source, entry.setting, d.plan.batch, d.device)
    prompts = [d.suite.prompts[index] for index in unit.members]
    samples = [unit.sample_index] * len(prompts)

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        clips = generator.generate(prompts, samples, d.request.seed)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{index}.mp4" for index in range(len(clips))]
            for path, frames in zip(paths, clips, strict=True):
                encode_mp4(path, frames, generator.fps, lossless=d.manifest.identity.lossless)
            _score(d, contestant.name, paths, prompts)
            size = sum(path.stat().st_size for path in paths)
        return (time.perf_counter() - start) / len(clips), size / len(clips)

    first = once()
    return once() if first[0] * len(prompts) < BRIEF_S else first


def _calibrate_folder(d: Draft) -> tuple[float, float]:
    assert d.videos is not None
    name = d.contestants[0].name
    found = [(path, prompt) for (_, _, s), prompt in d.plan.clip_ids(name) if (path := d.videos.find(prompt, s))]
    start = time.perf_counter()
    _score(d, name, [path for path, _ in found[:SCORED]], [prompt for _, prompt in found[:SCORED]])
    seconds = (time.perf_counter() - start) / len(found[:SCORED])
    return seconds, sum(path.stat().st_size for path, _ in found) / len(found)


def _score(d: Draft, model: str, paths: Sequence[Path], prompts: Sequence[Prompt]) -> None:
    for path, prompt in zip(paths, prompts, strict=True):
        clip = open_clip(path, (model, prompt.prompt_id, 0), prompt)
        if isinstance(clip, Clip):
            score_clips([s for s in d.scorers if applies(s, prompt)], [clip])


def rows(found: Forecast) -> tuple[list[dict[str, str]], list[str]]:
    """The forecast for people: one row a model, and the lines below it."""
    table = [
        {
            "model": m.model,
            "clips": f"{m.clips}",
            "there": f"{m.there}",
            "to make": f"{m.to_make}",
            "to score": f"{m.to_score}",
            "micro-batches": f"{m.micro_batches}",
            "s per clip": "-" if m.clip_s is None else f"{m.clip_s:.3g}",
            "s per score": "-" if m.score_s is None else f"{m.score_s:.3g}",
            "time": "-" if m.time_s is None else duration(m.time_s),
            "disk": "-" if m.disk_bytes is None else readable(m.disk_bytes),
        }
        for m in found.models
    ]
    lines = [f"{found.prompts} prompts of {found.suite}; run: {found.folder}", *found.notes]
    lines.append(f"free on its disk: {readable(found.free_bytes)}" + ("; NOT ENOUGH" if found.fits is False else ""))
    if any(m.clip_s is not None or m.score_s is not None for m in found.models):
        lines.append("time: of one process, calibrated on a few clips; n processes share it (--shard, or one folder)")
    return table, lines
