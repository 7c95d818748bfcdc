"""What can be named on the command line, and what is known about a model? Plain rows for people and programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turbo_eval.models import MODELS, RECORD, ModelEntry, find_model, near, weights_sha256
from turbo_eval.scorers.registry import NO_ENCODER
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_eval.suites import describe_suites
from turbo_train.errors import UserError

KINDS = ("models", "suites", "dimensions")


def listing(what: str) -> list[dict[str, Any]]:
    """The rows of `turbo-eval list`. UserError for an unknown kind."""
    if what == "models":
        return [_row(entry) for entry in MODELS]
    if what == "suites":
        return [{"name": name, "description": text} for name, text in describe_suites().items()]
    if what == "dimensions":
        return [
            {
                "name": d.name,
                "group": str(d.group),
                "embedded": NO_ENCODER.get(d.name, "scored"),
                "question": d.question,
            }
            for d in DIMENSIONS
        ]
    raise UserError(
        found=f"nothing to list under {what!r}{near(what, KINDS)}",
        expected=f"one of {', '.join(KINDS)}",
        run_next="turbo-eval list models",
    )


def _row(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "steps": entry.num_steps,
        "tier": entry.tier,
        "licence": entry.licence,
        "ready": "yes" if entry.available else "no: turbo-train world build",
        "description": entry.description,
    }


def card(model: str) -> dict[str, Any]:
    """Everything known about one model, its record of how it was made included."""
    entry = find_model(model)
    files = [path for path in entry.folder.rglob("*") if path.is_file()]
    return {
        **{key: value for key, value in _row(entry).items() if key != "ready"},
        "guidance_scale": entry.guidance_scale,
        "folder": str(entry.folder),
        "bytes": sum(path.stat().st_size for path in files),
        "weights_sha256": weights_sha256(entry),
        "record": _record(entry.folder),
    }


def _record(folder: Path) -> object:
    own, beside = folder / RECORD, folder.parent / RECORD
    if own.is_file():
        return json.loads(own.read_text(encoding="utf-8"))
    if not beside.is_file():
        return None
    everything = json.loads(beside.read_text(encoding="utf-8"))
    return everything.get(folder.name, everything) if isinstance(everything, dict) else everything
