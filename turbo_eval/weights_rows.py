"""What is said about published weights: which there are, which are here, and what a pull does?

Plain rows for people and documents for programs. The document of `weights list --missing --json` is what one needs to
carry files to a machine without a network: from which address, and to where below $TURBO_WEIGHTS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from turbo_eval.models import named
from turbo_train.errors import UserError
from turbo_train.weights.check import expected_sha256, knowledge_of
from turbo_train.weights.missing import files_wanted
from turbo_train.weights.places import ROOT, destination, hub_cache, locate, path_below_root, places, root
from turbo_train.weights.pull import Pulled
from turbo_train.weights.recorded import record_files
from turbo_train.weights.table import (
    WeightFile,
    alternatives_of,
    files_for,
    find_file,
    size_of,
    users,
    weight_files,
)
from turbo_train.weights.whole import locate_whole, why_cut_off, why_damaged


def listed(names: Sequence[str], *, missing: bool) -> list[WeightFile]:
    """The rows of `weights list`, those of every alternative; with `missing` only what has to be fetched.

    UserError: an unknown name, or one that needs no published file.
    """
    if missing:
        files = [file for name in names for file in _needed(name, files_wanted)] if names else weight_files()
        return [file for file in dict.fromkeys(files) if locate_whole(file) is None]
    return list(dict.fromkeys([file for name in names for file in _needed(name, _of_all)] if names else weight_files()))


def _of_all(user: str) -> tuple[WeightFile, ...]:
    return tuple(file for choice in alternatives_of(user) or (None,) for file in files_for(user, choice))


def _needed(user: str, files: Callable[[str], tuple[WeightFile, ...]]) -> tuple[WeightFile, ...]:
    model = None if user in users() else named(user)
    if model is not None:
        raise UserError(
            found=f"{user} needs no published file: {model.obtain[0]}",
            expected="a model, dimension or reward that does",
            run_next=f"turbo-eval show {user}",
        )
    return files(user)


def chosen(names: Sequence[str], of_users: Sequence[str]) -> list[WeightFile]:
    """Rows by their names and by who needs them, of alternatives the preferred one.

    UserError: an unknown name, or a user that needs no published file.
    """
    needed = (file for user in of_users for file in _needed(user, files_for))
    return list(dict.fromkeys([*map(find_file, names), *needed]))


def row(file: WeightFile) -> dict[str, Any]:
    """For people."""
    users = ", ".join(file.needed_by)
    return {
        "name": file.name,
        "size": file.size,
        "licence": file.terms,
        "needed by": f"{users} ({file.alternative})" if file.alternative else users,
        "here": _here(file),
        "sha256": knowledge_of(file),
    }


def _here(file: WeightFile) -> str:
    path = locate(file)
    why = path and why_damaged(file, path)
    return f"damaged: {why}" if why else "yes" if path else "missing"


def document(file: WeightFile) -> dict[str, Any]:
    """For programs. copy_to: below $TURBO_WEIGHTS. member: what to take out of the archive at the address."""
    path = locate(file)
    return {
        "name": file.name,
        "address": file.address,
        "member": file.member or None,
        "copy_to": str(path_below_root(file)),
        "path": None if path is None else str(path),
        "damaged": None if path is None else why_damaged(file, path),
        "size_bytes": file.size_bytes,
        "about_bytes": file.about_bytes,
        "sha256": expected_sha256(file) or None,
        "sha256_is": knowledge_of(file),
        "repository": file.repository or None,
        "revision": (file.revision or "main") if file.repository else None,
        "licence": file.licence or None,
        "page": file.page,
        "gated": file.gated,
        "needed_by": list(file.needed_by),
        "alternative": file.alternative or None,
    }


def list_document(files: Sequence[WeightFile]) -> dict[str, Any]:
    """The document of `weights list`."""
    absent = [file for file in files if locate_whole(file) is None]
    return {
        "turbo_weights": _text(root()),
        "files": [document(file) for file in files],
        "bytes": sum(file.bytes for file in files),
        "missing_bytes": sum(file.bytes for file in absent),
    }


def total(files: Sequence[WeightFile]) -> str:
    """`44 files, about 60 GB; 41 missing, about 58 GB`."""
    absent = [file for file in files if locate_whole(file) is None]
    gap = f"{len(absent)} missing, {size_of(absent)}" if absent else "none missing"
    return f"{len(files)} file{'s' * (len(files) != 1)}, {size_of(files)}; {gap}"


def forecast_row(file: WeightFile) -> dict[str, Any]:
    """What a pull would do, for people."""
    path = locate(file)
    why = path and why_cut_off(file, path)
    to = f"here already: {path}" if path and not why else str(destination(file))
    return {
        "name": file.name,
        "size": file.size,
        "licence": file.terms,
        "to": f"{to} (damaged: {why}: {path})" if why else to,
    }


def forecast_document(file: WeightFile) -> dict[str, Any]:
    """What a pull would do, for programs."""
    return {**document(file), "destination": str(destination(file))}


def pulled_row(pulled: Pulled) -> dict[str, Any]:
    """What a pull did."""
    return {
        "name": pulled.file.name,
        "sha256": "here already" if pulled.check is None else pulled.check.verdict,
        "path": str(pulled.path),
    }


def pulled_document(pulled: Pulled) -> dict[str, Any]:
    """What a pull did, for programs."""
    return {**document(pulled.file), "pulled": pulled.check is not None}


def place_rows() -> list[dict[str, Any]]:
    """Where is looked, in this order."""
    below, (records, *_) = root(), record_files()
    looked = [(f"${ROOT}", below), ("Hugging Face cache", hub_cache()), *places().items(), ("recorded sha256", records)]
    return [{"place": name, "path": _text(path) or "not set", "there": _there(path)} for name, path in looked]


def _there(path: Path | None) -> str:
    return "yes" if path is not None and path.exists() else "no"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
