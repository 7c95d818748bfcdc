"""Which models can be named on the command line, and what does each need to run?

A model is a folder in one of two layouts: a teacher (diffusers' sub-folders, `unet/` among them) or a student
(`config.json` and `adapter.safetensors`, beside its teacher). Any such folder can be given by its path; the table
only adds names, descriptions and licences. This module reads no weights and imports no torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from turbo_train.errors import UserError
from turbo_train.world import WEIGHTS

Kind = Literal["teacher", "student"]
RECORD = "built.json"  # how the weights were made, and the guidance_scale chosen on the validation suite
TEACHER_STEPS = 50  # DDIM steps of the teacher in the T2V-Turbo paper (arXiv 2405.18750, section 5)
STUDENT_STEPS = 4
# Classifier-free guidance 7.5 is the default of T2V-Turbo's published pipelines; a folder's own record wins.
FALLBACK_GUIDANCE = 7.5


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be run. `guidance_scale` None: read it from the folder's record."""

    name: str
    kind: Kind
    folder: Path
    num_steps: int
    description: str
    licence: str
    tier: str
    guidance_scale: float | None = None

    @property
    def available(self) -> bool:
        """Whether its weights are there."""
        return kind_of(self.folder) == self.kind


MODELS = (
    ModelEntry(
        "world-teacher",
        "teacher",
        WEIGHTS / "teacher",
        TEACHER_STEPS,
        "latent diffusion teacher of the embedded world, 32x32, 8 frames, DDIM with guidance",
        "Apache-2.0",
        "world",
    ),
    ModelEntry(
        "world-vcm",
        "student",
        WEIGHTS / "student",
        STUDENT_STEPS,
        "video consistency model distilled from world-teacher, without rewards",
        "Apache-2.0",
        "world",
    ),
)


def kind_of(folder: Path) -> Kind | None:
    """Which layout a folder has, or None."""
    if (folder / "unet").is_dir():
        return "teacher"
    student = (folder / "config.json").is_file() and (folder / "adapter.safetensors").is_file()
    return "student" if student else None


def near(name: str, names: Iterable[str]) -> str:
    """' (did you mean X?)' for a name that is close to one of the names, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def find_model(name_or_path: str) -> ModelEntry:
    """The model of a name or of a folder, ready to run. UserError for an unknown name and for absent weights."""
    for entry in MODELS:
        if entry.name == name_or_path:
            if not entry.available:
                raise UserError(
                    found=f"no weights of {entry.name} in {entry.folder}",
                    expected=f"a {entry.kind} folder",
                    run_next="turbo-train world build",
                )
            return _with_guidance(entry)
    folder = Path(name_or_path)
    if not folder.is_dir():
        names = [entry.name for entry in MODELS]
        raise UserError(
            found=f"unknown model {name_or_path!r}{near(name_or_path, names)}",
            expected=f"one of {', '.join(names)}, or the path of a model's folder",
            run_next="turbo-eval list models",
        )
    kind = kind_of(folder)
    if kind is None:
        raise UserError(
            found=f"{folder} holds no model",
            expected="a teacher (unet/, vae/, text_encoder/, ...) or a student (config.json, adapter.safetensors)",
            run_next="turbo-eval list models",
        )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name)
    steps = TEACHER_STEPS if kind == "teacher" else STUDENT_STEPS
    return _with_guidance(ModelEntry(name, kind, folder, steps, "a folder given by its path", "not stated", "folder"))


def weights_sha256(entry: ModelEntry) -> str:
    """The sha256 of every file that decides what the model makes: names and contents, a student's teacher included.

    Records are left out: they say how the weights were made, and rewriting one changes no clip.
    """
    folders = [entry.folder]
    if entry.kind == "student":
        teacher = _read(entry.folder / "config.json").get("teacher", "teacher")
        folders.append(entry.folder.resolve().parent / str(teacher))
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RECORD):
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            whole.update(f"{folder.name}/{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return whole.hexdigest()


def _with_guidance(entry: ModelEntry) -> ModelEntry:
    """The entry with the guidance_scale of its folder's record; of the record beside it; or the fallback."""
    named = _read(entry.folder.parent / RECORD).get(entry.folder.name)
    records = (_read(entry.folder / RECORD), named if isinstance(named, dict) else {})
    for record in (*records, _read(entry.folder / "config.json"), _read(entry.folder.parent / RECORD)):
        value = record.get("guidance_scale")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return replace(entry, guidance_scale=float(value))
    return replace(entry, guidance_scale=FALLBACK_GUIDANCE)


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(found=f"{path} is not readable as JSON: {error}", expected="a model's own record") from error
    return content if isinstance(content, dict) else {}
