"""Which clip is each file of an export? FOLDER.vbench_export.json, beside the folder of clips.

Beside and not inside: VBench takes the suffix of whatever file its folder lists first for that of all clips, so a
folder for VBench holds nothing but clips. With the record an import finds every clip again by its file and sha256;
without it, by the prompt in the file's name (generators/folder.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import write_atomically
from turbo_eval.records import check_name, take
from turbo_train.errors import UserError

SCHEMA_VERSION = 1
SUFFIX = ".vbench_export.json"


@dataclass(frozen=True)
class ExportedClip:
    """One clip. file: its name in the folder, None where no file can have the name that VBench looks for."""

    prompt: str
    prompt_id: str
    sample_index: int
    sha256: str
    file: str | None

    def __post_init__(self) -> None:
        check_name("prompt_id", self.prompt_id)
        if self.file is not None and (self.file in ("", ".", "..") or any(c in self.file for c in "/\0")):
            raise ValueError(f"file {self.file!r} is not a plain name")


@dataclass(frozen=True)
class ExportRecord:
    """An export of one model's clips. key: the content key of what made them."""

    suite: str
    suite_sha256: str
    model: str
    key: str
    clips: Mapping[tuple[str, int], ExportedClip]  # (prompt_id, sample_index)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must be equal for two exports to be of the same clips."""
        return (self.suite_sha256, self.model, self.key)


def record_path(folder: Path) -> Path:
    """Where the record of a folder of clips lies."""
    whole = folder.resolve()
    return whole.parent / f"{whole.name}{SUFFIX}"


def write_record(folder: Path, record: ExportRecord) -> Path:
    """Writes it whole, sorted: equal exports are equal bytes."""
    fields = {name: getattr(record, name) for name in ("suite", "suite_sha256", "model", "key")}
    clips = [record.clips[name].__dict__ for name in sorted(record.clips)]
    document = {"schema_version": SCHEMA_VERSION, **fields, "clips": clips}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_atomically(record_path(folder), text.encode())


def read_record(folder: Path) -> ExportRecord | None:
    """The record of a folder, or None where there is none. UserError for a file that is no such record."""
    path = record_path(folder)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or take(data, "schema_version", int) != SCHEMA_VERSION:
            raise ValueError(f"no record of schema_version {SCHEMA_VERSION}")
        clips = [_clip(entry) for entry in take(data, "clips", list)]
        model = check_name("model", take(data, "model", str))
        suite, sha256, key = (take(data, name, str) for name in ("suite", "suite_sha256", "key"))
        return ExportRecord(suite, sha256, model, key, {(c.prompt_id, c.sample_index): c for c in clips})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            found=f"{path} cannot be read as the record of an export ({error})",
            expected="the file that turbo-eval runs export-vbench writes",
            run_next="move that file away; the clips are then found by the prompts in their names",
        ) from error


def _clip(entry: Mapping[str, Any]) -> ExportedClip:
    return ExportedClip(
        prompt=take(entry, "prompt", str),
        prompt_id=take(entry, "prompt_id", str),
        sample_index=take(entry, "sample_index", int),
        sha256=take(entry, "sha256", str),
        file=None if entry.get("file") is None else take(entry, "file", str),
    )
