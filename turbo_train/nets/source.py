"""Of which files is a model made, and how are they put together? Free of torch; load.py does the putting together.

diffusers      a teacher: a folder in diffusers' layout (teacher.py)
videocrafter2  a teacher: the published checkpoint, UNet, autoencoder and text tower in one file
student        a student of ours: a folder with config.json and adapter.safetensors (student.py)
lora_list      a student: a published list of LoRA without names (lora_list.py) on a teacher
unet           a student: a whole UNet's state dict in the place of a teacher's
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from turbo_train.weights.hashes import file_sha256

Layout = Literal["diffusers", "videocrafter2", "student", "lora_list", "unet"]
Projection = Literal["seeded", "replayed", "beside"]
PROJECTION_FILE = "guidance_projection.safetensors"
RECORD = "built.json"  # how weights were made: it decides no pixel
_DIFFUSERS = re.compile(
    r"clip\.json|scheduler/scheduler_config\.json|tokenizer/[^.][^/]*"
    r"|(unet|vae|text_encoder)/(config\.json|[^/]+\.(safetensors|bin)(\.index\.json)?)"
)
_STUDENT = re.compile(r"config\.json|adapter\.safetensors")
_WEIGHTS = re.compile(r"[^/]+\.(safetensors|bin)(\.index\.json)?$")
_FIRST = ("/diffusion_pytorch_model.safetensors", "/model.safetensors")


@dataclass(frozen=True)
class ClipFormat:
    """The clip a model makes by default. Its size in pixels follows from the network and the VAE."""

    frames: int
    fps: int


@dataclass(frozen=True)
class Source:
    """The files of a model. path: a folder or a file, as the layout says. base: the teacher under a student.

    rank and projection concern lora_list: the list says neither, nor which matrix projects the guidance scale (beside:
    the one in PROJECTION_FILE beside the list, as our export writes it).
    clip: what the files do not say; None: they do, or the layout has a default.
    """

    layout: Layout
    path: Path
    base: Source | None = None
    rank: int | None = None
    projection: Projection | None = None
    clip: ClipFormat | None = None

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file that is read, under a name that does not depend on where it lies: `teacher/unet/config.json`."""
        if self.base is not None:
            yield from ((f"teacher/{name}", path) for name, path in self.base.files())
        if self.layout not in ("diffusers", "student"):
            yield self.layout, self.path
            if self.projection == "beside":
                yield f"{self.layout}/{PROJECTION_FILE}", self.path.with_name(PROJECTION_FILE)
            return
        read = _STUDENT if self.layout == "student" else _DIFFUSERS
        names = (path.relative_to(self.path).as_posix() for path in sorted(self.path.rglob("*")) if path.is_file())
        kept = [name for name in names if read.fullmatch(name)]
        whole = {_WEIGHTS.sub("", name) for name in kept if name.endswith(_FIRST)}
        for name in kept:  # where the usual file is there, diffusers reads no other of the same part
            if not _WEIGHTS.search(name) or name.endswith(_FIRST) or _WEIGHTS.sub("", name) not in whole:
                yield name, self.path / name

    def describe(self) -> str:
        """`lora_list (rank 64, seeded) on videocrafter2`."""
        chosen = ", ".join([*([f"rank {self.rank}"] if self.rank else []), *filter(None, [self.projection])])
        under = f" on {self.base.describe()}" if self.base else ""
        return f"{self.layout}{f' ({chosen})' if chosen else ''}{under}"

    def sha256(self) -> str:
        """One hash over how the model is put together, the names of what is read, and its bytes."""
        digest = hashlib.sha256(f"{self.describe()} {self.clip}\n".encode())
        for name, path in self.files():
            digest.update(f"{name} {file_sha256(path)}\n".encode())
        return digest.hexdigest()


def teacher_at(path: Path) -> Source:
    """The source of a teacher by what lies there: a file is a VideoCrafter2 checkpoint, a folder is in diffusers'."""
    return Source("videocrafter2" if path.is_file() else "diffusers", path)
