"""What decides the pixels of a clip? The content key: one sha256 over everything that can change them.

Two processes that compute the same key make the same clips from the same prompts; a changed key makes new clips beside
the old ones. A field that changes no pixel (host, command, time) is not in it; see provenance.py for those.
Fields after evaluation practice: weights, sampler, precision, batch, threads, packages, kind of device, and the
variables and the source code that change how they compute. The code is hashed, for a number that somebody must raise by
hand is forgotten once: then half of a resumed run is made by the old sampler, and nobody sees it. That a changed
comment makes new clips too is the smaller harm. Of finished clips (kind folder) only the name is known.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import turbo_train
from turbo_eval.records import canonical_json
from turbo_train.sampling.setting import Setting

SCHEME = 2  # of the key itself: raise it when a field gets another meaning
PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "open_clip_torch", "peft", "numpy", "av")
VARIABLES = ("NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG")  # other kernels, other rounding
CODE = {  # what turns a prompt into the frames of a file, by the folder of its package
    Path(__file__).parent: ("generators/latent.py",),
    Path(turbo_train.__file__).parent: (
        *(f"{part}/**/*.py" for part in ("diffusion", "nets", "sampling")),
        "nets/**/*.safetensors",
        "video_io.py",
    ),
}
FOLDER = "folder"


@dataclass(frozen=True)
class ModelIdentity:
    """One model in one setting. kind: teacher, student, or folder (finished clips: nothing else is known)."""

    name: str
    kind: str = FOLDER
    setting: Setting | None = None
    weights_sha256: str | None = None
    made_of: str | None = None  # how its files are put together, for people


def key_fields(
    model: ModelIdentity, *, seed: int, batch: int, threads: int, lossless: bool, device: str
) -> dict[str, Any]:
    """The fields of a model's content key, as JSON values. weights_sha256 covers its configuration and default clip.

    device: the class of machine that computes, such as `cpu AuthenticAMD AVX512` or `cuda NVIDIA H200`.
    """
    fields = {"scheme": SCHEME, "kind": model.kind, "weights_sha256": model.weights_sha256}
    if model.made_of is not None:
        fields["made_of"] = model.made_of
    if model.setting is None:
        return {"name": model.name, **fields}
    return {
        **fields,
        **json.loads(json.dumps(asdict(model.setting))),  # tuples are lists in JSON
        "seed": seed,
        "batch": batch,
        "threads": threads,
        "lossless": lossless,
        "device": device,
        "packages": dict(_versions()),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "code_sha256": _code_sha256(),
    }


@cache
def _versions() -> dict[str, str]:
    """The packages that compute pixels and code them."""
    return {package: metadata.version(package) for package in PACKAGES}


@cache
def _code_sha256() -> str:
    return files_sha256({f"{root.name}/{path.relative_to(root).as_posix()}": path for root, path in _code_files()})


def _code_files() -> list[tuple[Path, Path]]:
    return [(root, path) for root, patterns in CODE.items() for pattern in patterns for path in root.glob(pattern)]


def files_sha256(files: Mapping[str, Path]) -> str:
    """One sha256 over text files and their names; neither their order nor Windows' line ends change it."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def content_key(fields: Mapping[str, Any]) -> str:
    """The sha256 of the fields in canonical JSON."""
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()
