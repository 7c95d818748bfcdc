"""What can be named on the command line, and what is known about a model? Plain rows for people and programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from turbo_eval.model_table import ModelEntry, Recipe, plugins
from turbo_eval.models import find_model, missing, model_entries, named, near, placed, recipe_of, weights_of
from turbo_eval.scorers.registry import NO_ENCODER
from turbo_eval.scorers.vbench.published import published
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_eval.screen import say
from turbo_eval.suites import describe_suites
from turbo_train.errors import UserError
from turbo_train.nets.source import RECORD
from turbo_train.weights.places import locate

KINDS = ("models", "suites", "dimensions")
IMAGEN = "eps_u + w (eps_c - eps_u), 1 is none"
LCM = "eps_c + w (eps_c - eps_u), 0 is none; an input of the network"


def listing(what: str) -> list[dict[str, Any]]:
    """The rows of `turbo-eval list`. UserError for an unknown kind."""
    if what == "models":
        for complaint in plugins()[1]:
            say(complaint)
        return [_row(entry) for entry in model_entries()]
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
    row = published().get(entry.published or "")
    return {
        "name": entry.name,
        "kind": entry.kind,
        "steps": entry.setting.num_steps,
        "tier": entry.tier,
        "licence": entry.licence,
        "ready": "no" if missing(entry, recipe_of(entry)) else "yes",
        "published VBench total": row.scores["total_score"] if row else None,
        "description": entry.description,
    }


def card(model: str) -> dict[str, Any]:
    """Everything known about one model, whether its files are there or not. UserError for an unknown name."""
    name, _, wanted = model.partition("@")
    entry = named(name)
    if entry is None:
        entry = find_model(model)
    used = recipe_of(entry, wanted)
    gaps = missing(entry, used)
    if not gaps and entry.source is None:
        entry = find_model(f"{name}@{used.name}" if used.name else name)
    row = published().get(used.published or entry.published or "")
    return {
        **{key: value for key, value in _row(entry).items() if not key.startswith(("ready", "published"))},
        "family": entry.family,
        "teacher": entry.base,
        "run as": _setting(entry),
        "files": _files(entry, used),
        "guidance projection": _projection(entry, used),
        **({"other recipes": [f"{name}@{r.name}" for r in entry.recipes if r.name and r != used]} if used.name else {}),
        "missing": gaps,
        **(_there(entry) if entry.source is not None else {}),
        "published VBench scores": {"source": row.source, **row.scores} if row else None,
    }


def _setting(entry: ModelEntry) -> dict[str, Any]:
    """What is set, with the meaning of the guidance scale."""
    fields = {name: value for name, value in asdict(entry.setting).items() if value is not None}
    ddim = fields["sampler"] == "ddim"
    for other in ("origin_steps", "motion_gs", "motion_percentage") if ddim else ("eta",):
        fields.pop(other, None)
    if fields.get("motion_gs") is None:
        fields.pop("motion_percentage", None)
    return {**fields, "guidance_convention": IMAGEN if ddim else LCM}


def _files(entry: ModelEntry, used: Recipe) -> dict[str, str]:
    """Where each file of the recipe lies."""
    files = {file.name: str(locate(file) or "missing") for file in weights_of(entry, used)}
    if used.place is not None:
        files[entry.kind] = str(placed(used.place))
    return {**({"recipe": f"{entry.name}@{used.name}"} if used.name else {}), **files}


def _projection(entry: ModelEntry, used: Recipe) -> str | None:
    """Where a student's guidance projection comes from."""
    if entry.kind == "teacher":
        return None
    from turbo_train.nets.projection import describe

    return describe(used.projection, used.layout)


def _there(entry: ModelEntry) -> dict[str, Any]:
    assert entry.source is not None
    return {
        "bytes": sum(path.stat().st_size for _, path in entry.source.files()),
        "weights_sha256": entry.source.sha256(),
        "record": _record(entry.source.path),
    }


def _record(path: Path) -> object:
    own, beside = path / RECORD, path.parent / RECORD
    if own.is_file():
        return json.loads(own.read_text(encoding="utf-8"))
    if not path.is_dir() or not beside.is_file():
        return None
    everything = json.loads(beside.read_text(encoding="utf-8"))
    return everything.get(path.name, everything) if isinstance(everything, dict) else everything
