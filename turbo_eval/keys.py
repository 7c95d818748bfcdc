"""What decides the pixels of a clip? The content key: one sha256 over everything that can change them.

Two processes that compute the same key make the same clips from the same prompts; a changed key makes new clips beside
the old ones. A field that changes no pixel (host, command, time) is not in it; see provenance.py for those.
Fields after evaluation practice: weights, sampler, precision, batch, threads, packages, kind of device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from typing import Any

from turbo_eval.records import canonical_json

SCHEME = 1  # raise it when our own code starts to make other pixels from the same fields
PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "peft", "av")
FOLDER = "folder"


@dataclass(frozen=True)
class ModelIdentity:
    """One model in one setting. kind: teacher, student, or folder (finished clips: nothing else is known)."""

    name: str
    kind: str = FOLDER
    num_steps: int | None = None
    guidance_scale: float | None = None
    weights_sha256: str | None = None


def key_fields(
    model: ModelIdentity, *, seed: int, batch: int, threads: int, lossless: bool, device: str
) -> dict[str, Any]:
    """The fields of a model's content key, as JSON values. weights_sha256 covers its configuration, size and fps.

    device: the class of machine that computes, such as `cpu AVX512` or `cuda NVIDIA H200`.
    """
    fields = {name: value for name, value in asdict(model).items() if name != "name"}
    if model.kind == FOLDER:
        return {"scheme": SCHEME, "name": model.name, **fields}
    return {
        "scheme": SCHEME,
        **fields,
        "seed": seed,
        "batch": batch,
        "threads": threads,
        "lossless": lossless,
        "dtype": "float32",
        "device": device,
        "packages": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    """The packages that compute pixels and code them."""
    return {package: metadata.version(package) for package in PACKAGES}


def content_key(fields: Mapping[str, Any]) -> str:
    """The sha256 of the fields in canonical JSON."""
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()
