"""How far is a run, who works on it, and when will it be done? Looks, and writes nothing.

Throughput is counted from the ledger's own times: clips whose row was written in the last ten minutes, or since the
oldest process that is at work began, if that is shorter ago. Nobody at work: no throughput and no time left.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_eval.leases import SessionInfo
from turbo_eval.printing import duration
from turbo_eval.records import ClipId
from turbo_eval.runs.reading import Reading
from turbo_eval.store import Failure
from turbo_eval.units import Unit
from turbo_train.weights.sizes import readable

WINDOW_S = 600.0
SHORTEST_WINDOW_S = 1.0  # of a process that has just begun
COMPLETE, RUNNING, STOPPED, FAILED = "complete", "running", "stopped", "failed parts"


@dataclass(frozen=True)
class ModelStatus:
    """Clips of one model that the newest command wants. metrics: name -> (scores that are there, wanted)."""

    model: str
    wanted: int
    done: int
    failed: int
    metrics: Mapping[str, tuple[int, int]]

    @property
    def complete(self) -> bool:
        """Every clip and every score is there."""
        return self.done == self.wanted and all(done == wanted for done, wanted in self.metrics.values())

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        scores = [{"metric": name, "done": done, "wanted": wanted} for name, (done, wanted) in self.metrics.items()]
        percent = round(100 * self.done / self.wanted, 2) if self.wanted else 100.0
        return {
            "model": self.model,
            "wanted": self.wanted,
            "done": self.done,
            "failed": self.failed,
            "percent": percent,
            "scores": scores,
        }


@dataclass(frozen=True)
class WorkerStatus:
    """A process of the run. state: alive, ended (it said so), or lost. unit: the micro-batch it holds."""

    writer: str
    host: str
    pid: int | None
    state: str
    ended_by: str | None
    heartbeat_age_s: float | None
    unit: str | None


@dataclass(frozen=True)
class FailedClip:
    """An open failure."""

    model: str
    prompt_id: str
    sample_index: int
    unit: str
    stage: str
    attempts: int
    error: str
    traceback: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.model} {self.prompt_id}-{self.sample_index} ({self.unit}), {self.stage}: {self.error}"


@dataclass(frozen=True)
class Status:
    """A run as it is now. lapsed_units: their lease is held by a process that is gone. broken_lines: of the ledger."""

    run: str
    suite: str
    state: str
    models: tuple[ModelStatus, ...]
    workers: tuple[WorkerStatus, ...]
    window_s: float | None
    clips_per_minute: float | None
    eta_s: float | None
    failures: tuple[FailedClip, ...]
    reliefs: tuple[tuple[str, str], ...]
    lapsed_units: tuple[str, ...]
    broken_lines: int
    torn_lines: int
    clips_bytes: int
    total_bytes: int

    def to_json(self, *, traceback: bool = False) -> dict[str, Any]:
        """Plain data; failures without their tracebacks unless wanted."""
        plain = {**asdict(self), "models": [model.to_json() for model in self.models]}
        plain["reliefs"] = [{"unit": unit, "what": what} for unit, what in self.reliefs]
        if not traceback:
            plain["failures"] = [{k: v for k, v in row.items() if k != "traceback"} for row in plain["failures"]]
        return plain

    def model_rows(self) -> list[dict[str, Any]]:
        """For people."""
        plain = [model.to_json() for model in self.models]
        return [
            {
                "model": m["model"],
                "clips": f"{m['done']}/{m['wanted']}",
                "done": f"{m['percent']:.1f} %",
                "failed": m["failed"],
            }
            for m in plain
        ]

    def score_rows(self) -> list[dict[str, Any]]:
        """For people: a row per metric, a column per model."""
        names = {name: None for model in self.models for name in model.metrics}
        return [
            {"metric": name, **{m.model: "{}/{}".format(*m.metrics.get(name, (0, 0))) for m in self.models}}
            for name in names
        ]

    def worker_rows(self) -> list[dict[str, Any]]:
        """For people: the processes at work, and those that were lost."""
        return [
            {
                "worker": worker.writer,
                "host": worker.host,
                "pid": "" if worker.pid is None else worker.pid,
                "state": worker.state,
                "heartbeat": "" if worker.heartbeat_age_s is None else f"{worker.heartbeat_age_s:.0f} s ago",
                "unit": worker.unit or "",
            }
            for worker in self.workers
            if worker.state != "ended"
        ]

    def lines(self) -> list[str]:
        """For people: what is no table."""
        states = Counter(worker.state for worker in self.workers)
        lines = ["workers: " + (", ".join(f"{count} {state}" for state, count in states.items()) or "none yet")]
        if self.clips_per_minute is not None:
            left = "" if self.eta_s is None else f", about {duration(self.eta_s)} left"
            lines.append(f"{self.clips_per_minute:.1f} clips per minute over {duration(self.window_s or 0)}{left}")
        lines.append(f"on disk: {readable(self.total_bytes)}, of which clips {readable(self.clips_bytes)}")
        if self.lapsed_units:
            lines.append(f"held by processes that are gone, free to take: {', '.join(self.lapsed_units)}")
        lines += [f"out of memory at {unit}: {what}" for unit, what in self.reliefs]
        if self.broken_lines or self.torn_lines:
            torn = f"{self.torn_lines} torn" if self.torn_lines else ""
            broken = f"{self.broken_lines} broken" if self.broken_lines else ""
            lines.append(
                f"ledger: {' and '.join(filter(None, (broken, torn)))} lines; turbo-eval runs verify {self.run}"
            )
        return lines


def status_of(folder: Path) -> Status:
    """The status of a run's folder. UserError when it is none."""
    run = Reading(folder)
    workers = run.workers()
    holders = run.sessions.holders()
    models = tuple(_model(run, name) for name in run.models)
    window_s, rate = _throughput(run, workers)
    left = sum(model.wanted - model.done for model in models)
    failures = tuple(_failed(run, failure) for clip_id, _ in run.wanted() if (failure := run.failure(clip_id)))
    return Status(
        run=str(folder),
        suite=run.suite.name,
        state=_state(models, workers, failures),
        models=models,
        workers=tuple(_worker(info, {holder: unit for unit, (_, holder) in holders.items()}) for info in workers),
        window_s=window_s,
        clips_per_minute=rate,
        eta_s=left / rate * 60 if rate else None,
        failures=failures,
        reliefs=tuple(dict.fromkeys(run.reliefs)),
        lapsed_units=tuple(sorted(u for u, (_, holder) in holders.items() if not run.sessions.alive(holder))),
        broken_lines=len(run.scan.broken),
        torn_lines=len(run.scan.faults) - len(run.scan.broken),
        clips_bytes=size_bytes(folder / "clips"),
        total_bytes=size_bytes(folder),
    )


def _model(run: Reading, name: str) -> ModelStatus:
    wanted = done = failed = 0
    scored, asked = Counter[str](), Counter[str]()
    for clip_id, prompt in run.wanted_of(name):
        metrics = run.metrics_of(clip_id, prompt)
        clip = run.clip(clip_id)
        wanted += 1
        done += clip is not None
        failed += run.failure(clip_id) is not None
        asked.update(metrics)
        if clip is not None:
            scored.update(set(metrics) - set(run.missing_metrics(clip, prompt)))
    return ModelStatus(name, wanted, done, failed, {m: (scored[m], asked[m]) for m in run.scorers if asked[m]})


def _state(models: Sequence[ModelStatus], workers: Sequence[SessionInfo], failures: Sequence[FailedClip]) -> str:
    if all(model.complete for model in models):
        return COMPLETE
    if any(worker.alive for worker in workers):
        return RUNNING
    return FAILED if failures else STOPPED


def _worker(info: SessionInfo, units: Mapping[str, str]) -> WorkerStatus:
    pid, by = info.content.get("pid"), info.content.get("ended_by")
    return WorkerStatus(
        writer=info.writer,
        host=str(info.content.get("host", "")),
        pid=pid if isinstance(pid, int) else None,
        state="alive" if info.alive else "ended" if info.ended else "lost",
        ended_by=None if by is None else str(by),
        heartbeat_age_s=round(max(info.age_s, 0.0), 3) if info.age_s != float("inf") else None,
        unit=units.get(info.writer),
    )


def _throughput(run: Reading, workers: Sequence[SessionInfo]) -> tuple[float | None, float | None]:
    """(window in s, clips per minute); None when nobody works."""
    begun = [at for w in workers if w.alive and isinstance(at := w.content.get("started_at"), int | float)]
    if not begun:
        return None, None
    now = time.time()
    since = max(now - WINDOW_S, min(begun))
    window_s = max(now - since, SHORTEST_WINDOW_S)
    wanted = {clip_id for clip_id, _ in run.wanted()}
    made = {c.clip_id for row, c in run.scan.clips() if row.at >= since and run.is_present(c) and c.clip_id in wanted}
    return round(window_s, 3), 60 * len(made) / window_s


def _failed(run: Reading, failure: Failure) -> FailedClip:
    model, prompt_id, sample_index = failure.clip_id
    return FailedClip(
        model,
        prompt_id,
        sample_index,
        _unit(run, failure.clip_id, failure.key),
        failure.stage,
        failure.attempts,
        failure.error,
        failure.traceback,
    )


def _unit(run: Reading, clip_id: ClipId, key: str) -> str:
    model, prompt_id, sample_index = clip_id
    first = run.index[prompt_id] // run.plan.batch * run.plan.batch
    return Unit(model, key, sample_index, (first,), ()).name


def size_bytes(folder: Path) -> int:
    """What the files below a folder take. Symbolic links are not followed; a file that vanishes meanwhile is none."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total
