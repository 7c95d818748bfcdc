"""How are cached latents stored, and whose are they? `<key>.latents.npy` in shards, latents.json beside the shards.

A latent is the VAE's posterior mean, scaled as the VAE scales it: (C, T, h, w), float16 in NumPy's own format.
It says which VAE made them, from which clips and how; latents of another VAE look right and train wrongly.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from turbo_train.data.skipped import Unusable
from turbo_train.errors import UserError

LATENTS = "latents.npy"
INDEX = "latents.json"  # not index.json, which WebDataset's own tools write
SCHEMA_VERSION = 1
DTYPES = (np.float16, np.float32)

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class LatentsIndex:
    """latents.json: everything that decides the latents. samples None: every clip once. processes: that share the work.

    size: (height, width) in px of the encoded frames.
    """

    teacher: str
    vae_sha256: str
    latent_shape: Shape
    size: tuple[int, int]
    fps: float
    resize: str
    data: str
    seed: int
    samples: int | None
    samples_per_shard: int
    processes: int
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_index(folder: Path) -> LatentsIndex | None:
    """Of a folder of shards; None: it has none. UserError: cut off, or of another version."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values["latent_shape"], values["size"] = tuple(values["latent_shape"]), tuple(values["size"])
        index = LatentsIndex(**{field.name: values.pop(field.name) for field in fields(LatentsIndex)})
        if values or index.schema_version != SCHEMA_VERSION or len(index.latent_shape) != 4:
            raise ValueError(f"schema_version {index.schema_version}, further fields {sorted(values)}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            found=f"{path}: {error}",
            expected=f"what turbo-train precompute writes (schema_version {SCHEMA_VERSION})",
            run_next="turbo-train precompute",
        ) from error
    return index


def vae_sha256(vae: object) -> str:
    """Of a VAE's weights as they were loaded, names and float32 values, and its scale; not of the files they came from.

    Ask before the network is cast to a coarser dtype.
    """
    if not isinstance(vae, nn.Module):
        raise TypeError(f"{type(vae).__name__} has no weights to tell it by")
    digest = hashlib.sha256(f"{getattr(vae, 'scaling_factor', None)}\n".encode())
    for name, value in sorted(vae.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()


def latents_bytes(x_0_CTHW: Tensor) -> bytes:
    """A file's content, float16. Unusable: values that are not finite, or too large for float16."""
    values = x_0_CTHW.detach().cpu().to(torch.float16).numpy()
    if not np.isfinite(values).all():
        raise Unusable("its latents are not finite as float16")
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_latents(data: bytes, shape: Shape) -> Tensor:
    """x_0_CTHW, float32. Unusable: cut off, of another shape or dtype, not finite."""
    try:
        values = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
        raise Unusable(f"its latents cannot be read ({error})") from error
    if values.shape != shape:
        raise Unusable(f"latents of shape {shown(values.shape)}, expected {shown(shape)} (C x T x h x w)")
    if values.dtype not in DTYPES:
        raise Unusable(f"latents of dtype {values.dtype}, expected float16 or float32")
    if not np.isfinite(values).all():
        raise Unusable("its latents are not finite")
    return torch.from_numpy(values.astype(np.float32))


def shown(shape: tuple[int, ...]) -> str:
    """`4x16x40x64`."""
    return "x".join(map(str, shape)) or "a single number"
