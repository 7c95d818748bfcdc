"""What lies in the place of a published file in a test: nothing of use, but whole at a glance and of the known size."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

from turbo_train.weights.places import destination
from turbo_train.weights.table import WeightFile

EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


def stand_in(suffix: str) -> bytes:
    """The smallest whole file of a kind."""
    packed = io.BytesIO()
    zipfile.ZipFile(packed, "w").close()
    kinds = {".safetensors": EMPTY_SAFETENSORS, ".json": b"{}", ".gz": b"\x1f\x8b", ".txt": b"a\n"}
    return kinds.get(suffix, packed.getvalue())


def put(file: WeightFile, content: bytes | None = None, path: Path | None = None) -> Path:
    """Writes a file where it would be pulled to, or at `path`; without content a stand-in. Returns where."""
    path = path or destination(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    elif file.size_bytes is None:
        path.write_bytes(stand_in(PurePosixPath(file.file or file.member or file.url).suffix))
    elif path.suffix == ".json":
        path.write_bytes(b"{}".ljust(file.size_bytes))
    else:
        with path.open("wb") as sparse:  # an old pickle at a glance, without its gigabytes
            sparse.write(b"\x1f\x8b" if path.suffix == ".gz" else b"\x80")
            sparse.truncate(file.size_bytes)
    return path
