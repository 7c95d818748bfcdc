"""What can be named on the command line, and what is known about a model? Plain rows for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from turbo_eval.contestants import Contestant
from turbo_eval.model_table import ModelEntry, Recipe, plugins
from turbo_eval.models import (
    find_model,
    missing,
    model_entries,
    named,
    not_as_published,
    placed,
    read_record,
    recipe_of,
    setting_of,
    weights_of,
)
from turbo_eval.scorers.vbench.embedded import NO_ENCODER
from turbo_eval.scorers.vbench.networks import Networks
from turbo_eval.scorers.vbench.published import published
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_eval.screen import say
from turbo_eval.suites import describe_suites
from turbo_train.errors import UserError, near
from turbo_train.nets.source import RECORD
from turbo_train.rewards.table import REWARDS, RewardEntry
from turbo_train.weights.places import locate
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import files_for

KINDS = ("models", "suites", "dimensions", "rewards")
RESIZED = {"longest": "letterbox", "shortest": "crop", "squash": "squash"}
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
                "vbench": Networks().why_not(d.name) or "scored",
                "question": d.question,
            }
            for d in DIMENSIONS
        ]
    if what == "rewards":
        return [_reward(entry) for entry in REWARDS]
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
        "ready": not missing(entry, recipe_of(entry)),
        "published_total": row.scores["total_score"] if row else None,
        "description": entry.description,
    }


def _reward(entry: RewardEntry) -> dict[str, Any]:
    gaps = entry.missing()
    return {
        "name": entry.name,
        "kind": entry.kind,
        "role": entry.role,
        "input": f"{entry.size_px}x{entry.size_px} {RESIZED[entry.resize]}",
        "frames": " or ".join(map(str, (entry.frames, *entry.other_frames))) if entry.frames else "every",
        "tokens": entry.tokens,
        "parameters": entry.parameters,
        "bytes": _bytes(entry, gaps),
        "licence": entry.licence,
        "lineage": entry.lineage,
        "source": entry.source,
        "weights": f"missing: {', '.join(gaps)}" if gaps else "present",
        "ready": not gaps,
    }


def _bytes(entry: RewardEntry, gaps: list[str]) -> int:
    """Of its files: as they lie here, else as they are published."""
    if not gaps:
        return sum(path.stat().st_size for path in entry.files().values())
    return sum(file.bytes for file in files_for(entry.name)) if entry.place is None else 0


def in_brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """A reward's row as wide as a screen: the lineage and the source are left out."""
    return {
        "name": row["name"],
        "kind": f"{row['kind']} {row['role']}",
        **{name: row[name] for name in ("input", "frames", "tokens")},
        "parameters": f"{row['parameters'] / 1e6:.1f} M",
        "size": readable(row["bytes"]),
        **{name: row[name] for name in ("licence", "weights")},
    }


def card(model: str) -> dict[str, Any]:
    """Everything known about one model, whether its files are there or not. UserError for an unknown name."""
    name, at, wanted = model.partition("@")
    entry = named(name) or find_model(model)
    used = entry.recipe or recipe_of(entry, wanted if at else None)
    gaps = missing(entry, used)
    entry = replace(entry, setting=setting_of(entry, used)) if gaps else find_model(model)
    row = published().get(used.published or entry.published or "")
    return {
        **{key: value for key, value in _row(entry).items() if not key.startswith(("ready", "published"))},
        "family": entry.family,
        "teacher": entry.base,
        "rewards": None if entry.rewards is None else list(entry.rewards),
        "run_as": _setting(entry),
        "files": _files(entry, used),
        "guidance_projection": _projection(entry, used),
        **({"other_recipes": [f"{name}@{r.name}" for r in entry.recipes if r.name and r != used]} if used.name else {}),
        "missing": gaps,
        **(_there(entry) if entry.source is not None else {}),
        "published_vbench": {"source": row.source, **row.scores} if row else None,
    }


def _setting(entry: ModelEntry) -> dict[str, Any]:
    """What is set, with the meaning of the guidance scale."""
    fields = {name: value for name, value in asdict(entry.setting).items() if value is not None}
    ddim = fields["sampler"] == "ddim"
    for other in ("origin_steps", "motion_gs", "motion_percentage") if ddim else ("eta",):
        fields.pop(other, None)
    if fields.get("motion_gs") is None:
        fields.pop("motion_percentage", None)
    if "size" in fields:
        fields["size"] = "x".join(map(str, fields["size"]))
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
        "weights_sha256": Contestant(entry.label, entry).identity.weights_sha256,
        "not_as_published": not_as_published(entry),
        "record": _record(entry.source.path),
    }


def _record(path: Path) -> object:
    """How a folder's weights were made: its own record, or the part about it of the record beside it."""
    beside = read_record(path.parent / RECORD) if path.is_dir() else {}
    return read_record(path / RECORD) or beside.get(path.name) or beside or None
