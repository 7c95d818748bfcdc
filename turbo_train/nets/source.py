"""Of which files is a model made, and how are they put together? Free of torch; load.py does the putting together.

diffusers      a teacher: a folder in diffusers' layout (teacher.py)
videocrafter2  a teacher: the published checkpoint, UNet, autoencoder and text tower in one file
student        a student of ours: a folder with config.json and adapter.safetensors (student.py)
lora_list      a student: a published list of LoRA without names (lora_list.py) on a teacher
unet           a student: a whole UNet's state dict in the place of a teacher's
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from turbo_train.weights.hashes import file_sha256

Layout = Literal["diffusers", "videocrafter2", "student", "lora_list", "unet"]
Projection = Literal["seeded", "replayed"]
RECORD = "built.json"  # how weights were made: it decides no pixel


@dataclass(frozen=True)
class ClipFormat:
    """The clip a model makes by default. Its size in pixels follows from the network and the VAE."""

    frames: int
    fps: int


@dataclass(frozen=True)
class Source:
    """The files of a model. path: a folder or a file, as the layout says. base: the teacher under a student.

    rank and projection concern lora_list: the list says neither, nor which matrix projects the guidance scale.
    clip: what the files do not say; None: they do, or the layout has a default.
    """

    layout: Layout
    path: Path
    base: Source | None = None
    rank: int | None = None
    projection: Projection | None = None
    clip: ClipFormat | None = None

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file that decides what the model makes, under a name that does not depend on where it lies."""
        if self.base is not None:
            yield from self.base.files()
        if self.path.is_file():
            yield self.path.name, self.path
            return
        for path in sorted(p for p in self.path.rglob("*") if p.is_file() and p.name != RECORD):
            yield f"{self.path.name}/{path.relative_to(self.path).as_posix()}", path

    def sha256(self) -> str:
        """One hash over how the model is put together, the files' names and their bytes."""
        digest = hashlib.sha256()
        part: Source | None = self
        while part is not None:
            digest.update(f"{part.layout} {part.rank} {part.projection} {part.clip}\n".encode())
            part = part.base
        for name, path in self.files():
            digest.update(f"{name} {file_sha256(path)}\n".encode())
        return digest.hexdigest()
