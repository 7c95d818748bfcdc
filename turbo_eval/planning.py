"""What will a run cost, before it is begun? Clips to make, what is there already, disk, and time.

The time comes from a short calibration: one micro-batch of each model (two, if the first took less than ten seconds:
the first call is slower), coded and scored, in memory and a temporary folder. Nothing is written to the run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from turbo_eval.contestants import Contestant, Request
from turbo_eval.disk import MARGIN, readable
from turbo_eval.manifest import MANIFEST, changed_keys, check_same
from turbo_eval.pipeline import Draft, Job, draft
from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, applies, open_clip, score_clips
from turbo_eval.store import Run
from turbo_eval.units import Unit
from turbo_train.video_io import encode_mp4

BRIEF_S = 10.0
IMPORTED = 2  # finished clips that are decoded and scored to learn the time of one


@dataclass(frozen=True)
class ModelForecast:
    """What one model still needs. to_score: clips that are there without all of their scores. None: not calibrated."""

    model: str
    clips: int
    there: int
    to_make: int
    to_score: int
    micro_batches: int
    clip_s: float | None
    clip_bytes: float | None

    @property
    def time_s(self) -> float | None:
        """Of one process."""
        return None if self.clip_s is None else self.clip_s * self.to_make

    @property
    def disk_bytes(self) -> float | None:
        """Of the clips to make."""
        return None if self.clip_bytes is None else self.clip_bytes * self.to_make


@dataclass(frozen=True)
class Forecast:
    """What the whole run needs. notes: what a person should know before the start."""

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
    run, notes = _run_there(d)
    counts = {c.name: _count(d, run, c.name) for c in d.contestants}
    models = []
    for contestant in d.contestants:
        known = counts[contestant.name]
        unit = next(iter(d.plan.units({contestant.name: d.manifest.keys[contestant.name]})))
        if calibrate and known.to_make:
            clip_s, clip_bytes = _calibrate(d, contestant, unit)
            known = replace(known, clip_s=clip_s, clip_bytes=clip_bytes)
        models.append(known)
    there = next(p for p in (d.folder.resolve(), *d.folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free
    needs = [m.disk_bytes if m.to_make else 0.0 for m in models]
    fits = None if None in needs else sum(n for n in needs if n is not None) * MARGIN < free
    return Forecast(d.folder, d.suite.name, len(d.plan.prompts()), tuple(models), free, fits, tuple(notes))


def _run_there(d: Draft) -> tuple[Run | None, list[str]]:
    """The run as it is, if it was begun, opened without changing it."""
    if not (d.folder / MANIFEST).is_file():
        return None, ["the run is new"]
    notes = changed_keys(check_same(d.folder, d.manifest), d.manifest)
    run = Run(d.folder, repair=False)
    run.keys = d.manifest.keys
    return run, notes


def _count(d: Draft, run: Run | None, model: str) -> ModelForecast:
    ids = list(d.plan.clip_ids(model))
    to_score = 0
    missing = {clip_id for clip_id, _ in ids}
    if run is not None:
        job = Job(d.request, d.contestants, d.plan, run, d.scorers, d.unscored, d.environment, d.device, d.videos)
        for clip_id, prompt in ids:
            if (clip := run.clip(clip_id)) is not None:
                missing.discard(clip_id)
                to_score += bool(job.missing_scorers(clip, prompt))
    units = d.plan.units({model: d.manifest.keys[model]})
    prompts = d.suite.prompts
    open_units = sum(any((model, prompts[i].prompt_id, u.sample_index) in missing for i in u.wanted) for u in units)
    return ModelForecast(model, len(ids), len(ids) - len(missing), len(missing), to_score, open_units, None, None)


def _calibrate(d: Draft, contestant: Contestant, unit: Unit) -> tuple[float, float]:
    """Seconds and bytes of one clip, made, coded and scored."""
    from turbo_eval.generators.latent import load_generator

    if contestant.entry is None:
        return _calibrate_folder(d)
    entry = contestant.entry
    assert entry.guidance_scale is not None
    generator = load_generator(entry.kind, entry.folder, entry.num_steps, entry.guidance_scale, d.plan.batch, d.device)
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
    _score(d, name, [path for path, _ in found[:IMPORTED]], [prompt for _, prompt in found[:IMPORTED]])
    seconds = (time.perf_counter() - start) / len(found[:IMPORTED])
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
            "time": _duration(m.time_s if m.to_make else 0.0),
            "disk": "-" if m.disk_bytes is None and m.to_make else readable(m.disk_bytes or 0),
        }
        for m in found.models
    ]
    lines = [f"{found.prompts} prompts of {found.suite}; run: {found.folder}", *found.notes]
    lines.append(f"free on its disk: {readable(found.free_bytes)}" + ("; NOT ENOUGH" if found.fits is False else ""))
    if any(m.clip_s is not None for m in found.models):
        lines.append("time: of one process, calibrated on a micro-batch; n processes share it (--shard, or one folder)")
    return table, lines


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
