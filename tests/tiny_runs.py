"""Which runs do the tests of `turbo-eval runs` use? Real ones of tiny clips, as if made by many machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbo_eval.clip_files import NewClip, Published
from turbo_eval.manifest import Manifest, RunIdentity, Scope
from turbo_eval.prompt_suite import suite_of
from turbo_eval.records import Prompt, ScoreRecord
from turbo_eval.store import Run, open_run

METRIC = "oracle_colour"
SUITE = suite_of("tiny", [Prompt(f"p-{i}", f"prompt {i}") for i in range(4)])


def key_fields(**changed: Any) -> dict[str, Any]:
    return {"kind": "student", "num_steps": 4, "seed": 0, "batch": 2, "packages": {"torch": "2.0"}, **changed}


def manifest_of(models: Mapping[str, Mapping[str, Any]], *, batch: int = 2, limit: int | None = None) -> Manifest:
    identity = RunIdentity(SUITE.name, SUITE.sha256, batch, 1)
    return Manifest(identity, Scope(tuple(models), 1, limit, (METRIC,)), models, {"host": "here", "pid": 1})


def frames(model: str, index: int, shade: int = 0) -> NDArray[np.uint8]:
    seed = sum(map(ord, model)) * 100 + index * 10 + shade
    return np.random.default_rng(seed).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def add(
    run: Run, indices: Iterable[int], *, model: str = "fast", shade: int = 0, score: float | None = 0.5
) -> list[Published]:
    """Publishes clips of some prompts, and their scores."""
    new = [NewClip((model, f"p-{i}", 0), i, frames(model, i, shade), 8.0) for i in indices]
    published = run.publish(new)
    if score is not None:
        run.add_scores([(p.record, [ScoreRecord(*p.record.clip_id, METRIC, "s/1", score)]) for p in published])
    return published


def hand_over(run: Run, name: str, **session: Any) -> Path:
    """What this process has written becomes the ledger of the process `name`, which is gone."""
    path = run.ledger.own.with_name(f"{name}.jsonl")
    run.ledger.own.rename(path)
    content = {"host": name.partition("-")[0], "pid": 7, "started_at": 1.0, "ended_at": 2.0, "ended_by": "finished"}
    (run.folder / "sessions").mkdir(exist_ok=True)
    (run.folder / "sessions" / f"{name}.json").write_text(json.dumps({**content, **session}))
    return path


def make_run(
    folder: Path,
    name: str = "node1-1-aa",
    indices: Iterable[int] = range(4),
    *,
    model: str = "fast",
    changed: Mapping[str, Any] | None = None,
    batch: int = 2,
    limit: int | None = None,
    **how: Any,
) -> Path:
    """A run in which the process `name` has made the clips of these prompts. Called again, a further process works."""
    manifest = manifest_of({model: key_fields(**(changed or {}))}, batch=batch, limit=limit)
    run = open_run(folder, manifest, SUITE)
    add(run, indices, model=model, **how)
    hand_over(run, name)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def clip_files(folder: Path) -> list[Path]:
    """The clips of a run, in the order of the suite."""
    return sorted((folder / "clips").rglob("*.mp4"))
